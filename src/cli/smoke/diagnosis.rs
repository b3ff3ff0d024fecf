//! Who is at fault when the service gives an unexpected answer: its problem code decides, and `/health/ready`.

use std::time::Duration;

use super::check::{Dependency, Failure, Fault};
use super::service::{Answer, Readiness, Service};

/// Longer than the service caches its readiness (5 s), so that a new answer includes the failure.
const READINESS_CACHE: Duration = Duration::from_secs(6);

impl Service {
    /// Diagnoses an answer that is not the expected one.
    pub(super) async fn diagnose(&self, answer: &Answer, expected: &str) -> Failure {
        let detail = format!("answered {} instead of {expected}", answer.summary());
        let (suspect, otherwise) = match answer.code() {
            // `/health/ready` does not cover Genesys.
            "genesys_unavailable" | "genesys_invalid" => return Failure::dependency(Dependency::Genesys, detail),
            // Its readiness reports no failure: Pexip is not meant to be up.
            "service_closed" => return Failure::dependency(Dependency::Pexip, detail),
            "rate_limited" | "overloaded" => return Failure::unclear(detail),
            "entra_unavailable" => (Some(Dependency::Entra), Fault::Unclear),
            "pexip_unavailable" | "pexip_timeout" | "pexip_invalid" => (Some(Dependency::Pexip), Fault::Unclear),
            "records_unavailable" => (Some(Dependency::Records), Fault::Unclear),
            // Pexip refuses the account, which its readiness check shows, or the request, which is the service's fault.
            "pexip_refused" => (Some(Dependency::Pexip), Fault::Service),
            "no_room" | "deadline_exceeded" => (None, Fault::Service),
            _ if answer.status == 429 => return Failure::unclear(detail),
            _ => return Failure::service(detail),
        };
        // Without a published readiness only the problem code is known.
        let unknown = suspect.map_or(Fault::Unclear, Fault::Dependency);
        self.diagnose_by_readiness(&detail, suspect, otherwise, unknown).await
    }

    /// Diagnoses a pool that gave no room.
    pub(super) async fn diagnose_empty_pool(&self) -> Failure {
        self.diagnose_by_readiness("no room came from the pool", None, Fault::Service, Fault::Unclear).await
    }

    async fn diagnose_by_readiness(
        &self,
        detail: &str,
        suspect: Option<Dependency>,
        if_ready: Fault,
        if_unknown: Fault,
    ) -> Failure {
        match self.current_readiness().await {
            Readiness::Failing(failing) => {
                let dependency = suspect.filter(|suspect| failing.contains(suspect)).unwrap_or(failing[0]);
                Failure::dependency(dependency, format!("{detail}; {dependency} is not ready"))
            }
            Readiness::Ready => Failure::new(if_ready, format!("{detail}, although every dependency is ready")),
            Readiness::Unknown(_) => Failure::new(if_unknown, detail),
        }
    }

    /// The readiness, not cached from before the failure.
    async fn current_readiness(&self) -> Readiness {
        let cached = self.readiness().await.unwrap_or(Readiness::Unknown(0));
        if cached != Readiness::Ready {
            return cached;
        }
        tokio::time::sleep(READINESS_CACHE).await;
        self.readiness().await.unwrap_or(Readiness::Unknown(0))
    }

    /// Fails unless the answer is this problem. A gateway may refuse with a body of its own.
    pub(super) async fn expect_problem(&self, answer: &Answer, status: u16, code: &str) -> Result<(), Failure> {
        let is_refused = answer.status == status && answer.code() == code;
        let by_gateway = self.is_behind_gateway() && answer.version().is_none() && answer.status == status;
        if is_refused || by_gateway {
            return Ok(());
        }
        Err(self.diagnose(answer, &format!("{status} {code}")).await)
    }
}
