//! A Conferencing Node: what citizens and agents join rooms on.

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

/// Why somebody is disconnected who has left.
const HUNG_UP: &str = "Call disconnected";

/// A Conferencing Node on loopback. It knows a room's writes once they have been replicated.
#[derive(Debug)]
pub struct ConferencingNode {
    place: Place,
    traffic: Traffic,
    server: Server,
}

/// Somebody who has joined, until leaving or being thrown out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The participant's id.
    pub participant: String,
    /// Role, by the PIN.
    pub role: Role,
    /// Token of the client API.
    pub token: String,
}

/// The node in the platform.
#[derive(Clone, Debug)]
struct Place {
    platform: Arc<Platform>,
    /// Primary address, by which events and status name the node.
    address: String,
}

impl ConferencingNode {
    pub(super) async fn start(platform: Arc<Platform>, address: &str) -> Self {
        let place = Place { platform, address: address.to_owned() };
        let traffic = Traffic::default();
        let server = Server::start(traffic.watch(client_api::router(place.clone()))).await;
        Self { place, traffic, server }
    }

    /// Where clients find the node, and the means to take it off the network.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Primary address, by which events and status name the node. Nothing listens there.
    pub fn address(&self) -> &str {
        &self.place.address
    }

    /// What was received by the client API, and the faults.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Joins as an app does, picture and sound included; an empty PIN is none given.
    pub fn join(&self, alias: &str, pin: &str) -> Result<Joined, Refused> {
        let mut state = self.place.platform.state();
        let pin = Some(pin).filter(|pin| !pin.is_empty());
        let joined = self.place.admit(&mut state, alias, pin, "")?;
        state.live.connect_media(&joined.participant);
        Ok(joined)
    }

    /// Hangs up as an app does. Nothing happens if it was thrown out before.
    pub fn leave(&self, joined: &Joined) {
        self.place.platform.state().leave(&joined.token, HUNG_UP);
    }

    /// The app's network is gone for longer than the platform waits for a sign of it.
    pub fn lose(&self, joined: &Joined) {
        self.place.platform.state().leave(&joined.token, TIMED_OUT);
    }
}

impl Place {
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
