//! Observation of each call to another system: a span, a count, a duration.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use crate::domain::named_enum;
use crate::telemetry::metrics::{CREATE_DURATION, UPSTREAM_CALLS, UPSTREAM_DURATION};
use crate::telemetry::traces::TRACES;

named_enum! {
    /// The systems that this service calls. Label `system` of the metrics.
    pub(crate) enum System {
        Pexip = "pexip",
        Queue = "queue",
        Records = "records",
        Entra = "entra",
        Genesys = "genesys",
    }
}

/// An error that maps to a value of label `outcome` of `maxconf.upstream.calls`.
pub(crate) trait Outcome {
    /// `ok` if the system worked and its answer is no, such as 404.
    fn outcome(&self) -> &'static str;
}

/// Observes one call: `work` from the first byte sent to the last byte read. `call` is its name in traces.
pub(crate) async fn observed<T, E: Outcome>(
    system: System,
    call: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = info_span!(
        target: TRACES,
        "upstream",
        otel.name = format!("{} {call}", system.as_str()),
        otel.kind = "client",
        otel.status_code = Empty,
        system = system.as_str(),
        call,
        outcome = Empty,
    );
    let mut observation = Observation { span, part: PartOfCreate::begin(system), outcome: "given_up" };
    // Boxed: the future of a call is large, and each caller's future would contain it several times.
    let result = Box::pin(work).instrument(observation.span.clone()).await;
    observation.outcome = result.as_ref().err().map_or("ok", Outcome::outcome);
    result
}

/// Waits for a call to `system` that another task makes. For a create it is time of that call.
pub(crate) async fn shared<T>(system: System, result: impl Future<Output = T>) -> T {
    let _part = PartOfCreate::begin(system);
    result.await
}

/// A call in progress. Recorded on drop, so that a cancelled call is recorded as well.
struct Observation {
    span: Span,
    part: PartOfCreate,
    outcome: &'static str,
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.span.record("outcome", self.outcome);
        if self.outcome != "ok" {
            self.span.record("otel.status_code", "error");
        }
        let system = self.part.system.as_str();
        UPSTREAM_DURATION.record(self.part.started.elapsed(), [system.into()]);
        UPSTREAM_CALLS.count([system.into(), self.outcome.into()]);
    }
}

/// A call as a part of a create's time, if it is made for one.
struct PartOfCreate {
    system: System,
    started: Instant,
}

impl PartOfCreate {
    fn begin(system: System) -> Self {
        // An error means that the call is not part of a create.
        let _ = TIME_OF_CREATE.try_with(TimeOfCreate::begin_call);
        Self { system, started: Instant::now() }
    }
}

impl Drop for PartOfCreate {
    fn drop(&mut self) {
        // As in `begin`.
        let _ = TIME_OF_CREATE.try_with(|time| {
            let duration = self.started.elapsed();
            time.end_call();
            match self.system {
                System::Queue => time.queue.set(time.queue.get() + duration),
                System::Records => time.records.set(time.records.get() + duration),
                System::Pexip => time.pexip.set(time.pexip.get() + duration),
                System::Entra | System::Genesys => {}
            }
        });
    }
}

/// Time that a create has spent on calls.
#[derive(Default)]
struct TimeOfCreate {
    queue: Cell<Duration>,
    records: Cell<Duration>,
    pexip: Cell<Duration>,
    /// Calls in progress, and since when there has been one. A claim makes two calls at a time.
    calls: Cell<u32>,
    since: Cell<Option<Instant>>,
    /// Time with a call in progress.
    waited: Cell<Duration>,
}

impl TimeOfCreate {
    fn begin_call(&self) {
        if self.calls.replace(self.calls.get() + 1) == 0 {
            self.since.set(Some(Instant::now()));
        }
    }

    fn end_call(&self) {
        self.calls.set(self.calls.get().saturating_sub(1));
        if self.calls.get() == 0
            && let Some(since) = self.since.take()
        {
            self.waited.set(self.waited.get() + since.elapsed());
        }
    }
}

tokio::task_local! {
    /// Task-local, because a create reaches its calls through the clients of queue, records and Pexip, which know
    /// nothing of creates. Calls in tasks that a create spawns are not counted, unless it waits for them by [`shared`].
    static TIME_OF_CREATE: TimeOfCreate;
}

/// Runs a create. If it succeeds, records its duration split into calls by system, and the rest.
pub(crate) async fn timed_create<T, E>(create: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let started = Instant::now();
    let (result, [queue, records, pexip, waited]) = TIME_OF_CREATE
        .scope(TimeOfCreate::default(), async {
            let result = create.await;
            let times =
                TIME_OF_CREATE.with(|time| [&time.queue, &time.records, &time.pexip, &time.waited].map(Cell::get));
            (result, times)
        })
        .await;
    if result.is_ok() {
        let rest = started.elapsed().saturating_sub(waited);
        for (part, time) in [("service", rest), ("queue", queue), ("records", records), ("pexip", pexip)] {
            CREATE_DURATION.record(time, [part.into()]);
        }
    }
    result
}
