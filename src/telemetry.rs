//! Telemetry of the process: the log, and the export of traces and metrics if a destination is set.
//!
//! The log is one JSON line per event on stdout; the Functions host logs every line on stderr as an error.
//! `infra/logs.md` lists the events.
//!
//! A thread of its own writes the log, so that no request waits for the reader of stdout, and several lines take one
//! write. SIGKILL loses the lines that are not written yet, a few milliseconds' worth, and may cut the last one short.

pub mod audit;
mod destination;
mod dropped_spans;
mod export;
mod log_line;
pub mod metrics;
pub mod traces;

use std::io::{BufWriter, stdout};

use reqwest::ClientBuilder;
use tracing::level_filters::LevelFilter;
use tracing::{Level, error, warn};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::log_line::LogLine;
use self::traces::TRACES;
use crate::config::TelemetryConfig;

pub use export::Export;

/// Version of this build: Cargo's, and the first 12 digits of the commit after `+`, if the commit is known.
pub const VERSION: &str = env!("MAXCONF_VERSION");

/// Commit of this build, or `unknown`.
pub const COMMIT: &str = env!("MAXCONF_COMMIT");

/// Lines that may wait to be written. Beyond them a line waits for its turn, since none may be lost: audit events are
/// among them.
const MAX_LINES_IN_QUEUE: usize = 16 * 1024;

/// Writes the log until it is dropped; then it writes what is left, for a second at most.
#[must_use = "no lines are written after it is dropped"]
#[derive(Debug)]
pub struct LogWriter {
    _worker: WorkerGuard,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, for the service.
    Json,
    /// One compact line per event, for the sandbox's terminal.
    Readable,
}

/// Starts the log of the process, and the export of traces and metrics if the settings name a destination. `http` makes
/// the client for the export. Further calls have no effect.
pub fn start(
    config: &TelemetryConfig,
    format: Format,
    http: impl FnOnce() -> ClientBuilder,
) -> (Option<Export>, LogWriter) {
    let export = Export::start(config, http);
    let tracer = export.as_ref().ok().and_then(Option::as_ref).map(Export::tracer);
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACES, Level::INFO))
    });
    let log_level = with_fixed_levels(config.log_level.clone());
    let registry = tracing_subscriber::registry().with(spans);
    let queue = NonBlockingBuilder::default().lossy(false).buffered_lines_limit(MAX_LINES_IN_QUEUE).thread_name("log");
    let (lines, worker) = queue.finish(BufWriter::new(stdout()));
    // Fails only if another test in this process has started the log.
    let _ = match format {
        Format::Json => {
            let line = LogLine::new(config.environment, &config.slot);
            let json = tracing_subscriber::fmt::layer().with_writer(lines);
            let json = json.fmt_fields(JsonFields::new()).event_format(line);
            registry.with(json.with_filter(log_level)).try_init()
        }
        Format::Readable => {
            let readable = tracing_subscriber::fmt::layer().with_writer(lines).compact().with_target(false);
            registry.with(readable.with_filter(log_level)).try_init()
        }
    };
    // The default hook writes the panic's text, which may hold secrets, to stderr.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(location, "panic");
    }));
    let export = export.unwrap_or_else(|error| {
        warn!(%error, "traces and metrics cannot be exported");
        None
    });
    (export, LogWriter { _worker: worker })
}

/// The levels of the settings, except that the audit trail is always on and traces never go to the log.
fn with_fixed_levels(configured: Targets) -> Targets {
    configured.with_target(audit::TARGET, LevelFilter::INFO).with_target(TRACES, LevelFilter::OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_log_level_silences_the_audit_trail_or_shows_traces() {
        for configured in [
            "off",
            "error",
            "trace",
            "maxconf=off",
            "maxconf::audit=off",
            "off,maxconf::audit=error",
            "maxconf::traces=trace",
        ] {
            let levels = with_fixed_levels(configured.parse().expect("directives"));
            assert!(levels.would_enable(audit::TARGET, &Level::INFO), "{configured}");
            assert!(!levels.would_enable(TRACES, &Level::ERROR), "{configured}");
        }
    }
}
