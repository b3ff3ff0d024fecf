//! State that the management node and the Conferencing Nodes share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU16};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use url::Url;

use super::PASSWORD;
use super::clock::Clock;
use super::listing::FilterRules;
use super::live::{AutomaticParticipant, Live, Participant};
use super::oauth2::{OAuth2, TOKEN_PATH};
use super::policy_server::PolicyServer;
use super::room::StoredRoom;
use super::rooms::Rooms;
use super::sessions::{Sessions, TIMED_OUT};

/// The platform behind the addresses of all its nodes.
#[derive(Debug)]
pub struct Platform {
    state: Mutex<State>,
    pub(super) absolute_location: AtomicBool,
    /// Whether our account may not see PINs.
    pub(super) hides_pins: AtomicBool,
    pub(super) disconnect_status: AtomicU16,
    address: OnceLock<Url>,
}

/// Everything that one lock protects.
#[derive(Debug)]
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) rooms: Rooms,
    pub(super) automatic_participants: BTreeMap<u64, AutomaticParticipant>,
    pub(super) dial_out: DialOut,
    pub(super) filter_rules: FilterRules,
    /// Non-empty tags by room name, kept after the room is deleted.
    pub(super) tag_history: HashMap<String, Vec<String>>,
    pub(super) min_pin_length: usize,
    /// Release and build of the Conferencing Nodes.
    pub(super) release: String,
    /// Reason for the Conferencing Nodes' maintenance mode; `None` while they are in service.
    pub(super) maintenance: Option<String>,
    pub(super) policy_servers: Vec<PolicyServer>,
    /// Whether the location lists the event sinks and the policy server.
    pub(super) location_selects_services: bool,
    pub(super) password: String,
    /// False after `api_oauth2_disable_basic`.
    pub(super) accepts_basic: bool,
    /// Whether a client certificate is demanded in place of an `Authorization` header.
    pub(super) demands_client_certificate: bool,
    pub(super) oauth2: OAuth2,
    pub(super) live: Live,
    pub(super) sessions: Sessions,
}

/// Automatic dial-out: its settings and the attempts to come.
#[derive(Debug)]
pub(super) struct DialOut {
    /// From the first participant past the PIN to the attempt.
    pub(super) delay: Duration,
    pub(super) fails: bool,
    pending: Vec<PendingDialOut>,
}

#[derive(Debug)]
struct PendingDialOut {
    at: OffsetDateTime,
    /// The run of the conference that the attempt belongs to.
    conference_id: String,
    conference: String,
    /// Address of the Conferencing Node.
    node: String,
    tag: String,
    participant: AutomaticParticipant,
}

impl Default for DialOut {
    /// The delay is the vendor's.
    fn default() -> Self {
        Self { delay: Duration::from_secs(10), fails: false, pending: Vec::new() }
    }
}

impl Default for Platform {
    fn default() -> Self {
        let clock = Clock::default();
        Self {
            state: Mutex::new(State {
                rooms: Rooms::new(clock.clone()),
                automatic_participants: BTreeMap::new(),
                dial_out: DialOut::default(),
                filter_rules: FilterRules::default(),
                tag_history: HashMap::new(),
                min_pin_length: 6,
                release: "40 (79715.0.0)".to_owned(),
                maintenance: None,
                policy_servers: Vec::new(),
                location_selects_services: true,
                password: PASSWORD.to_owned(),
                accepts_basic: true,
                demands_client_certificate: false,
                oauth2: OAuth2::default(),
                live: Live::new(clock.clone()),
                sessions: Sessions::default(),
                clock,
            }),
            absolute_location: AtomicBool::new(false),
            hides_pins: AtomicBool::new(false),
            disconnect_status: AtomicU16::new(202),
            address: OnceLock::new(),
        }
    }
}

impl Platform {
    /// Sets the management node's own address.
    pub(super) fn set_address(&self, address: &Url) {
        let _set_once = self.address.set(address.clone());
    }

    /// Address of the token endpoint: the audience that an assertion must have.
    pub(super) fn token_endpoint(&self) -> String {
        let address = self.address.get().map(Url::as_str).unwrap_or_default();
        format!("{}{TOKEN_PATH}", address.trim_end_matches('/'))
    }

    /// The state as of now: what has become due by the clock is carried out first.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up();
        state
    }
}

impl State {
    /// Adds a participant. The first one past the PIN makes the conference dial the room's automatic participants, as
    /// the Conferencing Nodes know them. Returns the participant's id.
    pub(super) fn enter(&mut self, participant: Participant) -> String {
        let room = self.rooms.replicated().find(|room| room.name == participant.conference).cloned();
        let room = room.unwrap_or_else(|| StoredRoom::named(participant.conference.clone()));
        let starts = participant.is_in_conference() && self.live.conference(&room.name).is_none();
        let node = participant.node.clone();
        let id = self.live.admit(participant, &room.tag);
        if starts {
            self.schedule_dial_out(&room, &node);
        }
        // Without a delay the legs are there at once.
        self.catch_up();
        id
    }

    fn schedule_dial_out(&mut self, room: &StoredRoom, node: &str) {
        let Some(conference) = self.live.conference(&room.name) else {
            return;
        };
        let at = self.clock.now() + self.dial_out.delay;
        let participants = room.automatic_participants.iter().filter_map(|id| self.automatic_participants.get(id));
        self.dial_out.pending.extend(participants.map(|participant| PendingDialOut {
            at,
            conference_id: conference.id.clone(),
            conference: room.name.clone(),
            node: node.to_owned(),
            tag: room.tag.clone(),
            participant: participant.clone(),
        }));
    }

    /// Removes the participant of a token, unless it was disconnected before.
    pub(super) fn leave(&mut self, token: &str, reason: &str) {
        if let Some(session) = self.sessions.close(token) {
            self.live.remove(&session.participant, reason);
        }
    }

    /// Carries out what has become due, in the order of the times at which it was due: a long step of the clock must
    /// not disconnect the caller of a leg that was to be dialled before.
    fn catch_up(&mut self) {
        let now = self.clock.now();
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            for participant in self.sessions.expired(due) {
                self.live.remove(&participant, TIMED_OUT);
            }
            self.live.end_without_host(due);
            let dial_outs: Vec<_> = self.dial_out.pending.extract_if(.., |pending| pending.at <= due).collect();
            for pending in &dial_outs {
                self.dial(pending);
            }
        }
    }

    fn next_due(&self) -> Option<OffsetDateTime> {
        let dial_out = self.dial_out.pending.iter().map(|pending| pending.at).min();
        [self.sessions.next_expiry(), self.live.next_guest_timeout(), dial_out].into_iter().flatten().min()
    }

    /// The only attempt for this participant. The vendor does not say which events a failed one causes: here none.
    fn dial(&mut self, pending: &PendingDialOut) {
        let is_running = self.live.conference(&pending.conference).is_some_and(|it| it.id == pending.conference_id);
        let is_present = self.live.inside(&pending.conference).any(|it| it.has_alias(&pending.participant.alias));
        if is_running && !is_present && !self.dial_out.fails {
            let leg = Participant::dialled_out(&pending.node, &pending.conference, &pending.participant, pending.at);
            self.live.admit(leg, &pending.tag);
        }
    }

    pub(super) fn remember_tag(&mut self, name: &str, tag: &str) {
        if !tag.is_empty() {
            self.tag_history.entry(name.to_owned()).or_default().push(tag.to_owned());
        }
    }
}
