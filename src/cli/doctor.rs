//! What an operator runs first when something is wrong: looks at everything that the service depends on, and says of
//! each whether it is fine and what to do. Only reads.

mod entra;
mod finding;
mod genesys;
mod host;
mod pexip;
mod pool;
mod report;
mod storage;
mod tls;

use std::time::Duration;

use tokio::time::timeout;

use crate::cli::output::{Output, Unwritten};
use crate::cli::progress_bar::ProgressBar;
use crate::config::{self, ConfigParts, UnknownVariable};
use crate::domain::Clock;
use finding::{Finding, Section, Verdict};
use report::Report;

/// The longest that one question to a system may take. With the way to its host, no section takes longer than 15 s.
const CALL: Duration = Duration::from_secs(4);

/// The longest that counting the pool may take.
const POOL: Duration = Duration::from_secs(10);

const NO_ANSWER: &str = "no answer in time";
const SETTINGS_AT_FAULT: &str = "not tried, because of the settings at fault";

/// Examines everything at the same time and writes what it finds to stdout. Returns the exit code.
pub async fn run(
    settings: ConfigParts,
    unknown_variables: &[UnknownVariable],
    clock: Clock,
    output: Output,
) -> Result<u8, Unwritten> {
    let progress = ProgressBar::begin();
    progress.plan(5);
    let (pexip, storage, entra, genesys, pool) = tokio::join!(
        followed(&progress, pexip::examine(&settings, &clock)),
        followed(&progress, storage::examine(&settings, &clock)),
        followed(&progress, entra::examine(&settings, &clock)),
        followed(&progress, genesys::examine(&settings, &clock)),
        followed(&progress, pool::examine(&settings, &clock)),
    );
    drop(progress);
    let report = Report::of(vec![examine_settings(&settings, unknown_variables), pexip, storage, entra, genesys, pool]);
    output.write(&report.text(), &report.json())?;
    Ok(match report.count(Verdict::NotFine) {
        _ if !settings.faults.is_empty() => config::FAULTY,
        0 => 0,
        _ => 1,
    })
}

/// Shows when it is done: whoever is silent keeps the others' findings waiting, too.
async fn followed(progress: &ProgressBar, examination: impl Future<Output = Section>) -> Section {
    let section = examination.await;
    progress.step();
    section
}

fn examine_settings(settings: &ConfigParts, unknown_variables: &[UnknownVariable]) -> Section {
    let fault = |fault: &config::FaultySetting| {
        Finding::not_fine(fault.setting, fault.reason.clone(), "correct it; maxconf --help explains every setting")
    };
    let mut findings: Vec<_> = settings.faults.iter().map(fault).collect();
    if findings.is_empty() {
        findings.push(Finding::fine("all", "complete, and can be used"));
    }
    let unknown = |variable: &UnknownVariable| {
        Finding::warning("unknown", variable.to_string(), "correct its name, or take it away")
    };
    findings.extend(unknown_variables.iter().map(unknown));
    Section { system: "settings", findings }
}

/// What `future` comes to, unless it takes longer than `limit`.
async fn in_time<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    // Boxed, because the clients' futures are large.
    timeout(limit, Box::pin(future)).await.ok()
}
