//! `maxconf doctor`: examines everything that the service depends on, and reports each check with a remedy. Only reads.

mod entra;
mod finding;
mod genesys;
mod host;
mod locations;
mod pexip;
mod policy;
mod pool;
mod records;
mod report;
mod storage;
mod tls;

use std::fmt::Display;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::timeout;

use crate::cli::output::{Output, Unwritten};
use crate::cli::progress_bar::ProgressBar;
use crate::config::{self, ConfigParts, RoomSource, UnknownVariable};
use crate::domain::Clock;
use crate::exit_code;
use finding::{Finding, Findings, Section, Verdict};
use report::Report;

/// Limit for one call. With DNS, TCP and TLS no section takes longer than 19 s.
const CALL_LIMIT: Duration = Duration::from_secs(4);

/// Calls to Pexip that a citizen costs under load (infra/docs/sizing.md).
const CALLS_OF_A_CITIZEN: u32 = 6;

/// Create and delete.
const REQUESTS_OF_A_CITIZEN: u32 = 2;

/// Limit for counting the pool.
const POOL_LIMIT: Duration = Duration::from_secs(10);

const NO_ANSWER: &str = "no answer in time";
const INVALID_SETTINGS: &str = "not tried: settings that it needs are invalid";

/// Examines all systems concurrently and writes the report to stdout. Returns the exit code.
pub async fn run(
    settings: ConfigParts,
    unknown_variables: &[UnknownVariable],
    clock: Clock,
    output: Output,
) -> Result<u8, Unwritten> {
    let progress = ProgressBar::new();
    progress.set_total(6);
    let (pexip, storage, records, entra, genesys, pool) = tokio::join!(
        section(&progress, "pexip", &pexip::CHECKS, settings.pexip.as_ref().ok(), async |config, findings| {
            Box::pin(pexip::examine(config, &settings, &clock, findings)).await
        }),
        section(&progress, "storage", &storage::CHECKS, settings.queue.as_ref().ok(), async |config, findings| {
            storage::examine(config, &settings, &clock, findings).await
        }),
        section(&progress, "records", &records::CHECKS, settings.records.as_ref().ok(), async |config, findings| {
            records::examine(config, &clock, findings).await
        }),
        section(&progress, "entra", &entra::CHECKS, settings.entra.as_ref().ok(), async |config, findings| {
            entra::examine(config, &clock, findings).await
        }),
        section(&progress, "genesys", &genesys::CHECKS, settings.genesys.as_ref().ok(), async |config, findings| {
            genesys::examine(config, &clock, findings).await
        }),
        section(&progress, "pool", &pool::CHECKS, pool::open(&settings, &clock), async |pool, findings| {
            pool::examine(pool, findings).await
        }),
    );
    drop(progress);
    let settings_section = examine_settings(&settings, unknown_variables);
    let report = Report::new(vec![settings_section, pexip, storage, records, entra, genesys, pool]);
    output.write(&report.text(), &report.json())?;
    Ok(match report.count(Verdict::NotFine) {
        _ if !settings.faults.is_empty() => exit_code::INVALID_SETTINGS,
        0 => exit_code::DONE,
        _ => exit_code::FAILED,
    })
}

/// Examines one system. `examine` stops at the first check without which the later ones are pointless, and returns it.
async fn section<C>(
    progress: &ProgressBar,
    system: &'static str,
    checks: &[&'static str],
    config: Option<C>,
    examine: impl AsyncFnOnce(C, &mut Findings) -> Result<(), Finding>,
) -> Section {
    let mut findings = Findings::new();
    let reason = match config {
        None => INVALID_SETTINGS.to_owned(),
        // Boxed: the clients' futures are large.
        Some(config) => match Box::pin(examine(config, &mut findings)).await {
            Ok(()) => String::new(),
            Err(last) => {
                let reason = format!("not tried: {} did not pass", last.check);
                findings.push(last);
                reason
            }
        },
    };
    progress.increment();
    Section::complete(system, checks, findings, &reason)
}

fn examine_settings(settings: &ConfigParts, unknown_variables: &[UnknownVariable]) -> Section {
    let fault = |fault: &config::FaultySetting| {
        Finding::not_fine(fault.setting, fault.reason.clone(), "correct it; maxconf --help explains every setting")
    };
    let mut findings: Vec<_> = settings.faults.iter().map(fault).collect();
    if findings.is_empty() {
        findings.push(Finding::fine("all", "complete and valid"));
    }
    // An instant room costs no call to Pexip before its end.
    let has_pool = settings.pool.as_ref().is_ok_and(|pool| pool.source == RoomSource::Pool);
    if let (true, Ok(server), Ok(pexip)) = (has_pool, &settings.server, &settings.pexip) {
        findings.push(check_rate_limit(server.rate_limit_per_minute, pexip.requests_per_minute));
    }
    let unknown = |variable: &UnknownVariable| {
        Finding::warning("unknown", variable.to_string(), "correct its name, or remove it")
    };
    findings.extend(unknown_variables.iter().map(unknown));
    Section { system: "settings", findings }
}

/// IDIM is one client: its limit should not stop it before the calls to Pexip are used up.
fn check_rate_limit(limit: Option<NonZeroU32>, calls_to_pexip: u32) -> Finding {
    let check = "rate_limit";
    let Some(limit) = limit else { return Finding::fine(check, "requests of one client are not limited") };
    let needed = calls_to_pexip / CALLS_OF_A_CITIZEN * REQUESTS_OF_A_CITIZEN;
    let says = format!("one client may make {limit} requests a minute; Pexip's calls suffice for {needed}");
    if limit.get() < needed {
        return Finding::warning(check, says, format!("set RATE_LIMIT_PER_MINUTE to at least {needed}, or to 0"));
    }
    Finding::fine(check, says)
}

/// `None` if `future` takes longer than `limit`.
async fn in_time<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    timeout(limit, Box::pin(future)).await.ok()
}

/// Makes one call. Its error, or its silence, is a finding of `check`.
async fn call<T, E: Display>(
    check: &'static str,
    call: impl Future<Output = Result<T, E>>,
    remedy: impl FnOnce(&E) -> &'static str,
    remedy_of_silence: &'static str,
) -> Result<T, Finding> {
    match in_time(CALL_LIMIT, call).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(Finding::not_fine(check, error.to_string(), remedy(&error))),
        None => Err(Finding::not_fine(check, NO_ANSWER, remedy_of_silence)),
    }
}

/// A client whose settings are valid, but that cannot be created on this machine.
fn no_client<E: Display>(check: &'static str) -> impl FnOnce(E) -> Finding {
    move |error| Finding::could_not_tell(check, error.to_string())
}
