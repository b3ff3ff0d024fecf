//! What the management node and the Conferencing Nodes share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU16};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::PASSWORD;
use super::clock::Clock;
use super::live::{Live, Participant};
use super::oauth2::{OAuth2, TOKEN_PATH};
use super::room::StoredRoom;
use super::rooms::Rooms;
use super::sessions::{Sessions, TIMED_OUT};

use url::Url;

/// The platform behind the addresses of all its nodes.
#[derive(Debug)]
pub struct Platform {
    state: Mutex<State>,
    pub(super) absolute_location: AtomicBool,
    pub(super) disconnect_status: AtomicU16,
    address: OnceLock<Url>,
}

/// Everything that changes together.
#[derive(Debug)]
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) rooms: Rooms,
    /// Alias of each automatic participant by its id.
    pub(super) automatic_participants: BTreeMap<u64, String>,
    /// Outlives the rooms: names are never used twice.
    pub(super) tag_history: HashMap<String, Vec<String>>,
    pub(super) min_pin_length: usize,
    /// Of the Conferencing Nodes, with the build.
    pub(super) release: String,
    pub(super) password: String,
    /// False after `api_oauth2_disable_basic`.
    pub(super) accepts_basic: bool,
    /// Whether a client certificate is demanded in place of an `Authorization` header.
    pub(super) demands_client_certificate: bool,
    pub(super) oauth2: OAuth2,
    pub(super) live: Live,
    pub(super) sessions: Sessions,
}

impl Default for Platform {
    fn default() -> Self {
        let clock = Clock::default();
        Self {
            state: Mutex::new(State {
                rooms: Rooms::new(clock.clone()),
                automatic_participants: BTreeMap::new(),
                tag_history: HashMap::new(),
                min_pin_length: 6,
                release: "40 (79715.0.0)".to_owned(),
                password: PASSWORD.to_owned(),
                accepts_basic: true,
                demands_client_certificate: false,
                oauth2: OAuth2::default(),
                live: Live::new(clock.clone()),
                sessions: Sessions::default(),
                clock,
            }),
            absolute_location: AtomicBool::new(false),
            disconnect_status: AtomicU16::new(202),
            address: OnceLock::new(),
        }
    }
}

impl Platform {
    /// Keeps the management node's own address.
    pub(super) fn set_address(&self, address: &Url) {
        let _set_once = self.address.set(address.clone());
    }

    /// Address of the token endpoint: the audience that an assertion must have.
    pub(super) fn token_endpoint(&self) -> String {
        let address = self.address.get().map(Url::as_str).unwrap_or_default();
        format!("{}{TOKEN_PATH}", address.trim_end_matches('/'))
    }

    /// The state as of now: what is due by the clock has happened when anybody looks.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.drop_the_silent();
        state
    }
}

impl State {
    /// Somebody comes in. Whoever starts the conference makes it dial out to the room's automatic participants, as far
    /// as the Conferencing Nodes know of them. Returns the participant's id.
    pub(super) fn enter(&mut self, participant: Participant) -> String {
        let room = self.rooms.replicated().find(|room| room.name == participant.conference).cloned();
        let room = room.unwrap_or_else(|| StoredRoom::named(participant.conference.clone()));
        let starts = participant.is_in_conference() && self.live.conference(&room.name).is_none();
        let node = participant.node.clone();
        let id = self.live.admit(participant, &room.tag);
        for alias in room.automatic_participants.iter().filter_map(|id| self.automatic_participants.get(id)) {
            if starts {
                let leg = Participant::dialled_out(&node, &room.name, alias, self.clock.now());
                self.live.admit(leg, &room.tag);
            }
        }
        id
    }

    /// The holder of a token leaves. Nothing happens if it was thrown out before.
    pub(super) fn leave(&mut self, token: &str, reason: &str) {
        if let Some(session) = self.sessions.close(token) {
            self.live.depart(&session.participant, reason);
        }
    }

    /// Whoever has not refreshed a token in time is taken for gone.
    fn drop_the_silent(&mut self) {
        for participant in self.sessions.expired(self.clock.now()) {
            self.live.depart(&participant, TIMED_OUT);
        }
    }

    pub(super) fn remember_tag(&mut self, name: &str, tag: &str) {
        if !tag.is_empty() {
            self.tag_history.entry(name.to_owned()).or_default().push(tag.to_owned());
        }
    }
}
