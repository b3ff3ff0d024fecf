//! Waits for the expected version, then for the service to be ready.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::check::{Dependency, Failure};
use super::service::{Readiness, Service, Unanswered};
use super::test_case::INVALID_NAME;
use crate::cli::progress_bar::ProgressBar;

const PAUSE: Duration = Duration::from_secs(1);

/// During a swap instances of both versions answer; the new one must answer this often in a row.
const REQUIRED_IN_A_ROW: usize = 3;
const PAUSE_IN_A_ROW: Duration = Duration::from_millis(200);

/// Limit for readiness: longer than the service takes to read its keys. A swap waits for this test, so no longer.
const READINESS_LIMIT: Duration = Duration::from_secs(15);

/// What answers at the address.
enum Probe {
    Version(String),
    /// Something else than the service; its status and code.
    Other(String),
    Failed(Unanswered),
}

/// Waits at most `limit` for `expected`, or for any version. Returns the one that answers.
pub(super) async fn for_version(
    service: &Service,
    expected: Option<&str>,
    limit: Duration,
    progress: &ProgressBar,
) -> Result<String, Failure> {
    let start = Instant::now();
    let mut in_a_row = 0;
    loop {
        let probe = probe(service).await;
        match &probe {
            Probe::Version(version) if expected.is_none_or(|expected| expected == version) => {
                in_a_row += 1;
                if in_a_row == REQUIRED_IN_A_ROW {
                    return Ok(version.clone());
                }
            }
            _ => in_a_row = 0,
        }
        if in_a_row == 0 && start.elapsed() >= limit {
            return Err(probe.into_failure(expected));
        }
        if in_a_row == 0 {
            progress.show_wait(&format!("{}; waiting up to {} s", probe.description(expected), limit.as_secs()));
        }
        sleep(if in_a_row > 0 { PAUSE_IN_A_ROW } else { PAUSE }).await;
    }
}

async fn probe(service: &Service) -> Probe {
    // A gateway need not publish /health/live. It publishes this route, whose refusal needs no dependency.
    let path: &[&str] =
        if service.is_behind_gateway() { &["public", "room", INVALID_NAME] } else { &["health", "live"] };
    match service.send(service.cached_get(path)).await {
        Ok(answer) => match answer.version() {
            Some(version) if answer.status == 200 || service.is_behind_gateway() => Probe::Version(version.to_owned()),
            _ => Probe::Other(answer.summary()),
        },
        Err(unanswered) => Probe::Failed(unanswered),
    }
}

impl Probe {
    fn description(&self, expected: Option<&str>) -> String {
        match (self, expected) {
            (Self::Version(version), Some(expected)) => format!("version {version} answers instead of {expected}"),
            (Self::Version(version), None) => format!("version {version} answers"),
            (Self::Other(summary), _) => format!("the answer is {summary}"),
            (Self::Failed(unanswered), _) => unanswered.to_string(),
        }
    }

    fn into_failure(self, expected: Option<&str>) -> Failure {
        match self {
            Self::Failed(unanswered) => unanswered.into(),
            Self::Version(_) | Self::Other(_) => Failure::service(self.description(expected)),
        }
    }
}

/// Waits at most `limit` until `/health/ready` reports that every dependency is ready.
pub(super) async fn for_readiness(service: &Service, limit: Duration, progress: &ProgressBar) -> Result<(), Failure> {
    let limit = limit.min(READINESS_LIMIT);
    let start = Instant::now();
    loop {
        let readiness = service.readiness().await;
        let is_overdue = start.elapsed() >= limit;
        let (state, failure) = match readiness {
            Ok(Readiness::Ready) => return Ok(()),
            Ok(Readiness::Unknown(_)) if service.is_behind_gateway() => {
                return Err(Failure::not_checked("the gateway does not let /health/ready through"));
            }
            Err(unanswered) => (unanswered.to_string(), unanswered.into()),
            Ok(Readiness::Failing(failing)) => {
                let state = format!("not ready: {}", names(&failing));
                (state.clone(), Failure::dependency(failing[0], state))
            }
            Ok(Readiness::Unknown(status)) => {
                let state = format!("/health/ready answered {status}");
                (state.clone(), Failure::service(state))
            }
        };
        if is_overdue {
            return Err(failure);
        }
        progress.show_wait(&format!("{state}; waiting up to {} s", limit.as_secs()));
        sleep(PAUSE).await;
    }
}

fn names(dependencies: &[Dependency]) -> String {
    dependencies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
