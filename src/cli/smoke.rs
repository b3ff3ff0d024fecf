//! `maxconf smoke`: tests a deployed service from outside, as its callers use it.
//!
//! It is a client: it knows the service's address and API, and none of its code or settings. It deletes what it
//! creates. A test checks that this module imports nothing of the service.

mod baseline;
mod check;
mod credentials;
mod diagnosis;
mod entra;
mod github_job;
mod junit;
mod policy;
mod refusals;
mod report;
mod room_format;
mod rooms;
mod run;
mod service;
mod test_case;
mod wait;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Map, Value};
use url::Url;

use crate::cli::output::{Output, Unwritten, print_message};
use crate::cli::progress_bar::ProgressBar;
use crate::config::base_url;
use crate::outbound::client_builder;
use baseline::Baseline;
use report::Report;
use rooms::Rooms;
use run::Run;

pub use credentials::{Credentials, InvalidCredentials};

/// Limits the wait for a create under way, and then for the deletes, after a signal. GitHub sends a second signal after
/// 7.5 s.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES, after_long_help = long_help())]
pub struct SmokeCommand {
    /// Base URL of the service.
    #[arg(long, value_parser = base_url)]
    url: Url,
    /// Wait for this version, and fail if any other answers.
    #[arg(long, value_name = "VERSION")]
    expect_version: Option<String>,
    /// Limit of the wait for the version.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// Limit for one answer. Must be longer than the service's request deadline, so that the service can report what
    /// went wrong. The whole test takes at most --wait plus six times this limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Fail if no room comes from the pool. For deployments whose pool has been filled.
    #[arg(long)]
    expect_pool: bool,
    /// Fail unless every tag starts with this URL. With --tag-host, {host} in it stands for that host.
    #[arg(long, value_name = "URL")]
    tag_url: Option<String>,
    /// Send this host with each case, for deployments whose cases are a host and an id. It must be one of the hosts
    /// that the deployment lists.
    #[arg(long, value_name = "HOST")]
    tag_host: Option<String>,
    /// Fail unless a room has these values in the conference object that GET /room/{name} returns. For deployments with
    /// room properties of their own; the test's Entra client needs the read role.
    #[arg(long, value_name = "JSON", value_parser = room_format::parse_properties)]
    room_properties: Option<Map<String, Value>>,
    /// The address is a gateway's, which may refuse requests itself and need not publish the health routes.
    #[arg(long)]
    behind_gateway: bool,
    #[command(flatten)]
    output: Output,
    /// Also write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Compare with an earlier result of --json: only new faults of the service count for exit code 1.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes:
  0  the service is healthy; with --compare: it has no new fault
  1  the service is broken; with --compare: it has a new fault
  2  nothing was tested because the arguments or the environment are invalid, or the result could not be written
  3  a dependency is down, or refuses the service
  4  the test could not determine whether the service is healthy
  130, 143  stopped by SIGINT or SIGTERM after deleting the rooms of this test; a second signal stops at once";

fn long_help() -> String {
    let mut help = format!("{EXIT_CODES}\n\nCredentials, from environment variables:\n");
    for (name, meaning) in credentials::VARIABLES {
        help += &format!("  {name}\n      {meaning}\n");
    }
    help
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SmokeError {
    #[error("{0}")]
    Baseline(String),
    #[error("{file} cannot be written: {source}")]
    Junit { file: String, source: std::io::Error },
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    #[error("the HTTP client cannot be created: {0}")]
    HttpClient(#[from] reqwest::Error),
}

/// Runs the test until it has a result or `stop` resolves, and then deletes its rooms. Returns the exit code: that of
/// the verdict, or that of `stop`. A second `stop` ends the deleting too.
pub async fn run(
    command: SmokeCommand,
    credentials: Credentials,
    stop: impl AsyncFn() -> u8,
) -> Result<u8, SmokeError> {
    // First, so that unusable files are reported before the long wait.
    let baseline = command.compare.as_deref().map(|file| Baseline::read(file, &command.url));
    let baseline = baseline.transpose().map_err(SmokeError::Baseline)?;
    write_junit(command.junit.as_deref(), || Ok(Vec::new()))?;
    let http = client_builder(Duration::from_secs(5)).build()?;
    let rooms = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "a report for people; the test knows nothing of the service's clock")]
    let started_at = SystemTime::now().into();

    let progress = ProgressBar::new();
    let mut run = Run::new(&command, &credentials, http, &rooms, &progress);
    let stopped = tokio::select! {
        () = run.execute() => None,
        code = stop() => Some(code),
    };
    let (version, checked) = (run.version, run.checked);
    drop(progress);
    if let Some(code) = stopped {
        return Ok(clean_up_after_stop(rooms.get(), code, stop).await);
    }

    let report = Report {
        url: &command.url,
        version,
        expected_version: command.expect_version.as_deref(),
        started_at,
        checked: report::complete(checked),
        baseline: baseline.as_ref(),
    };
    command.output.write(&report.text(), &report.json())?;
    write_junit(command.junit.as_deref(), || report.junit())?;
    Ok(report.verdict_of_change().exit_code())
}

/// Returns the exit code of the last signal.
async fn clean_up_after_stop(rooms: Option<&Rooms>, code: u8, stop: impl AsyncFn() -> u8) -> u8 {
    let code = match rooms {
        None => code,
        Some(rooms) => tokio::select! {
            _ = rooms.delete_all(CLEAN_UP_LIMIT) => code,
            code = stop() => code,
        },
    };
    let left = rooms.and_then(Rooms::leftovers);
    let left = left.unwrap_or_else(|| "no room of this test is left behind".to_owned());
    print_message(format!("stopped; {left}"));
    code
}

fn write_junit(file: Option<&Path>, report: impl FnOnce() -> std::io::Result<Vec<u8>>) -> Result<(), SmokeError> {
    let Some(file) = file else { return Ok(()) };
    let written = report().and_then(|report| std::fs::write(file, report));
    written.map_err(|source| SmokeError::Junit { file: file.display().to_string(), source })
}
