//! What handlers, permits and middleware share. `App::build` composes it.

use std::ops::Deref;
use std::sync::Arc;

use axum::http::HeaderName;

use crate::auth::{CallerRates, EntraVerifier, GenesysVerifier, NodeAccount};
use crate::domain::{Clock, ReadablePrefix, RoomNamePrefix};
use crate::http::middleware::cors::Cors;
use crate::http::middleware::limits::Limits;
use crate::http::middleware::request_id::RequestIds;
use crate::http::readiness::Health;
use crate::http::room_actions::RoomActions;
use crate::telemetry::audit::Audit;

/// One reference-counted state for the router: a clone per layer and request costs one increment.
#[derive(Clone, Debug)]
pub(crate) struct AppState(Arc<Shared>);

/// The parts of the state.
#[derive(Debug)]
pub(crate) struct Shared {
    pub rooms: RoomActions,
    pub prefix: RoomNamePrefix,
    pub instant_prefix: RoomNamePrefix,
    pub create_shows_host_pin: bool,
    pub public_read_prefixes: Vec<ReadablePrefix>,
    pub entra: EntraVerifier,
    pub genesys: GenesysVerifier,
    /// `None`: events are not accepted and their path is unknown.
    pub event_sink: Option<NodeAccount>,
    /// `None`: external policy is off and its path unknown.
    pub policy: Option<NodeAccount>,
    /// The rates of Entra's clients.
    pub rates: CallerRates,
    /// The rates of Genesys users.
    pub public_rates: CallerRates,
    /// The header that the gateway writes the caller's address into, if there is a gateway.
    pub client_address_header: Option<HeaderName>,
    pub audit: Audit,
    pub health: Health,
    pub clock: Clock,
    pub limits: Limits,
    pub cors: Cors,
    pub request_ids: RequestIds,
}

impl AppState {
    pub(crate) fn new(parts: Shared) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
