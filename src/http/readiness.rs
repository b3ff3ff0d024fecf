//! Readiness: a usable Entra key, the queue, the room records and Pexip.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use tokio::time::timeout;
use tracing::warn;

use crate::auth::EntraVerifier;
use crate::config::TelemetryConfig;
use crate::http::openapi;
use crate::outbound::CallFailure;
use crate::pexip::{Closed, PexipClient};
use crate::storage::StorageError;
use crate::storage::queue::RoomQueue;
use crate::storage::records::RecordStore;
use crate::tasks::SingleFlight;
use crate::telemetry::{COMMIT, VERSION};

/// How long a result is reused, so that probes do not load the dependencies.
const MAX_AGE: Duration = Duration::from_secs(5);

/// A dependency that takes longer is failing.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks the dependencies. Cheap to clone; clones share the last result.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    entra: EntraVerifier,
    queue: RoomQueue,
    records: RecordStore,
    pexip: PexipClient,
    environment: &'static str,
    slot: String,
    /// Concurrent probes share one check, which runs to completion even if they disconnect.
    checks: SingleFlight<(), Readiness>,
    last: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

/// The state of one dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Ok,
    Failing,
    /// It cannot be reached, and is not meant to be.
    Closed(Closed),
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ok => serializer.serialize_str("ok"),
            Self::Failing => serializer.serialize_str("failing"),
            Self::Closed(closed) => serializer.collect_str(closed),
        }
    }
}

impl JsonSchema for Check {
    fn schema_name() -> Cow<'static, str> {
        "Check".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(ok|failing|closed( until [0-9T:.+-]+Z?)?)$" })
    }
}

/// What each dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Readiness {
    /// A key of Entra is available to verify tokens.
    pub entra: Check,
    /// The queue of the pool answers.
    pub queue: Check,
    /// The room records answer.
    pub records: Check,
    /// Pexip's management node answers, and shows the rooms' PINs. Out of `SERVICE_HOURS`, `closed until` and a time if
    /// it does not.
    pub pexip: Check,
}

impl Readiness {
    /// Whether every dependency works, or is not meant to.
    pub(crate) fn is_ready(self) -> bool {
        [self.entra, self.queue, self.records, self.pexip].iter().all(|check| *check != Check::Failing)
    }
}

/// The build and its environment.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Build {
    /// The service's version, as in `maxconf-version`.
    #[schemars(example = "0.1.0")]
    pub version: &'static str,
    /// The commit of the build, or `unknown`.
    #[schemars(example = &"unknown")]
    pub commit: &'static str,
    /// `local`, `test` or `production`.
    #[schemars(example = &"production")]
    pub environment: &'static str,
    /// The deployment slot.
    #[schemars(example = &"production")]
    pub slot: String,
}

impl Build {
    pub(super) fn example() -> Self {
        let slot = "production".to_owned();
        Self { version: openapi::VERSION, commit: "unknown", environment: "production", slot }
    }
}

impl Health {
    pub(crate) fn new(
        config: &TelemetryConfig,
        entra: EntraVerifier,
        queue: RoomQueue,
        records: RecordStore,
        pexip: PexipClient,
    ) -> Self {
        Self {
            entra,
            queue,
            records,
            pexip,
            environment: config.environment.as_str(),
            slot: config.slot.clone(),
            checks: SingleFlight::default(),
            last: Arc::default(),
        }
    }

    pub(crate) fn build(&self) -> Build {
        Build { version: VERSION, commit: COMMIT, environment: self.environment, slot: self.slot.clone() }
    }

    /// The state of the dependencies, at most 5 s old.
    pub(crate) async fn readiness(&self) -> Readiness {
        if let Some(recent) = self.recent() {
            return recent;
        }
        let health = self.clone();
        // Boxed, because the futures of the queue's SDK are large.
        let check = Box::pin(async move {
            // A check may have ended since `recent` was called above.
            if let Some(recent) = health.recent() {
                return recent;
            }
            let readiness = health.check().await;
            *health.last.lock() = Some((Instant::now(), readiness));
            readiness
        });
        self.checks.run((), check).await
    }

    fn recent(&self) -> Option<Readiness> {
        let last = *self.last.lock();
        last.filter(|(checked_at, _)| checked_at.elapsed() < MAX_AGE).map(|(_, readiness)| readiness)
    }

    async fn check(&self) -> Readiness {
        let (queue, records, pexip) = tokio::join!(self.check_queue(), self.check_records(), self.check_pexip());
        let entra = if self.entra.has_usable_key() { Check::Ok } else { Check::Failing };
        Readiness { entra, queue, records, pexip }
    }

    /// A missing queue is created on first use, and the storage service that reports it is reachable.
    async fn check_queue(&self) -> Check {
        match timeout(CHECK_TIMEOUT, self.queue.approximate_count()).await {
            Ok(Ok(_) | Err(StorageError::NoSuchQueue)) => Check::Ok,
            Ok(Err(error)) => failing("queue", error),
            Err(_) => failing("queue", "no answer in time"),
        }
    }

    async fn check_records(&self) -> Check {
        match timeout(CHECK_TIMEOUT, self.records.probe()).await {
            Ok(Ok(())) => Check::Ok,
            Ok(Err(error)) => failing("records", error),
            Err(_) => failing("records", "no answer in time"),
        }
    }

    async fn check_pexip(&self) -> Check {
        let answer = timeout(CHECK_TIMEOUT, self.pexip.shows_pins()).await;
        let error = match answer.unwrap_or(Err(CallFailure::Timeout.into())) {
            Ok(Some(false)) => return failing("pexip", "our account sees no PINs"),
            Ok(_) => return Check::Ok,
            Err(error) => error,
        };
        match self.pexip.closed(&error) {
            Some(closed) => Check::Closed(closed),
            None => failing("pexip", error),
        }
    }
}

fn failing(system: &str, error: impl Display) -> Check {
    warn!(system, %error, "a dependency is not ready");
    Check::Failing
}
