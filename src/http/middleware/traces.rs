//! The traced span of a request, in its caller's trace if the request names one.

use axum::http::{HeaderMap, Method, StatusCode};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::http::context::RequestContext;
use crate::telemetry::traces::{TRACEPARENT, TRACES};

/// Other methods are recorded as `_OTHER`, which bounds label cardinality.
const KNOWN_METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

pub(super) fn request_span(method: &Method, route: &str, context: &RequestContext, headers: &HeaderMap) -> Span {
    let method = if KNOWN_METHODS.contains(method) { method.as_str() } else { "_OTHER" };
    let span = info_span!(
        target: TRACES,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        code = Empty,
        request_id = context.request_id(),
        invocation_id = context.invocation_id,
    );
    // Fails if nothing is traced.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&Parent(headers)));
    span
}

pub(super) fn record_answer(span: &Span, status: StatusCode, code: &str) {
    span.record("http.response.status_code", status.as_u16()).record("code", code);
    if status.is_server_error() {
        span.record("otel.status_code", "error");
    }
}

/// Reads `traceparent` from the request's headers. `tracestate` is not read: it may hold anything.
struct Parent<'a>(&'a HeaderMap);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(TRACEPARENT).filter(|_| key == TRACEPARENT)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
