//! A Pexip Infinity management node: configuration of rooms, status of running conferences, commands.

mod authentication;
mod configuration;
mod listing;
mod live;
mod node;
mod refusal;
mod room;
mod validation;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use url::Url;

use crate::server::Server;
use crate::tls::SelfSigned;
use crate::traffic::Traffic;

use node::Node;

pub use live::Role;
pub use room::{StoredAlias, StoredRoom};

/// Account of the management API.
pub const USERNAME: &str = "maxconf";

/// Password of the account until a test sets another.
pub const PASSWORD: &str = "room-service-password";

/// A management node on loopback.
#[derive(Debug)]
pub struct PexipSimulator {
    node: Arc<Node>,
    traffic: Traffic,
    server: Server,
}

impl PexipSimulator {
    /// Starts a node without rooms on a port that the system chooses.
    pub async fn start() -> Self {
        Self::start_on(0).await.expect("the system has a free port on loopback")
    }

    /// Starts a node without rooms on the given port.
    pub async fn start_on(port: u16) -> io::Result<Self> {
        let (node, traffic, router) = Self::new_node();
        let server = Server::start_on(router, port).await?;
        Ok(Self { node, traffic, server })
    }

    /// Starts a node without rooms that is called by https.
    pub async fn start_tls(certificate: &SelfSigned) -> Self {
        let (node, traffic, router) = Self::new_node();
        Self { node, traffic, server: Server::start_tls(router, certificate).await }
    }

    fn new_node() -> (Arc<Node>, Traffic, Router) {
        let node = Arc::new(Node::default());
        let traffic = Traffic::default();
        let api = configuration::router()
            .merge(live::router())
            .route_layer(middleware::from_fn_with_state(Arc::clone(&node), authentication::require))
            .with_state(Arc::clone(&node));
        let router = traffic.watch(Router::new().merge(api).fallback(not_found));
        (node, traffic, router)
    }

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
        self.node.state().password.clone()
    }

    /// Changes the password; the old one is refused from now on.
    pub fn set_password(&self, password: &str) {
        password.clone_into(&mut self.node.state().password);
    }

    /// Least length of a PIN that is written from now on, 6 by default.
    pub fn set_min_pin_length(&self, length: usize) {
        self.node.state().min_pin_length = length;
    }

    /// Whether `Location` names the host, as older releases did; by default it is a path.
    pub fn use_absolute_location(&self, absolute: bool) {
        self.node.absolute_location.store(absolute, Ordering::Relaxed);
    }

    /// Status of a successful disconnect: 202 by default, 200 has been seen as well.
    pub fn disconnect_status(&self, status: u16) {
        self.node.disconnect_status.store(status, Ordering::Relaxed);
    }

    /// Adds an object that rooms may name in `automatic_participants`.
    pub fn add_automatic_participant(&self, id: u64, alias: &str) {
        self.node.state().automatic_participants.insert(id, alias.to_owned());
    }

    /// All rooms by id.
    pub fn rooms(&self) -> Vec<StoredRoom> {
        self.node.state().rooms.values().cloned().collect()
    }

    /// The room of this name.
    pub fn room(&self, name: &str) -> Option<StoredRoom> {
        self.node.state().room_named(name).cloned()
    }

    /// Stores a room without checking it, under its own id or the next one, and returns the id.
    pub fn insert(&self, room: StoredRoom) -> u64 {
        let mut state = self.node.state();
        let id = state.store(room);
        state.next_id = state.next_id.max(id + 1);
        id
    }

    /// Removes a room as somebody else would, whoever is in it; returns it if it was there.
    pub fn remove(&self, name: &str) -> Option<StoredRoom> {
        let mut state = self.node.state();
        let id = state.room_named(name)?.id;
        state.rooms.remove(&id)
    }

    /// Every tag but the empty one that was ever written to rooms of this name, in order, repetitions included.
    pub fn tag_history(&self, name: &str) -> Vec<String> {
        let state = self.node.state();
        state.tag_history.get(name).cloned().unwrap_or_default()
    }

    /// Comes back from a backup: only these rooms exist, and ids are counted again from an older number.
    pub fn restore_backup(&self, rooms: Vec<StoredRoom>, next_id: u64) {
        let mut state = self.node.state();
        state.rooms.clear();
        for room in rooms {
            state.store(room);
        }
        state.next_id = next_id;
    }

    /// Somebody joins; the conference starts if it was not running. Returns the participant's id.
    pub fn join(&self, name: &str, role: Role) -> String {
        self.node.state().live.join(name, role)
    }

    /// Somebody is asked for the PIN: a participant, while no conference may be running yet. Returns its id.
    pub fn wait_for_pin(&self, name: &str) -> String {
        self.node.state().live.wait_for_pin(name)
    }

    /// Pexip has dialled out to an automatic participant. Returns the participant's id.
    pub fn dial_out_leg(&self, name: &str) -> String {
        self.node.state().live.dial_out_leg(name)
    }

    /// Everybody leaves, and the conference ends.
    pub fn leave_all(&self, name: &str) {
        self.node.state().live.end(name);
    }

    /// Whether anybody at all, dialled legs included, is in the room or on its way in.
    pub fn is_running(&self, name: &str) -> bool {
        self.node.state().live.is_running(name)
    }

    /// What was received, and the faults.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Stops answering; the rooms stay.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Answers again at the same address.
    pub async fn restart(&self) {
        self.server.restart().await;
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
