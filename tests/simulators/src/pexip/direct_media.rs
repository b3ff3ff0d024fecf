//! Direct media: two web clients send audio and video to each other, and the node passes on what they agree about it.

use tokio::sync::oneshot;

use crate::identifier::guid;

/// Calls of web clients between which media may flow.
#[derive(Debug, Default)]
pub(super) struct DirectMedia {
    /// Whether web clients that can are told to use direct media.
    pub(super) is_on: bool,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    id: String,
    participant: String,
    is_host: bool,
    conference: String,
    /// Id of the call that it exchanges media with.
    peer: Option<String>,
    /// Gets this call's answer to the offer that it was sent; `None` if it ignores the offer.
    asker: Option<oneshot::Sender<Option<String>>>,
}

impl DirectMedia {
    /// Begins a call, with a call of the conference that has no peer yet. Returns its id.
    pub(super) fn begin(&mut self, participant: &str, is_host: bool, conference: &str) -> String {
        self.calls.retain(|call| call.participant != participant);
        let id = guid();
        let lone = self.calls.iter_mut().find(|call| call.conference == conference && call.peer.is_none());
        let peer = lone.map(|call| {
            call.peer = Some(id.clone());
            call.id.clone()
        });
        let (participant, conference) = (participant.to_owned(), conference.to_owned());
        self.calls.push(Call { id: id.clone(), participant, is_host, conference, peer, asker: None });
        id
    }

    /// One of two guests who have each other as peers, if nobody is without: a host is to get a peer before they do.
    pub(super) fn guest_with_guest(&self, conference: &str) -> Option<&str> {
        let mut calls = self.calls.iter().filter(|call| call.conference == conference);
        if calls.clone().any(|call| call.peer.is_none()) {
            return None;
        }
        let is_guest = |id: &String| self.call(id).is_some_and(|call| !call.is_host);
        let guest = calls.find(|call| !call.is_host && call.peer.as_ref().is_some_and(is_guest))?;
        Some(&guest.participant)
    }

    /// The participant at the other end of the call.
    pub(super) fn peer_of(&self, id: &str) -> Option<&str> {
        let peer = self.call(id)?.peer.as_deref()?;
        Some(&self.call(peer)?.participant)
    }

    /// Registers that the other end is asked. Returns the participant to ask, and what will have the answer.
    pub(super) fn ask(&mut self, id: &str) -> Option<(String, oneshot::Receiver<Option<String>>)> {
        let peer = self.call(id)?.peer.clone()?;
        let peer = self.calls.iter_mut().find(|call| call.id == peer)?;
        let (asker, answer) = oneshot::channel();
        peer.asker = Some(asker);
        Some((peer.participant.clone(), answer))
    }

    /// Answers whoever has asked the call.
    pub(super) fn answer(&mut self, id: &str, sdp: Option<String>) {
        let asker = self.calls.iter_mut().find(|call| call.id == id).and_then(|call| call.asker.take());
        if let Some(asker) = asker {
            // The asker may have left.
            let _answered = asker.send(sdp);
        }
    }

    /// Ends the call of a participant and that of its peer, who calls again. Returns the peer.
    pub(super) fn end(&mut self, participant: &str) -> Option<String> {
        let at = self.calls.iter().position(|call| call.participant == participant)?;
        let peer = self.calls.swap_remove(at).peer?;
        let at = self.calls.iter().position(|call| call.id == peer)?;
        Some(self.calls.swap_remove(at).participant)
    }

    fn call(&self, id: &str) -> Option<&Call> {
        self.calls.iter().find(|call| call.id == id)
    }
}
