//! Clients that have opened the stream of server-sent events.

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
    /// Opens a stream for a participant; `snapshot` comes first.
    pub(super) fn add(
        &mut self,
        participant: &str,
        conference: &str,
        snapshot: Vec<ClientEvent>,
    ) -> UnboundedReceiver<ClientEvent> {
        let (events, stream) = mpsc::unbounded_channel();
        let watcher = Watcher { participant: participant.to_owned(), conference: conference.to_owned(), events };
        for (name, data) in snapshot {
            watcher.show(name, &data);
        }
        self.watchers.push(watcher);
        stream
    }

    /// Shows an event to everybody in a conference.
    pub(super) fn show(&mut self, conference: &str, name: &'static str, data: &Value) {
        self.watchers.retain(|watcher| !watcher.events.is_closed());
        for watcher in self.watchers.iter().filter(|watcher| watcher.conference == conference) {
            watcher.show(name, data);
        }
    }

    /// Tells a participant why it is disconnected and ends its streams.
    pub(super) fn dismiss(&mut self, participant: &str, reason: &str) {
        for watcher in self.watchers.extract_if(.., |watcher| watcher.participant == participant) {
            watcher.show("disconnect", &json!({ "reason": reason }));
        }
    }
}

impl Watcher {
    fn show(&self, name: &'static str, data: &Value) {
        // The client may have gone; its stream is forgotten with the next event.
        let _shown = self.events.send((name, data.clone()));
    }
}
