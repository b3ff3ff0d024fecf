//! Whether the service can do its work: one usable Entra key, the queue, Pexip.

use std::time::Duration;

use moka::future::Cache;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::warn;

use crate::auth::EntraVerifier;
use crate::config::TelemetryConfig;
use crate::http::openapi;
use crate::pexip::PexipClient;
use crate::storage::queue::{QueueError, RoomQueue};
use crate::tasks::run_to_completion;
use crate::telemetry::{COMMIT, VERSION};

/// How long a result is given out again, so that probing does not load what it probes.
const REMEMBERED: Duration = Duration::from_secs(5);

/// One check takes at most this long; whoever is slower is not ready.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks the service's dependencies. Cheap to clone; clones share the last result.
#[derive(Clone, Debug)]
pub struct Health {
    entra: EntraVerifier,
    queue: RoomQueue,
    pexip: PexipClient,
    environment: &'static str,
    slot: String,
    last: Cache<(), Readiness>,
}

/// The state of one dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Ok,
    Failing,
}

/// What each dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct Readiness {
    /// A key of Entra is there to verify tokens with.
    pub entra: Check,
    /// The queue of the pool answers.
    pub queue: Check,
    /// Pexip's management node answers.
    pub pexip: Check,
}

impl Readiness {
    /// Whether all are fine.
    pub fn is_ready(self) -> bool {
        [self.entra, self.queue, self.pexip].iter().all(|check| *check == Check::Ok)
    }
}

/// Which build runs where.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Build {
    /// The service's version, as in `maxconf-version`.
    #[schemars(example = "0.1.0")]
    pub version: &'static str,
    /// The commit that it was built from, or `unknown`.
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
    /// Checks over these clients.
    pub fn new(config: &TelemetryConfig, entra: EntraVerifier, queue: RoomQueue, pexip: PexipClient) -> Self {
        Self {
            entra,
            queue,
            pexip,
            environment: config.environment.as_str(),
            slot: config.slot.clone(),
            last: Cache::builder().max_capacity(1).time_to_live(REMEMBERED).build(),
        }
    }

    /// This build, and where it runs.
    pub fn build(&self) -> Build {
        Build { version: VERSION, commit: COMMIT, environment: self.environment, slot: self.slot.clone() }
    }

    /// The dependencies' state, not older than a few seconds. Probes at the same time share one check.
    pub async fn readiness(&self) -> Readiness {
        let health = self.clone();
        // Boxed, because the queue library's futures are large.
        let asked = async move { health.last.get_with((), Box::pin(health.check())).await };
        // In a task of its own: a prober who hangs up would otherwise have the next one ask anew, and many of them use
        // up the budget for calls.
        run_to_completion(asked).await
    }

    async fn check(&self) -> Readiness {
        let (queue, pexip) =
            tokio::join!(settled("queue", self.check_queue()), settled("pexip", self.pexip.count_ours()));
        let entra = if self.entra.has_usable_key() { Check::Ok } else { Check::Failing };
        Readiness { entra, queue, pexip }
    }

    /// A missing queue is made when it is first needed; the service that says so is reachable.
    async fn check_queue(&self) -> Result<(), QueueError> {
        match self.queue.approximate_count().await {
            Ok(_) | Err(QueueError::NoSuchQueue) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

async fn settled<T, E: std::fmt::Display>(system: &str, check: impl Future<Output = Result<T, E>>) -> Check {
    let error = match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(_)) => return Check::Ok,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(system, error, "a dependency is not ready");
    Check::Failing
}
