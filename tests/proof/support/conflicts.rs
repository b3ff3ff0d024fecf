use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use maxconf::telemetry::audit;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The conflicts that instances in this process have counted: each is one audit event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conflicts(Arc<Mutex<Vec<Decision>>>);

#[derive(Debug, Default)]
struct Decision {
    event: String,
    room: String,
    reason: String,
}

impl Conflicts {
    /// From the first call on, of all instances in this process.
    pub(crate) fn watch() -> &'static Self {
        static CONFLICTS: OnceLock<Conflicts> = OnceLock::new();
        CONFLICTS.get_or_init(|| {
            let conflicts = Self::default();
            let of_audit = Targets::new().with_target(audit::TARGET, LevelFilter::INFO);
            tracing_subscriber::registry().with(conflicts.clone().with_filter(of_audit)).init();
            conflicts
        })
    }

    /// The number of conflicts for this reason about one of these rooms: other proofs run beside this one.
    pub(crate) fn count(&self, reason: &str, rooms: &[String]) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|decision| decision.reason == reason && rooms.contains(&decision.room)).count()
    }
}

impl<S: Subscriber> Layer<S> for Conflicts {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut decision = Decision::default();
        event.record(&mut decision);
        if decision.event == audit::Decision::Conflict.as_str() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(decision);
        }
    }
}

impl Visit for Decision {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}");
        self.record_str(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => value.clone_into(&mut self.event),
            "room" => value.clone_into(&mut self.room),
            "reason" => value.clone_into(&mut self.reason),
            _ => {}
        }
    }
}
