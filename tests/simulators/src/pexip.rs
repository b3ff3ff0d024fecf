//! A Pexip Infinity platform: a management node with the configuration of rooms, the status of running conferences and
//! commands; Conferencing Nodes, where people join; and event sinks, that are told of it.

mod authentication;
mod clock;
mod conferencing_node;
mod configuration;
mod event_sink;
mod listing;
mod live;
mod oauth2;
mod platform;
mod refusal;
mod room;
mod rooms;
mod sessions;
mod status;
mod upkeep;
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

use live::Participant;
use platform::Platform;

pub use conferencing_node::{ConferencingNode, Joined, Refused};
pub use event_sink::{Delivery, EventSink, SinkTimes};
pub use live::Role;
pub use room::{StoredAlias, StoredRoom};

/// Account of the management API.
pub const USERNAME: &str = "maxconf";

/// Password of the account until a test sets another.
pub const PASSWORD: &str = "room-service-password";

/// The Conferencing Node of people who are put into rooms without one.
const SOME_NODE: &str = "10.47.2.20";

/// The name of the Conferencing Node that every platform has.
const CONFERENCING_NODE: &str = "conf-1";

/// A management node on loopback, and the platform behind it; without rooms at first.
pub type PexipSimulator = Simulator<Platform>;

impl System for Platform {
    fn router(self: &Arc<Self>) -> Router {
        let api = configuration::router()
            .merge(status::router())
            .merge(upkeep::router())
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
    /// Address of the node, as `PEXIP_MANAGEMENT_URL` takes it.
    pub fn management_url(&self) -> Url {
        self.server.url()
    }

    /// Account of the management API.
    pub fn username(&self) -> &'static str {
        USERNAME
    }

    /// The password that is accepted now.
    pub fn password(&self) -> String {
        self.system.state().password.clone()
    }

    /// Changes the password; the old one is refused from now on.
    pub fn set_password(&self, password: &str) {
        password.clone_into(&mut self.system.state().password);
    }

    /// Registers an OAuth2 client of the management API and returns its private key as PEM.
    pub fn add_oauth2_client(&self, client_id: &str) -> String {
        self.system.state().oauth2.add_client(client_id)
    }

    /// Lifetime of tokens that are issued from now on, by the platform's clock; an hour by default.
    pub fn set_oauth2_token_lifetime(&self, lifetime: Duration) {
        self.system.state().oauth2.token_lifetime = lifetime;
    }

    /// Revokes all tokens: their holders get 401.
    pub fn revoke_oauth2_tokens(&self) {
        self.system.state().oauth2.revoke_tokens();
    }

    /// Tokens issued so far.
    pub fn oauth2_tokens_issued(&self) -> usize {
        self.system.state().oauth2.issued
    }

    /// Whether the API accepts Basic authentication, as it does by default (`api_oauth2_disable_basic`).
    pub fn accept_basic(&self, accept: bool) {
        self.system.state().accepts_basic = accept;
    }

    /// Whether the API demands a client certificate in place of an `Authorization` header.
    pub fn demand_client_certificate(&self, demand: bool) {
        self.system.state().demands_client_certificate = demand;
    }

    /// Least length of a PIN that is written from now on, 6 by default.
    pub fn set_min_pin_length(&self, length: usize) {
        self.system.state().min_pin_length = length;
    }

    /// Release and build of the Conferencing Nodes, such as `40 (79715.0.0)`.
    pub fn set_release(&self, release: &str) {
        release.clone_into(&mut self.system.state().release);
    }

    /// Whether `Location` names the host, as older releases did; by default it is a path.
    pub fn use_absolute_location(&self, absolute: bool) {
        self.system.absolute_location.store(absolute, Ordering::Relaxed);
    }

    /// Status of a successful disconnect: 202 by default, 200 has been seen as well.
    pub fn disconnect_status(&self, status: u16) {
        self.system.disconnect_status.store(status, Ordering::Relaxed);
    }

    /// Adds an object that rooms may name in `automatic_participants`.
    pub fn add_automatic_participant(&self, id: u64, alias: &str) {
        self.system.state().automatic_participants.insert(id, alias.to_owned());
    }

    /// All rooms by id.
    pub fn rooms(&self) -> Vec<StoredRoom> {
        self.system.state().rooms.values().cloned().collect()
    }

    /// The room of this name.
    pub fn room(&self, name: &str) -> Option<StoredRoom> {
        self.system.state().rooms.named(name).cloned()
    }

    /// Stores a room without checking it, under its own id or the next one, and returns the id.
    pub fn insert(&self, room: StoredRoom) -> u64 {
        let mut state = self.system.state();
        let id = state.rooms.store(room);
        state.rooms.count_at_least_from(id + 1);
        id
    }

    /// Removes a room as somebody else would, whoever is in it; returns it if it was there.
    pub fn remove(&self, name: &str) -> Option<StoredRoom> {
        let mut state = self.system.state();
        let id = state.rooms.named(name)?.id;
        state.rooms.remove(id)
    }

    /// Every tag but the empty one that was ever written to rooms of this name, in order, repetitions included.
    pub fn tag_history(&self, name: &str) -> Vec<String> {
        let state = self.system.state();
        state.tag_history.get(name).cloned().unwrap_or_default()
    }

    /// Comes back from a backup: only these rooms exist, and ids are counted again from an older number.
    pub fn restore_backup(&self, rooms: Vec<StoredRoom>, next_id: u64) {
        let mut state = self.system.state();
        state.rooms.clear();
        for room in rooms {
            state.rooms.store(room);
        }
        state.rooms.count_from(next_id);
    }

    /// Starts a Conferencing Node of the platform. Events and status name it by this address; it is called elsewhere.
    pub async fn conferencing_node(&self, address: &str) -> ConferencingNode {
        ConferencingNode::start(Arc::clone(&self.system), address).await
    }

    /// How long what is written from now on takes to reach the Conferencing Nodes; at once by default.
    pub fn set_replication_delay(&self, delay: Duration) {
        self.system.state().rooms.set_replication_delay(delay);
    }

    /// Moves the platform's clock forward: replication and the lifetime of tokens go by it. The `Date` of answers does
    /// not, since real clocks need not agree either.
    pub fn advance(&self, by: Duration) {
        self.system.state().clock.advance(by);
        // What has become due happens as soon as anybody looks.
        drop(self.system.state());
    }

    /// From now on what happens in conferences is sent to this address, with Basic authentication unless the user's name
    /// is empty.
    pub fn event_sink(&self, url: Url, username: &str, password: &str) -> EventSink {
        self.system.state().live.sinks.add(url, username, password)
    }

    /// Somebody joins without a Conferencing Node; the conference starts if it was not running. Returns the
    /// participant's id.
    pub fn join(&self, name: &str, role: Role) -> String {
        self.enter(|now| Participant::dialled_in(SOME_NODE, name, role, now))
    }

    /// Somebody is asked for the PIN: a participant, while no conference may be running yet. Returns its id.
    pub fn wait_for_pin(&self, name: &str) -> String {
        self.enter(|now| Participant::at_the_door(SOME_NODE, name, now))
    }

    /// Pexip has dialled out to an automatic participant. Returns the participant's id.
    pub fn dial_out_leg(&self, name: &str) -> String {
        self.enter(|now| Participant::dialled_out(SOME_NODE, name, "sip:queue@sbc.example.org", now))
    }

    fn enter(&self, participant: impl FnOnce(OffsetDateTime) -> Participant) -> String {
        let mut state = self.system.state();
        let participant = participant(state.clock.now());
        state.enter(participant)
    }

    /// Everybody leaves, and the conference ends.
    pub fn leave_all(&self, name: &str) {
        self.system.state().live.end(name, "Call disconnected");
    }

    /// Whether anybody at all, dialled legs included, is in the room or on its way in.
    pub fn is_running(&self, name: &str) -> bool {
        self.system.state().live.is_running(name)
    }
}

/// Django sends clients that forget the trailing slash to the address with it; everything else is a page of HTML.
async fn not_found(uri: Uri) -> Response {
    if uri.path().ends_with('/') {
        let page = Html("<!doctype html><html><head><title>Not Found</title></head></html>");
        return (StatusCode::NOT_FOUND, page).into_response();
    }
    let query = uri.query().map(|query| format!("?{query}"));
    let target = format!("{}/{}", uri.path(), query.unwrap_or_default());
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, target)]).into_response()
}
