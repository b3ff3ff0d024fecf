//! Telemetry of the process: the log, and the export of traces and metrics if a destination is set.
//!
//! The log is one JSON line per event on stdout; the Functions host logs every line on stderr as an error.
//! `infra/logs.md` lists the events.

pub mod audit;
mod destination;
mod dropped_spans;
mod export;
mod labels;
pub mod metrics;
pub mod traces;

use reqwest::ClientBuilder;
use tracing::level_filters::LevelFilter;
use tracing::{Level, error, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::labels::Labelled;
use self::traces::TRACES;
use crate::config::TelemetryConfig;

pub use export::Export;

/// Version of this build: Cargo's, and the first 12 digits of the commit after `+`, if the commit is known.
pub const VERSION: &str = env!("MAXCONF_VERSION");

/// Commit of this build, or `unknown`.
pub const COMMIT: &str = env!("MAXCONF_COMMIT");

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
pub fn start(config: &TelemetryConfig, format: Format, http: impl FnOnce() -> ClientBuilder) -> Option<Export> {
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
    // Fails only if another test in this process has started the log.
    let _ = match format {
        Format::Json => {
            let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
            let json = json.map_event_format(|json| Labelled::new(json, config.environment, &config.slot));
            registry.with(json.with_filter(log_level)).try_init()
        }
        Format::Readable => {
            let readable = tracing_subscriber::fmt::layer().compact().with_target(false);
            registry.with(readable.with_filter(log_level)).try_init()
        }
    };
    // The default hook writes the panic's text, which may hold secrets, to stderr.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(location, "panic");
    }));
    export.unwrap_or_else(|error| {
        warn!(%error, "traces and metrics cannot be exported");
        None
    })
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
