//! The target of traced spans, and W3C Trace Context.

use opentelemetry::trace::TraceContextExt;
use reqwest::header::HeaderValue;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Target of the spans that are traced. No other span is, and the log does not show these.
pub const TRACES: &str = "maxconf::traces";

/// Header of W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

/// The current span as a `traceparent`; `None` if it is not traced.
pub fn traceparent() -> Option<HeaderValue> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
    span.is_valid().then(|| HeaderValue::from_str(&format!("00-{trace}-{id}-{flags:02x}")).ok())?
}
