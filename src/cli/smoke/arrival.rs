//! What is waited for: the version, then all that it needs.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::check::{Dependency, Finding};
use super::rooms::NOBODYS_ROOM;
use super::service::{Readiness, Service, Unanswered};
use crate::cli::progress_bar::ProgressBar;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Instances of both versions answer for a moment; the new one must answer this often in a row.
const IN_A_ROW: usize = 3;
const PAUSE_IN_A_ROW: Duration = Duration::from_millis(200);

/// The longest that is waited for what the service needs: longer than its keys take to be read, and no longer, for a
/// swap stands meanwhile.
const LONGEST_WAIT_FOR_READINESS: Duration = Duration::from_secs(15);

/// What answers at the address.
enum Sighting {
    Version(String),
    /// What stands before the service, in its place.
    Other(String),
    Failed(Unanswered),
}

/// Waits at most `limit` for the expected version, or for any. Returns the one that answers.
pub(super) async fn version(
    service: &Service,
    expected: Option<&str>,
    limit: Duration,
    progress: &ProgressBar,
) -> Result<String, Finding> {
    let start = Instant::now();
    let mut in_a_row = 0;
    loop {
        let sighting = look(service).await;
        match &sighting {
            Sighting::Version(version) if expected.is_none_or(|expected| expected == version) => {
                in_a_row += 1;
                if in_a_row == IN_A_ROW {
                    return Ok(version.clone());
                }
            }
            _ => in_a_row = 0,
        }
        if in_a_row == 0 && start.elapsed() >= limit {
            return Err(sighting.found(expected));
        }
        if in_a_row == 0 {
            progress.say(&format!("{}; waiting up to {} s", sighting.words(expected), limit.as_secs()));
        }
        sleep(if in_a_row > 0 { PAUSE_IN_A_ROW } else { PAUSE }).await;
    }
}

async fn look(service: &Service) -> Sighting {
    // A gateway publishes no probes. Of what it does publish, this needs no dependency.
    let path: &[&str] =
        if service.is_behind_gateway() { &["public", "room", NOBODYS_ROOM] } else { &["health", "live"] };
    match service.send(service.look(path)).await {
        Ok(answer) => match answer.version() {
            Some(version) if answer.status == 200 || service.is_behind_gateway() => {
                Sighting::Version(version.to_owned())
            }
            _ => Sighting::Other(answer.said()),
        },
        Err(failure) => Sighting::Failed(failure),
    }
}

impl Sighting {
    fn words(&self, expected: Option<&str>) -> String {
        match (self, expected) {
            (Self::Version(version), Some(expected)) => format!("version {version} answers instead of {expected}"),
            (Self::Version(version), None) => format!("version {version} answers"),
            (Self::Other(said), _) => format!("the answer is {said}"),
            (Self::Failed(unanswered), _) => unanswered.to_string(),
        }
    }

    fn found(self, expected: Option<&str>) -> Finding {
        match self {
            Self::Failed(unanswered) => unanswered.into(),
            Self::Version(_) | Self::Other(_) => Finding::ours(self.words(expected)),
        }
    }
}

/// Waits, at most `limit`, until the service says that all it needs is there.
pub(super) async fn readiness(service: &Service, limit: Duration, progress: &ProgressBar) -> Result<(), Finding> {
    let limit = limit.min(LONGEST_WAIT_FOR_READINESS);
    let start = Instant::now();
    loop {
        let readiness = service.readiness().await;
        let overdue = start.elapsed() >= limit;
        match readiness {
            Err(unanswered) if overdue => return Err(unanswered.into()),
            Err(unanswered) => progress.say(&format!("{unanswered}; waiting")),
            Ok(Readiness::Ready) => return Ok(()),
            Ok(Readiness::Unknown(_)) if service.is_behind_gateway() => {
                return Err(Finding::not_checked("/health/ready is not published"));
            }
            Ok(Readiness::Failing(failing)) if overdue => {
                return Err(Finding::dependency(failing[0], format!("not ready: {}", names(&failing))));
            }
            Ok(Readiness::Unknown(status)) if overdue => {
                return Err(Finding::ours(format!("/health/ready answered {status}")));
            }
            Ok(Readiness::Failing(failing)) => progress.say(&format!("not ready: {}; waiting", names(&failing))),
            Ok(Readiness::Unknown(_)) => progress.say("/health/ready gives no readiness; waiting"),
        }
        sleep(PAUSE).await;
    }
}

fn names(dependencies: &[Dependency]) -> String {
    dependencies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
