//! What the process says of itself: one JSON line for each event on stdout, and traces and metrics where somebody
//! wants them.
//!
//! On stdout, because the Functions host logs every line on stderr as an error. `infra/logs.md` lists the events.

pub mod audit;
mod destination;
mod export;
mod labels;
pub mod metrics;
mod waiting;

use tracing::level_filters::LevelFilter;
use tracing::{Level, error, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::labels::Labelled;
use crate::config::TelemetryConfig;
use crate::outbound::calls::TRACES;

pub use export::Export;

/// This build's version: Cargo's, and where the commit is known `+` and its first 12 digits.
pub const VERSION: &str = env!("MAXCONF_VERSION");

/// The commit that it was built from, or `unknown`.
pub const COMMIT: &str = env!("MAXCONF_COMMIT");

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Machines: one JSON object a line, which says what was running where.
    Json,
    /// People in front of a terminal.
    Readable,
}

/// Starts logging for the whole process, and traces and metrics where they are wanted; those end with what comes back.
/// Later calls have no effect.
pub fn start(config: &TelemetryConfig, format: Format) -> Option<Export> {
    let export = Export::begin(config);
    let traced = export.as_ref().ok().and_then(Option::as_ref).map(Export::tracer);
    let spans = traced.map(|tracer| {
        // Place and thread of the code say nothing to an operator.
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        layer
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACES, Level::INFO))
    });
    let log_level = told(config.log_level.clone());
    let registry = tracing_subscriber::registry().with(spans);
    // Failing means that a test of the same process has started logging before.
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
    // The standard hook would put the panic's text on stderr; it may hold anything, so only the place is kept.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panic");
    }));
    export.unwrap_or_else(|error| {
        warn!(%error, "no traces and metrics are sent");
        None
    })
}

/// What is set, but for the audit trail, which nobody loses by turning the log down, and what is for traces only.
fn told(set: Targets) -> Targets {
    set.with_target(audit::TARGET, LevelFilter::INFO).with_target(TRACES, LevelFilter::OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_log_level_silences_the_audit_trail_and_none_shows_what_is_for_traces() {
        for set in [
            "off",
            "error",
            "trace",
            "maxconf=off",
            "maxconf::telemetry::audit=off",
            "off,maxconf::telemetry::audit=error",
            "maxconf::traces=trace",
        ] {
            let told = told(set.parse().expect("directives"));
            assert!(told.would_enable(audit::TARGET, &Level::INFO), "{set}");
            assert!(!told.would_enable(TRACES, &Level::ERROR), "{set}");
        }
    }
}
