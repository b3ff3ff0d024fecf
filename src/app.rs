//! Builds the service once, for the binary, the sandbox and every test alike.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::auth::{CallerRates, EntraVerifier, GenesysVerifier, NodeAccount};
use crate::config::{Config, PexipAccount, PexipConfig, QueueConfig, RecordsConfig, StorageAccess};
use crate::domain::{Clock, RoomNamePrefix, ServiceHours};
use crate::http::middleware::cors::Cors;
use crate::http::middleware::limits::Limits;
use crate::http::middleware::request_id::RequestIds;
use crate::http::readiness::Health;
use crate::http::room_actions::RoomActions;
use crate::http::routes;
use crate::http::server::{self, ServeError};
use crate::http::state::{AppState, Shared};
use crate::outbound::calls::System;
use crate::outbound::client_builder;
use crate::pexip::{PexipClient, trusting};
use crate::rooms::{RoomPool, Settings};
use crate::storage::StorageError;
use crate::storage::queue::RoomQueue;
use crate::storage::records::RecordStore;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics;

/// The service, ready to be served. Its background work has begun.
#[derive(Debug)]
pub struct App {
    router: Router,
    max_concurrent_requests: usize,
    background: DropGuard,
}

/// Why the service cannot be built from settings that were found complete.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("an HTTP client could not be made: {0}")]
    HttpClient(#[from] reqwest::Error),
    #[error("the certificates of PEXIP_CA_FILE cannot be trusted: {0}")]
    Certificates(#[from] rustls::Error),
    #[error("a client of the storage account could not be made: {0}")]
    Storage(#[from] StorageError),
}

impl App {
    /// Makes each client once and starts the background tasks. Waits for no call.
    pub fn build(config: Config, clock: Clock) -> Result<Self, BuildError> {
        let stop = CancellationToken::new();
        // Also stops the tasks that have started if a later step fails.
        let background = stop.clone().drop_guard();
        let prefix = config.room.prefix.clone();

        let queue = queue_client(&config.queue, &prefix)?;
        let records = record_store(&config.records)?;
        let pexip = pexip_client(&config.pexip, &config.pexip_account, config.service_hours, &prefix, &clock)?;
        pexip.start_renewing_tokens(&stop);

        let entra_http = entra_http()?;
        let entra = EntraVerifier::start(config.entra, &entra_http, clock.clone(), &stop);

        let health = Health::new(&config.telemetry, entra.clone(), queue.clone(), records.clone(), pexip.clone());
        let (tag_rule, create_shows_host_pin) = (config.room.tag_rule(), config.room.create_shows_host_pin);
        let public_read_prefixes = config.room.public_read_prefixes.clone();
        let deadline = config.server.request_deadline;
        let request_ids = RequestIds::new(&clock);
        let (instant_prefix, has_policy) = (config.instant.prefix.clone(), config.pexip_policy.is_some());
        let settings = Settings {
            pool: config.pool,
            rooms: config.room,
            instant: config.instant,
            has_policy,
            request_deadline: deadline,
        };
        let pool = RoomPool::new(settings, queue.clone(), records.clone(), pexip.clone(), clock.clone());
        pool.start(&stop);
        let event_sink = config.pexip_events.as_ref().map(NodeAccount::new);

        let widgets_share = config.server.widgets_share();
        let genesys = GenesysVerifier::new(config.genesys, genesys_http()?, clock.clone(), widgets_share);
        observe(pool.clone(), queue, records, pexip, entra.clone(), genesys.clone());
        let state = AppState::new(Shared {
            rooms: RoomActions::new(pool, tag_rule),
            prefix,
            instant_prefix,
            create_shows_host_pin,
            public_read_prefixes,
            entra,
            genesys,
            event_sink,
            policy: config.pexip_policy.as_ref().map(NodeAccount::new),
            rates: CallerRates::per_minute(config.server.rate_limit_per_minute),
            public_rates: CallerRates::per_minute(config.server.public_rate_limit_per_minute),
            client_address_header: config.server.client_address_header.clone(),
            audit: Audit::new(config.server.audit_hash_key.as_ref()),
            health,
            clock,
            limits: Limits::new(&config.server),
            cors: Cors::new(&config.server.cors_allowed_origins),
            request_ids,
        });
        let router = routes::router(state);
        let max_concurrent_requests = config.server.max_concurrent_requests;
        Ok(Self { router, max_concurrent_requests, background })
    }

    /// Serves until `stop`, then lets requests in progress finish. Returns the exit code that `stop` gave.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = u8>) -> Result<u8, ServeError> {
        let _background = self.background;
        server::serve(listener, self.router, self.max_concurrent_requests, stop).await
    }

    /// The router, for requests without a listener.
    pub fn into_parts(self) -> (Router, DropGuard) {
        (self.router, self.background)
    }
}

/// Registers the state of this instance for every report of metrics.
fn observe(
    pool: RoomPool,
    queue: RoomQueue,
    records: RecordStore,
    pexip: PexipClient,
    entra: EntraVerifier,
    genesys: GenesysVerifier,
) {
    let (prefetch, refill, keys) = (pool.clone(), pool, entra.clone());
    let (budget, hours) = (pexip.clone(), pexip.clone());
    metrics::PREFETCHED.observe_with(move || [(prefetch.prefetched() as u64, [])]);
    metrics::OWED.observe_with(move || [(refill.owed() as u64, [])]);
    metrics::BUDGET_LEFT.observe_with(move || [(budget.budget_left() as u64, [])]);
    metrics::SERVICE_OPEN.observe_with(move || [(hours.out_of_hours().is_none().into(), [])]);
    metrics::JWKS_AGE.observe_with(move || {
        keys.key_ages().map(|(version, age)| (age.as_secs(), [version.into()])).collect::<Vec<_>>()
    });
    metrics::BREAKER_OPEN.observe_with(move || {
        [
            (System::Pexip, pexip.is_circuit_open()),
            (System::Queue, queue.is_circuit_open()),
            (System::Records, records.is_circuit_open()),
            (System::Entra, entra.is_failing()),
            (System::Genesys, genesys.is_circuit_open()),
        ]
        .map(|(system, open)| (open.into(), [system.as_str().into()]))
    });
}

/// The pool alone, for an operator's command. Starts no task.
pub fn pool_alone(config: Config, clock: Clock) -> Result<RoomPool, BuildError> {
    let queue = queue_client(&config.queue, &config.room.prefix)?;
    let records = record_store(&config.records)?;
    let (node, account) = (&config.pexip, &config.pexip_account);
    let pexip = pexip_client(node, account, config.service_hours, &config.room.prefix, &clock)?;
    let request_deadline = config.server.request_deadline;
    let has_policy = config.pexip_policy.is_some();
    let settings =
        Settings { pool: config.pool, rooms: config.room, instant: config.instant, has_policy, request_deadline };
    Ok(RoomPool::new(settings, queue, records, pexip, clock))
}

/// A client of the queue; makes no call yet.
pub fn queue_client(config: &QueueConfig, prefix: &RoomNamePrefix) -> Result<RoomQueue, BuildError> {
    Ok(RoomQueue::new(config, prefix.clone(), storage_http(&config.access)?)?)
}

/// A client of the room records; makes no call yet.
pub fn record_store(config: &RecordsConfig) -> Result<RecordStore, BuildError> {
    Ok(RecordStore::new(config, storage_http(&config.access)?)?)
}

/// A client of the management node; makes no call yet.
pub fn pexip_client(
    config: &PexipConfig,
    account: &PexipAccount,
    hours: Option<ServiceHours>,
    prefix: &RoomNamePrefix,
    clock: &Clock,
) -> Result<PexipClient, BuildError> {
    Ok(PexipClient::new(config, account, hours, prefix.clone(), pexip_http(config)?, clock.clone()))
}

/// HTTP client for a service of the storage account.
pub fn storage_http(access: &StorageAccess) -> Result<reqwest::Client, BuildError> {
    Ok(client_builder(Duration::from_secs(2)).pool_idle_timeout(idle_time(access)).build()?)
}

/// HTTP client for the management node.
pub fn pexip_http(config: &PexipConfig) -> Result<reqwest::Client, BuildError> {
    let mut http = client_builder(Duration::from_secs(3));
    if !config.trusted_certificates.is_empty() {
        http = http.tls_backend_preconfigured(trusting(config.trusted_certificates.clone())?);
    }
    Ok(http.build()?)
}

/// HTTP client for Entra's keys.
pub fn entra_http() -> Result<reqwest::Client, BuildError> {
    Ok(client_builder(Duration::from_secs(2)).build()?)
}

/// HTTP client for Genesys.
pub fn genesys_http() -> Result<reqwest::Client, BuildError> {
    Ok(client_builder(Duration::from_secs(1)).build()?)
}

/// Client for the export of traces and metrics.
pub fn export_http() -> reqwest::ClientBuilder {
    client_builder(Duration::from_secs(2))
}

/// How long an idle connection to storage is kept. Azurite closes idle connections after 5 s; a write on a closing
/// connection fails, because only reads are repeated. Azure keeps them for minutes, which saves a create the TLS
/// handshake.
fn idle_time(access: &StorageAccess) -> Duration {
    if access.service().scheme() == "http" { Duration::from_secs(4) } else { Duration::from_secs(90) }
}
