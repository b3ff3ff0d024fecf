//! `maxconf smoke`: whether a service that runs somewhere does what its callers need, asked as they ask it.
//!
//! A client like any other: it knows the address and the API, has credentials of its own and none of the service's
//! settings. What it makes it deletes. The result goes to stdout, everything else to stderr.

mod access;
mod arrival;
mod check;
mod comparison;
mod examination;
mod github_job;
mod refusals;
mod report;
mod rooms;
mod service;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use clap::Args;
use url::Url;

use crate::cli::output::{Output, Unwritten, say};
use crate::cli::progress_bar::ProgressBar;
use crate::config::base_url;
use crate::outbound::client_builder;
use comparison::Earlier;
use examination::Examination;
use report::Report;
use rooms::Rooms;

pub use access::{Access, InvalidAccess};

/// After a stop: how long a create that is under way is waited for, and then the deletes. GitHub sends a second signal
/// after 7.5 s.
const IN_HASTE: Duration = Duration::from_secs(3);

/// What to test, and how to tell the result.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES, after_long_help = long_help())]
pub struct SmokeCommand {
    /// Where the service answers.
    #[arg(long, value_parser = base_url)]
    url: Url,
    /// Wait for this version, and accept answers of no other.
    #[arg(long, value_name = "VERSION")]
    expect_version: Option<String>,
    /// The longest wait for the version.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// The longest wait for one answer; above the service's own deadline, so that it can say what went wrong. The
    /// whole test takes --wait and six times this at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// No room from the pool is a fault of ours: for deployments whose pool has been filled.
    #[arg(long)]
    expect_pool: bool,
    /// The start of every tag; without it any will do.
    #[arg(long, value_name = "URL")]
    tag_url: Option<String>,
    /// A gateway stands before the service: it may refuse in its place, and publishes no probes.
    #[arg(long)]
    behind_gateway: bool,
    #[command(flatten)]
    output: Output,
    /// Write a JUnit report as well.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The JSON of an earlier run: the exit code tells what is new.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes:
  0  healthy; with --compare: no fault of ours is new
  1  we are broken; with --compare: a fault of ours is new
  2  the command or the environment cannot be used, so that nothing was tested, or the result cannot be written
  3  something that the service depends on is down, or refuses it
  4  could not tell
  130, 143  stopped by a signal, after cleaning up; a second signal ends it at once";

fn long_help() -> String {
    let mut help = format!("{EXIT_CODES}\n\nCredentials, from the environment:\n");
    for (name, meaning) in access::VARIABLES {
        help += &format!("  {name}\n      {meaning}\n");
    }
    help
}

/// Why nothing was tested, or not told.
#[derive(Debug, thiserror::Error)]
pub enum SmokeError {
    #[error("{0}")]
    Earlier(String),
    #[error("{file} cannot be written: {source}")]
    Junit { file: String, source: std::io::Error },
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    #[error("an HTTP client could not be made: {0}")]
    HttpClient(#[from] reqwest::Error),
}

/// Tests until all is known or `stop` comes. Returns the exit code: the verdict, or that of `stop`. Another `stop` ends
/// the cleaning up as well.
pub async fn run(command: SmokeCommand, access: Access, stop: impl AsyncFn() -> u8) -> Result<u8, SmokeError> {
    // What is wrong with the files is said before anything is waited for.
    let earlier = command.compare.as_deref().map(|file| Earlier::read(file, &command.url));
    let earlier = earlier.transpose().map_err(SmokeError::Earlier)?;
    write_junit(&command, &[])?;
    let http = client_builder(Duration::from_secs(5)).build()?;
    let rooms = OnceLock::new();
    let started_at = SystemTime::now().into();

    let progress = ProgressBar::begin();
    let mut examination = Examination::new(&command, &access, http, &rooms, &progress);
    let stopped = tokio::select! {
        () = examination.run() => None,
        code = stop() => Some(code),
    };
    let (version, checked) = (examination.version, examination.checked);
    drop(progress);
    if let Some(code) = stopped {
        return Ok(clean_up_in_haste(rooms.get(), code, stop).await);
    }

    let report = Report {
        url: &command.url,
        version,
        expected_version: command.expect_version.as_deref(),
        started_at,
        checked: report::complete(checked),
        earlier: earlier.as_ref(),
    };
    command.output.write(&report.text(), &report.json())?;
    let junit = report.junit().map_err(|source| junit_error(&command, source))?;
    write_junit(&command, &junit)?;
    Ok(report.judgement().exit_code())
}

/// After a stop, which had this exit code.
async fn clean_up_in_haste(rooms: Option<&Rooms>, code: u8, stop: impl AsyncFn() -> u8) -> u8 {
    let (left, code) = match rooms {
        None => (None, code),
        Some(rooms) => tokio::select! {
            _ = rooms.delete_all(IN_HASTE) => (rooms.leftovers(), code),
            code = stop() => (rooms.leftovers(), code),
        },
    };
    let left = left.unwrap_or_else(|| "no room of this test is left behind".to_owned());
    say(format!("stopped; {left}"));
    code
}

fn write_junit(command: &SmokeCommand, report: &[u8]) -> Result<(), SmokeError> {
    let Some(file) = &command.junit else { return Ok(()) };
    std::fs::write(file, report).map_err(|source| junit_error(command, source))
}

fn junit_error(command: &SmokeCommand, source: std::io::Error) -> SmokeError {
    let file = command.junit.as_deref().map(|file| file.display().to_string());
    SmokeError::Junit { file: file.unwrap_or_default(), source }
}
