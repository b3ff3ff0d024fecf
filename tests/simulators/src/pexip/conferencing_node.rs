//! A Conferencing Node, on which citizens and agents join rooms.

mod admission;
mod client_api;
mod client_view;

use std::sync::Arc;

use crate::server::Server;
use crate::traffic::Traffic;

use super::live::{Participant, Role};
use super::platform::{Platform, State};
use super::sessions::{Session, TIMED_OUT};

pub use admission::Refused;

/// Reason of a participant's own hang-up.
const HUNG_UP: &str = "Call disconnected";

/// A Conferencing Node on loopback. It sees a room's writes once they have been replicated.
#[derive(Debug)]
pub struct ConferencingNode {
    node: Node,
    traffic: Traffic,
    server: Server,
}

/// A participant who has joined by the client API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The participant's id.
    pub participant: String,
    /// Role that the PIN gives.
    pub role: Role,
    /// Token of the client API.
    pub token: String,
}

/// What a node needs to answer its clients.
#[derive(Clone, Debug)]
struct Node {
    platform: Arc<Platform>,
    /// Primary address, the node's name in events and status.
    address: String,
}

impl ConferencingNode {
    pub(super) async fn start(platform: Arc<Platform>, address: &str) -> Self {
        let node = Node { platform, address: address.to_owned() };
        let traffic = Traffic::default();
        let server = Server::start(traffic.watch(client_api::router(node.clone()))).await;
        Self { node, traffic, server }
    }

    /// The node's server: its address for clients, and methods to stop and start it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Primary address, the node's name in events and status. Nothing listens there.
    pub fn address(&self) -> &str {
        &self.node.address
    }

    /// Log and faults of the client API.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Joins as an app does, with media. An empty PIN is sent as no PIN.
    pub fn join(&self, alias: &str, pin: &str) -> Result<Joined, Refused> {
        let mut state = self.node.platform.state();
        let pin = Some(pin).filter(|pin| !pin.is_empty());
        let joined = self.node.admit(&mut state, alias, pin, "")?;
        state.live.connect_media(&joined.participant);
        Ok(joined)
    }

    /// Hangs up as an app does. Does nothing if the participant was disconnected before.
    pub fn leave(&self, joined: &Joined) {
        self.node.platform.state().leave(&joined.token, HUNG_UP);
    }

    /// Disconnects a participant whose token was not refreshed in time, as after the loss of its network.
    pub fn lose(&self, joined: &Joined) {
        self.node.platform.state().leave(&joined.token, TIMED_OUT);
    }
}

impl Node {
    fn admit(&self, state: &mut State, alias: &str, pin: Option<&str>, display_name: &str) -> Result<Joined, Refused> {
        let room = state.rooms.replicated().find(|room| room.is_dialled_by(alias)).ok_or(Refused::NotFound)?;
        let role = room.role_by(pin)?;
        let now = state.clock.now();
        let api_only = Participant {
            display_name: display_name.to_owned(),
            protocol: "API",
            destination_alias: alias.to_owned(),
            has_media: false,
            ..Participant::dialled_in(&self.address, &room.name, role, now)
        };
        let participant = state.enter(api_only);
        let token = state.sessions.open(Session::new(participant.clone(), role, &self.address, alias, now));
        Ok(Joined { participant, role, token })
    }
}
