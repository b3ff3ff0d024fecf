//! What the process says of itself: one JSON line for each event on stdout.
//!
//! On stdout, because the Functions host logs every line on stderr as an error. `infra/logs.md` lists the events.

mod labels;

use tracing::error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::labels::Labelled;
use crate::config::{Environment, TelemetryConfig};

/// This build's version: Cargo's, and where the commit is known `+` and its first 12 digits.
pub const VERSION: &str = env!("MAXCONF_VERSION");

/// The commit that it was built from, or `unknown`.
pub const COMMIT: &str = env!("MAXCONF_COMMIT");

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format<'a> {
    /// Machines: one JSON object a line, which says what was running where.
    Json { environment: Environment, slot: &'a str },
    /// People in front of a terminal.
    Readable,
}

/// Starts logging for the whole process. Later calls have no effect.
pub fn start(config: &TelemetryConfig, format: Format<'_>) {
    let registry = tracing_subscriber::registry().with(config.log_level.clone());
    // Failing means that a test of the same process has started logging before.
    let _ = match format {
        Format::Json { environment, slot } => {
            let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
            registry.with(json.map_event_format(|json| Labelled::new(json, environment, slot))).try_init()
        }
        Format::Readable => registry.with(tracing_subscriber::fmt::layer().compact().with_target(false)).try_init(),
    };
    // The standard hook would put the panic's text on stderr; it may hold anything, so only the place is kept.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panic");
    }));
}
