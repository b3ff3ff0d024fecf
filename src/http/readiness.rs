//! Readiness: a usable Entra key, the queue and Pexip.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::warn;

use crate::auth::EntraVerifier;
use crate::config::TelemetryConfig;
use crate::http::openapi;
use crate::pexip::PexipClient;
use crate::storage::queue::{QueueError, RoomQueue};
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
    pexip: PexipClient,
    environment: &'static str,
    slot: String,
    /// Concurrent probes share one check, which runs to completion even if they disconnect.
    checks: SingleFlight<(), Readiness>,
    last: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

/// The state of one dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    Ok,
    Failing,
}

/// What each dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Readiness {
    /// A key of Entra is available to verify tokens.
    pub entra: Check,
    /// The queue of the pool answers.
    pub queue: Check,
    /// Pexip's management node answers.
    pub pexip: Check,
}

impl Readiness {
    /// Whether every dependency works.
    pub(crate) fn is_ready(self) -> bool {
        [self.entra, self.queue, self.pexip].iter().all(|check| *check == Check::Ok)
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
    pub(crate) fn new(config: &TelemetryConfig, entra: EntraVerifier, queue: RoomQueue, pexip: PexipClient) -> Self {
        Self {
            entra,
            queue,
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
            // A check may have ended since the look above.
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
        let (queue, pexip) =
            tokio::join!(check_call("queue", self.check_queue()), check_call("pexip", self.pexip.count_ours()));
        let entra = if self.entra.has_usable_key() { Check::Ok } else { Check::Failing };
        Readiness { entra, queue, pexip }
    }

    /// A missing queue is created on first use, and the storage service that reports it is reachable.
    async fn check_queue(&self) -> Result<(), QueueError> {
        match self.queue.approximate_count().await {
            Ok(_) | Err(QueueError::NoSuchQueue) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

async fn check_call<T, E: std::fmt::Display>(system: &str, check: impl Future<Output = Result<T, E>>) -> Check {
    let error = match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(_)) => return Check::Ok,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(system, error, "a dependency is not ready");
    Check::Failing
}
