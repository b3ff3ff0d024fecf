//! State that the management node and the Conferencing Nodes share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU16};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy as Redirects;
use time::OffsetDateTime;
use tokio::sync::mpsc::UnboundedSender;
use url::Url;

use super::PASSWORD;
use super::clock::Clock;
use super::listing::FilterRules;
use super::live::{AutomaticParticipant, Live, Participant, Role};
use super::oauth2::{OAuth2, TOKEN_PATH};
use super::policy::Policy;
use super::policy_server::PolicyServer;
use super::rooms::Rooms;
use super::service::{Callee, Service};
use super::sessions::{Sessions, TIMED_OUT};

/// The platform behind the addresses of all its nodes.
#[derive(Debug)]
pub struct Platform {
    state: Mutex<State>,
    pub(super) absolute_location: AtomicBool,
    /// Whether our account may not see PINs.
    pub(super) hides_pins: AtomicBool,
    pub(super) disconnect_status: AtomicU16,
    /// For look-ups at a policy server.
    pub(super) http: LazyLock<Client>,
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
    pub(super) policy: Policy,
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
    /// What places the calls of each node after a look-up, by the node's address.
    callers: HashMap<String, UnboundedSender<PendingDialOut>>,
}

/// A call of a running conference.
#[derive(Debug)]
pub(super) struct PendingDialOut {
    at: OffsetDateTime,
    /// The run of the conference that the attempt belongs to.
    conference_id: String,
    /// The room.
    conference: String,
    /// Address of the Conferencing Node.
    node: String,
    pub(super) callee: Callee,
}

impl Default for DialOut {
    /// The delay is the vendor's.
    fn default() -> Self {
        Self { delay: Duration::from_secs(10), fails: false, pending: Vec::new(), callers: HashMap::new() }
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
                policy: Policy::default(),
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
            http: LazyLock::new(|| {
                let client = Client::builder().no_proxy().redirect(Redirects::none()).build();
                client.expect("a client without TLS settings of its own")
            }),
            address: OnceLock::new(),
        }
    }
}

impl Platform {
    /// Sets the management node's own address.
    pub(super) fn set_address(&self, address: &Url) {
        let _set_once = self.address.set(address.clone());
    }

    /// Addresses of the token endpoint, by each name of this machine: the audiences that an assertion may have.
    pub(super) fn token_endpoints(&self) -> [String; 2] {
        ["127.0.0.1", "localhost"].map(|host| {
            let mut address = self.address.get().expect("the server has started").clone();
            address.set_host(Some(host)).expect("an address of HTTP has a host");
            address.set_path(TOKEN_PATH);
            address.into()
        })
    }

    /// The state as of now: what has become due by the clock is carried out first.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up();
        state
    }
}

impl State {
    /// The room of this name in the database, as the Conferencing Nodes know it.
    pub(super) fn stored(&self, name: &str) -> Option<Service> {
        let room = self.rooms.replicated().find(|room| room.name == name)?;
        Some(Service::stored(room, &self.automatic_participants))
    }

    /// The policy server that the nodes ask for services: the one that the location selects.
    pub(super) fn selected_policy_server(&self) -> Option<&PolicyServer> {
        self.policy_servers.last().filter(|server| self.location_selects_services && server.is_asked_for_services())
    }

    /// Adds a participant. The first one past the PIN makes the conference dial the room's automatic participants.
    /// Returns the participant's id.
    pub(super) fn enter(&mut self, participant: Participant, service: &Service) -> String {
        let (node, is_in) = (participant.node.clone(), participant.is_in_conference());
        self.change_attendance(service, &node, is_in, |live| live.admit(participant, service))
    }

    /// Lets a participant in who has entered the PIN of this role.
    pub(super) fn let_in(&mut self, id: &str, role: Role, service: &Service) {
        let Some(node) = self.live.participant(id).map(|participant| participant.node.clone()) else { return };
        self.change_attendance(service, &node, true, |live| live.let_in(id, role, service));
    }

    fn change_attendance<T>(
        &mut self,
        service: &Service,
        node: &str,
        is_in: bool,
        change: impl FnOnce(&mut Live) -> T,
    ) -> T {
        let running = self.live.conference(&service.name);
        let starts = is_in && running.is_none();
        if is_in && running.is_some_and(|running| !running.service.agrees_with(service)) {
            self.policy.note_change(&service.name);
        }
        let changed = change(&mut self.live);
        if starts {
            self.schedule_dial_out(service, node);
        }
        // Without a delay the legs are there at once.
        self.catch_up();
        changed
    }

    fn schedule_dial_out(&mut self, service: &Service, node: &str) {
        let Some(conference) = self.live.conference(&service.name) else {
            return;
        };
        let at = self.clock.now() + self.dial_out.delay;
        self.dial_out.pending.extend(service.callees.iter().map(|callee| PendingDialOut {
            at,
            conference_id: conference.id.clone(),
            conference: service.name.clone(),
            node: node.to_owned(),
            callee: callee.clone(),
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
            for pending in dial_outs {
                self.dial(pending);
            }
        }
    }

    fn next_due(&self) -> Option<OffsetDateTime> {
        let dial_out = self.dial_out.pending.iter().map(|pending| pending.at).min();
        [self.sessions.next_expiry(), self.live.next_guest_timeout(), dial_out].into_iter().flatten().min()
    }

    /// The only attempt for this participant. A node looks it up first if there is a policy server.
    fn dial(&mut self, pending: PendingDialOut) {
        match self.dial_out.callers.get(&pending.node) {
            Some(caller) if self.selected_policy_server().is_some() => {
                // A node that is gone places no call.
                let _placed = caller.send(pending);
            }
            _ => self.place(&pending),
        }
    }

    /// Registers what places the calls of a node after a look-up.
    pub(super) fn set_caller(&mut self, node: &str, caller: UnboundedSender<PendingDialOut>) {
        self.dial_out.callers.insert(node.to_owned(), caller);
    }

    /// The service that places the call, while its conference is running.
    pub(super) fn running(&self, pending: &PendingDialOut) -> Option<&Service> {
        let conference = self.live.conference(&pending.conference)?;
        (conference.id == pending.conference_id).then_some(&conference.service)
    }

    /// The vendor does not say which events a failed attempt causes: here none.
    pub(super) fn place(&mut self, pending: &PendingDialOut) {
        let is_present = self.live.inside(&pending.conference).any(|it| it.has_alias(&pending.callee.alias));
        let Some(service) = self.running(pending).filter(|_| !is_present && !self.dial_out.fails).cloned() else {
            return;
        };
        let leg = Participant::dialled_out(&pending.node, &service.name, &pending.callee, pending.at);
        self.live.admit(leg, &service);
    }

    pub(super) fn remember_tag(&mut self, name: &str, tag: &str) {
        if !tag.is_empty() {
            self.tag_history.entry(name.to_owned()).or_default().push(tag.to_owned());
        }
    }
}
