//! Open streams of server-sent events.

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// All open streams.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    watchers: Vec<Watcher>,
}

/// Name and data of an event.
pub(super) type ClientEvent = (&'static str, Value);

#[derive(Debug)]
struct Watcher {
    participant: String,
    conference: String,
    events: UnboundedSender<ClientEvent>,
}

impl Watchers {
    /// Opens a stream for a participant that begins with `snapshot`.
    pub(super) fn add(
        &mut self,
        participant: &str,
        conference: &str,
        snapshot: Vec<ClientEvent>,
    ) -> UnboundedReceiver<ClientEvent> {
        let (events, stream) = mpsc::unbounded_channel();
        let watcher = Watcher { participant: participant.to_owned(), conference: conference.to_owned(), events };
        for (name, data) in snapshot {
            watcher.send(name, &data);
        }
        self.watchers.push(watcher);
        stream
    }

    /// Sends an event to all streams of a conference.
    pub(super) fn send(&mut self, conference: &str, name: &'static str, data: &Value) {
        self.watchers.retain(|watcher| !watcher.events.is_closed());
        for watcher in self.watchers.iter().filter(|watcher| watcher.conference == conference) {
            watcher.send(name, data);
        }
    }

    /// Sends an event to the streams of one participant.
    pub(super) fn send_to(&mut self, participant: &str, name: &'static str, data: &Value) {
        for watcher in self.watchers.iter().filter(|watcher| watcher.participant == participant) {
            watcher.send(name, data);
        }
    }

    /// Sends a participant the reason of its disconnection and ends its streams.
    pub(super) fn disconnect(&mut self, participant: &str, reason: &str) {
        for watcher in self.watchers.extract_if(.., |watcher| watcher.participant == participant) {
            watcher.send("disconnect", &json!({ "reason": reason }));
        }
    }
}

impl Watcher {
    fn send(&self, name: &'static str, data: &Value) {
        // The client may have closed the stream; the next event removes it.
        let _sent = self.events.send((name, data.clone()));
    }
}
