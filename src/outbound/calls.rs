//! What is seen of each call to an outside system, the same for all of them: a span, a count, a time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use opentelemetry::trace::TraceContextExt;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use crate::telemetry::TRACES;
use crate::telemetry::metrics::{CREATE_DURATION, UPSTREAM_CALLS, UPSTREAM_DURATION};

/// Where W3C Trace Context has its place.
pub const TRACEPARENT: &str = "traceparent";

/// Whom we call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Pexip,
    Queue,
    Entra,
    Genesys,
}

impl System {
    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pexip => "pexip",
            Self::Queue => "queue",
            Self::Entra => "entra",
            Self::Genesys => "genesys",
        }
    }
}

/// What a failed call says of the system, in one of the words of `maxconf.upstream.calls`.
pub trait Outcome {
    /// `ok` where the system did its part, and what it says is no.
    fn outcome(&self) -> &'static str;
}

/// Makes one call: `work` from the first byte sent to the last one read. `call` names it.
pub async fn upstream<T, E: Outcome>(
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
    let mut under_way = UnderWay { system, span, started: Instant::now(), outcome: "given_up" };
    // Boxed: a call is large, and would be part of whatever makes it several times over.
    let result = Box::pin(work).instrument(under_way.span.clone()).await;
    under_way.outcome = result.as_ref().err().map_or("ok", Outcome::outcome);
    result
}

/// A call; told when it is dropped, so also where nobody waits for its end.
struct UnderWay {
    system: System,
    span: Span,
    started: Instant,
    outcome: &'static str,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.span.record("outcome", self.outcome);
        if self.outcome != "ok" {
            self.span.record("otel.status_code", "error");
        }
        let system = self.system.as_str().into();
        UPSTREAM_DURATION.record(took, [system]);
        UPSTREAM_CALLS.count([self.system.as_str().into(), self.outcome.into()]);
        let _outside_of_a_create = SPENT.try_with(|spent| match self.system {
            System::Queue => spent.queue.set(spent.queue.get() + took),
            System::Pexip => spent.pexip.set(spent.pexip.get() + took),
            System::Entra | System::Genesys => {}
        });
    }
}

/// The current call as W3C Trace Context writes it; `None` where it is not traced.
pub fn traceparent() -> Option<HeaderValue> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
    span.is_valid().then(|| HeaderValue::from_str(&format!("00-{trace}-{id}-{flags:02x}")).ok())?
}

/// Time that a create has spent on calls.
#[derive(Default)]
struct Spent {
    queue: Cell<Duration>,
    pexip: Cell<Duration>,
}

tokio::task_local! {
    static SPENT: Spent;
}

/// Runs a create, and if it ends well tells what its time went into.
pub async fn create_split<T, E>(create: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let started = Instant::now();
    let (result, queue, pexip) = SPENT
        .scope(Spent::default(), async {
            let result = create.await;
            SPENT.with(|spent| (result, spent.queue.get(), spent.pexip.get()))
        })
        .await;
    if result.is_ok() {
        let own = started.elapsed().saturating_sub(queue + pexip);
        for (part, time) in [("own", own), ("queue", queue), ("pexip", pexip)] {
            CREATE_DURATION.record(time, [part.into()]);
        }
    }
    result
}
