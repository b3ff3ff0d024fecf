//! A Pexip Infinity platform: a management node (configuration, status and commands), Conferencing Nodes that apps join,
//! and event sinks that receive events.

mod administration;
mod aliases;
mod authentication;
mod clock;
mod conferencing_node;
mod configuration;
mod direct_media;
mod event_sink;
mod fields;
mod listing;
mod live;
mod oauth2;
mod pins;
mod platform;
mod policy;
mod policy_server;
mod refusal;
mod room;
mod rooms;
mod schema;
mod service;
mod sessions;
mod status;
mod validation;
mod watchers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use time::OffsetDateTime;
use url::Url;

use crate::simulator::{Simulator, System};

use live::{AutomaticParticipant, Participant};
use platform::Platform;
use policy_server::PolicyServer;
use service::{Callee, Service};

pub use conferencing_node::{Caller, ConferencingNode, Endpoint, Joined, Refused};
pub use event_sink::{Delivery, EventSink, SinkTimes};
pub use listing::InLookup;
pub use live::Role;
pub use policy::{PolicyLookUp, PolicyOutcome, PolicyVariant};
pub use room::{StoredAlias, StoredRoom};

/// Account of the management API.
pub const USERNAME: &str = "maxconf";

/// Password of the account until a test sets another.
pub const PASSWORD: &str = "room-service-password";

/// Address of the Conferencing Node for participants that a test adds without one.
const DEFAULT_NODE: &str = "10.47.2.20";

/// Name of the Conferencing Node that every platform has.
const CONFERENCING_NODE: &str = "conf-1";

/// A participant of a conference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The participant's id.
    pub id: String,
    /// As the app gave it; empty for a dialled leg.
    pub display_name: String,
    /// `None` until the PIN is entered.
    pub role: Option<Role>,
    /// Whether the platform placed the call.
    pub is_dialled: bool,
    /// Whether audio and video are connected.
    pub has_media: bool,
}

/// A management node on loopback and the platform behind it. It starts without rooms.
pub type PexipSimulator = Simulator<Platform>;

impl System for Platform {
    fn router(self: &Arc<Self>) -> Router {
        let api = configuration::router()
            .merge(status::router())
            .merge(administration::router())
            .merge(aliases::router())
            .merge(schema::router())
            .route_layer(middleware::from_fn_with_state(Arc::clone(self), authentication::require))
            .with_state(Arc::clone(self));
        let tokens = oauth2::router().with_state(Arc::clone(self));
        Router::new().merge(api).merge(tokens).fallback(not_found)
    }

    fn listens_at(&self, address: &Url) {
        self.set_address(address);
    }
}

impl PexipSimulator {
    /// Address of the node: the value of `PEXIP_MANAGEMENT_URL`.
    pub fn management_url(&self) -> Url {
        self.server.url()
    }

    /// Account of the management API.
    pub fn username(&self) -> &'static str {
        USERNAME
    }

    /// The current password.
    pub fn password(&self) -> String {
        self.system.state().password.clone()
    }

    /// Changes the password. The old one is refused from now on.
    pub fn set_password(&self, password: &str) {
        password.clone_into(&mut self.system.state().password);
    }

    /// The private key of this OAuth2 client of the management API as PEM. Registers the client if there is none of this
    /// id.
    pub fn add_oauth2_client(&self, client_id: &str) -> String {
        self.system.state().oauth2.add_client(client_id)
    }

    /// Removes an OAuth2 client: it gets no further tokens.
    pub fn remove_oauth2_client(&self, client_id: &str) {
        self.system.state().oauth2.remove_client(client_id);
    }

    /// Lifetime of tokens that are issued from now on, by the platform's clock; an hour by default.
    pub fn set_oauth2_token_lifetime(&self, lifetime: Duration) {
        self.system.state().oauth2.token_lifetime = lifetime;
    }

    /// Revokes all tokens: their holders get 401.
    pub fn revoke_oauth2_tokens(&self) {
        self.system.state().oauth2.revoke_tokens();
    }

    /// A token for another user of the API; it is not counted as issued.
    pub fn issue_oauth2_token(&self, lifetime: Duration) -> String {
        let mut state = self.system.state();
        let expires = state.clock.now() + lifetime;
        state.oauth2.issue(expires)
    }

    /// Tokens issued so far.
    pub fn oauth2_tokens_issued(&self) -> usize {
        self.system.state().oauth2.issued.len()
    }

    /// The tokens issued so far, in order.
    pub fn oauth2_tokens(&self) -> Vec<String> {
        self.system.state().oauth2.issued.clone()
    }

    /// Whether the API accepts Basic authentication, as it does by default (`api_oauth2_disable_basic`).
    pub fn accept_basic(&self, accept: bool) {
        self.system.state().accepts_basic = accept;
    }

    /// Whether the API demands a client certificate in place of an `Authorization` header.
    pub fn demand_client_certificate(&self, demand: bool) {
        self.system.state().demands_client_certificate = demand;
    }

    /// Minimum length of PINs that are written from now on; 6 by default.
    pub fn set_min_pin_length(&self, length: usize) {
        self.system.state().min_pin_length = length;
    }

    /// How lists treat the lookup `in`, such as `name__in=a,b`; supported by default.
    pub fn set_in_lookup(&self, lookup: InLookup) {
        self.system.state().filter_rules.in_lookup = lookup;
    }

    /// Whether lists ignore filters by unknown fields, as django-tastypie does, and return all objects. By default such
    /// filters are refused with 400, so that a misspelt filter fails a test.
    pub fn ignore_unknown_filters(&self, ignore: bool) {
        self.system.state().filter_rules.ignore_unknown = ignore;
    }

    /// Puts the Conferencing Nodes into maintenance mode for this reason, or back into service. Only the status shows it.
    pub fn set_maintenance(&self, reason: Option<&str>) {
        self.system.state().maintenance = reason.map(str::to_owned);
    }

    /// Adds a policy server, with service look-ups enabled, and selects it in the location: from now on the Conferencing
    /// Nodes ask it about each call.
    pub fn add_policy_server(&self, url: Url, username: &str, password: &str) {
        self.system.state().policy_servers.push(PolicyServer::new(url, username, password));
    }

    /// Sets a switch of every policy server, such as `enable_avatar_lookup` or `allow_http`.
    pub fn switch_policy_servers(&self, name: &'static str, is_on: bool) {
        for server in &mut self.system.state().policy_servers {
            server.switches.insert(name, is_on);
        }
    }

    /// Whether the location selects the event sinks and the policy server, as it does by default. Of the sinks only the
    /// configuration API shows it.
    pub fn select_services_in_location(&self, select: bool) {
        self.system.state().location_selects_services = select;
    }

    /// Time that Conferencing Nodes wait for a policy server; 5 s by default. Real ones have no setting for it.
    pub fn set_policy_timeout(&self, timeout: Duration) {
        self.system.state().policy.timeout = timeout;
    }

    /// How long a Conferencing Node that found no room refuses the alias without asking again, by the platform's clock;
    /// not at all by default. That real nodes do so is known from a single source.
    pub fn set_negative_cache(&self, kept: Option<Duration>) {
        self.system.state().policy.negative_cache = kept;
    }

    /// Turns a behaviour of Conferencing Nodes on or off.
    pub fn set_policy_variant(&self, variant: PolicyVariant, on: bool) {
        self.system.state().policy.set_variant(variant, on);
    }

    /// The look-ups of all Conferencing Nodes that have ended, in order.
    pub fn policy_look_ups(&self) -> Vec<PolicyLookUp> {
        self.system.state().policy.look_ups().to_vec()
    }

    /// Rooms that were joined on another answer than the one that their running conference began with, where the two
    /// differ in more than what may differ from participant to participant.
    pub fn changed_services(&self) -> Vec<String> {
        self.system.state().policy.changed().to_vec()
    }

    /// Release and build of the Conferencing Nodes, such as `40 (79715.0.0)`.
    pub fn set_release(&self, release: &str) {
        release.clone_into(&mut self.system.state().release);
    }

    /// Leaves PINs out of what reads show, as for an account that may not see them.
    pub fn hide_pins(&self) {
        self.system.hides_pins.store(true, Ordering::Relaxed);
    }

    /// Whether `Location` is an absolute URL, as in older releases; by default it is a path.
    pub fn use_absolute_location(&self, absolute: bool) {
        self.system.absolute_location.store(absolute, Ordering::Relaxed);
    }

    /// Status of a successful disconnect: 202 by default. Nodes that answer 200 exist as well.
    pub fn set_disconnect_status(&self, status: u16) {
        self.system.disconnect_status.store(status, Ordering::Relaxed);
    }

    /// Adds an `automatic_participant` with the role guest.
    pub fn add_automatic_participant(&self, id: u64, alias: &str) {
        self.add_automatic_participant_as(id, alias, Role::Guest);
    }

    /// Adds an `automatic_participant`.
    pub fn add_automatic_participant_as(&self, id: u64, alias: &str, role: Role) {
        let participant = AutomaticParticipant { alias: alias.to_owned(), role };
        self.system.state().automatic_participants.insert(id, participant);
    }

    /// Time from the first participant past the PIN to the automatic dial-out, by the platform's clock; 10 s by default.
    pub fn set_dial_out_delay(&self, delay: Duration) {
        self.system.state().dial_out.delay = delay;
    }

    /// Whether automatic dial-outs fail from now on. There is one attempt for each.
    pub fn fail_dial_outs(&self, fail: bool) {
        self.system.state().dial_out.fails = fail;
    }

    /// All rooms, ordered by id.
    pub fn rooms(&self) -> Vec<StoredRoom> {
        self.system.state().rooms.values().cloned().collect()
    }

    /// The room with this name.
    pub fn room(&self, name: &str) -> Option<StoredRoom> {
        self.system.state().rooms.named(name).cloned()
    }

    /// Stores a room without checks, with its own id or the next one. Returns the id.
    pub fn insert(&self, room: StoredRoom) -> u64 {
        let mut state = self.system.state();
        let id = state.rooms.store(room);
        state.rooms.raise_next_id(id + 1);
        id
    }

    /// Deletes a room as another client of the node would, even while its conference is running. Returns the deleted room.
    pub fn remove(&self, name: &str) -> Option<StoredRoom> {
        let mut state = self.system.state();
        let id = state.rooms.named(name)?.id;
        state.rooms.remove(id)
    }

    /// All non-empty tags written to rooms with this name, in order, with repetitions.
    pub fn tag_history(&self, name: &str) -> Vec<String> {
        let state = self.system.state();
        state.tag_history.get(name).cloned().unwrap_or_default()
    }

    /// Restores a backup: only these rooms exist, and ids continue from `next_id`.
    pub fn restore_backup(&self, rooms: Vec<StoredRoom>, next_id: u64) {
        let mut state = self.system.state();
        state.rooms.clear();
        for room in rooms {
            state.rooms.store(room);
        }
        state.rooms.set_next_id(next_id);
    }

    /// Whether web clients that ask for it use direct media: two of a conference send each other audio and video, and the
    /// nodes pass on what they agree about it. Off by default: then no media flows. Real nodes mix the media of more than
    /// two, these do not: further ones are without.
    pub fn use_direct_media(&self, on: bool) {
        self.system.state().live.direct_media.is_on = on;
    }

    /// Starts a Conferencing Node of the platform. `address` is the node's name in events and status; the node listens on
    /// loopback.
    pub async fn conferencing_node(&self, address: &str) -> ConferencingNode {
        ConferencingNode::start(Arc::clone(&self.system), address).await
    }

    /// Time until a write reaches the Conferencing Nodes, by the platform's clock; none by default.
    pub fn set_replication_delay(&self, delay: Duration) {
        self.system.state().rooms.set_replication_delay(delay);
    }

    /// Moves the platform's clock forward. Replication, the lifetime of tokens, dial-out and time-outs use it; the `Date`
    /// header does not.
    pub fn advance(&self, by: Duration) {
        self.system.state().clock.advance(by);
        // Reading the state carries out what has become due.
        drop(self.system.state());
    }

    /// Adds an event sink that posts to this address, with Basic authentication unless the user name is empty.
    pub fn add_event_sink(&self, url: Url, username: &str, password: &str) -> EventSink {
        self.system.state().live.sinks.add(url, username, password)
    }

    /// Adds a participant without a Conferencing Node; starts the conference if it is not running. Returns the
    /// participant's id.
    pub fn join(&self, name: &str, role: Role) -> String {
        self.enter(|now| Participant::dialled_in(DEFAULT_NODE, name, role, now))
    }

    /// Adds a participant who has not entered the PIN yet; starts no conference. Returns the participant's id.
    pub fn wait_for_pin(&self, name: &str) -> String {
        self.enter(|now| Participant::before_pin(DEFAULT_NODE, name, now))
    }

    /// Adds a dialled leg with the role guest. Returns the participant's id.
    pub fn dial_out_leg(&self, name: &str) -> String {
        self.dial_out_leg_as(name, Role::Guest)
    }

    /// Adds a dialled leg. Returns the participant's id.
    pub fn dial_out_leg_as(&self, name: &str, role: Role) -> String {
        let dialled = AutomaticParticipant { alias: "sip:queue@sbc.example.org".to_owned(), role };
        let callee = Callee::stored(&dialled, name);
        self.enter(|now| Participant::dialled_out(DEFAULT_NODE, name, &callee, now))
    }

    fn enter(&self, participant: impl FnOnce(OffsetDateTime) -> Participant) -> String {
        let mut state = self.system.state();
        let participant = participant(state.clock.now());
        let name = &participant.conference;
        let running = state.live.conference(name).map(|conference| conference.service.clone());
        let service = running.or_else(|| state.stored(name)).unwrap_or_else(|| Service::named(name));
        state.enter(participant, &service)
    }

    /// Disconnects all participants and ends the conference.
    pub fn leave_all(&self, name: &str) {
        self.system.state().live.end(name, "Call disconnected");
    }

    /// Who is in the room's conference, in the order of their joining, including dialled legs and people who have not
    /// entered the PIN yet.
    pub fn people(&self, name: &str) -> Vec<Person> {
        let state = self.system.state();
        let present = state.live.participants_of(name);
        present
            .map(|participant| Person {
                id: participant.id.clone(),
                display_name: participant.display_name.clone(),
                role: participant.role,
                is_dialled: participant.call_direction == "out",
                has_media: participant.has_media,
            })
            .collect()
    }

    /// Whether the room has any participant, including dialled legs and participants who have not entered the PIN yet.
    pub fn is_running(&self, name: &str) -> bool {
        self.system.state().live.is_running(name)
    }
}

/// Django redirects requests without the trailing slash; other unknown paths get a page of HTML.
async fn not_found(uri: Uri) -> Response {
    if uri.path().ends_with('/') {
        let page = Html("<!doctype html><html><head><title>Not Found</title></head></html>");
        return (StatusCode::NOT_FOUND, page).into_response();
    }
    let query = uri.query().map(|query| format!("?{query}"));
    let target = format!("{}/{}", uri.path(), query.unwrap_or_default());
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, target)]).into_response()
}
