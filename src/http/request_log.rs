//! The outermost layer: every request gets an id, every answer its headers, and the log one line about both.
//!
//! The line holds the route's template and never the address itself: `uuiData` stands in the query.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use ulid::Ulid;

use crate::http::problem::ApiError;
use crate::outbound::calls::{TRACEPARENT, TRACES};
use crate::telemetry::VERSION;
use crate::telemetry::metrics::{HTTP_DURATION, HTTP_REQUESTS, LabelValue};

/// The request's id, of the caller's choice or ours.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
const SERVICE_VERSION: HeaderName = HeaderName::from_static("maxconf-version");

/// Others are told apart by nobody.
const KNOWN_METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// What proxies write in place of a status where nobody waited for one.
const CALLER_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => panic!("499 is a status"),
};

/// Who called, as far as the log may know: a client's or a user's id. Left on the answer by the guards.
#[derive(Clone, Debug)]
pub struct CallerId(pub String);

/// The request's id, left in the request.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Gives the request its id, runs it, completes and logs the answer.
pub async fn log_request(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let mut line = Line::begin(&request, id.clone());
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = info_span!("request", request_id = id, route = line.template());
    let mut response = next.run(request).instrument(line.trace.clone()).instrument(span).await;

    let error = response.extensions_mut().remove::<Arc<ApiError>>();
    if let Some(error) = &error {
        let (mut parts, _) = response.into_parts();
        response = error.body(&id);
        // Who called is in there; the line names it above all where something failed.
        *response.extensions_mut() = parts.extensions;
        // What the failure said in its headers stays; the body's own length and type come from the body.
        for of_the_body in [CONTENT_TYPE, CONTENT_LENGTH] {
            parts.headers.remove(of_the_body);
        }
        response.headers_mut().extend(parts.headers);
    }
    complete(response.headers_mut(), &id);
    line.outcome = Some(Outcome {
        status: response.status(),
        caller: response.extensions().get::<CallerId>().map(|caller| caller.0.clone()),
        error,
    });
    response
}

/// The line in the making; written when it is dropped, so also when the caller hangs up midway.
struct Line {
    started: Instant,
    method: Method,
    route: Option<MatchedPath>,
    request_id: String,
    invocation_id: Option<String>,
    trace: Span,
    outcome: Option<Outcome>,
}

struct Outcome {
    status: StatusCode,
    caller: Option<String>,
    error: Option<Arc<ApiError>>,
}

impl Line {
    fn begin(request: &Request, request_id: String) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let mut line = Self {
            started: Instant::now(),
            method: request.method().clone(),
            invocation_id: invocation_id(request.headers()),
            request_id,
            route,
            trace: Span::none(),
            outcome: None,
        };
        if !line.is_the_hosts_knock() {
            line.trace = line.trace(request.headers());
        }
        line
    }

    fn template(&self) -> &str {
        self.route.as_ref().map_or("-", MatchedPath::as_str)
    }

    /// The Functions host knocks every 25 ms while it starts.
    fn is_the_hosts_knock(&self) -> bool {
        self.template() == "/" && self.method == Method::GET
    }

    /// The request's span, in its caller's trace if there is one.
    fn trace(&self, headers: &HeaderMap) -> Span {
        // A method is any word that the caller likes.
        let method = if KNOWN_METHODS.contains(&self.method) { self.method.as_str() } else { "_OTHER" };
        let span = info_span!(
            target: TRACES,
            "request",
            otel.name = format!("{method} {}", self.template()),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = self.template(),
            http.response.status_code = Empty,
            code = Empty,
            request_id = self.request_id,
            invocation_id = self.invocation_id,
        );
        // Failing means that nothing is traced.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Parent(headers)));
        span
    }

    fn measure(&self, status: Option<StatusCode>, code: &str) {
        let status = status.unwrap_or(CALLER_GONE);
        self.trace.record("http.response.status_code", status.as_u16()).record("code", code);
        if status.is_server_error() {
            self.trace.record("otel.status_code", "error");
        }
        let route = || LabelValue::route(self.template());
        HTTP_REQUESTS.count([route(), status.into()]);
        HTTP_DURATION.record(self.started.elapsed(), [route(), status.into()]);
    }
}

/// Of a caller's headers `traceparent` alone: `tracestate` may hold anything.
struct Parent<'a>(&'a HeaderMap);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(TRACEPARENT).filter(|_| key == TRACEPARENT)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_the_hosts_knock() {
            return;
        }
        let outcome = self.outcome.as_ref();
        let error = outcome.and_then(|outcome| outcome.error.as_deref());
        let code = match (outcome, error) {
            (None, _) => "caller_gone",
            (Some(_), Some(error)) => error.code().as_str(),
            (Some(_), None) => "ok",
        };
        self.measure(outcome.map(|outcome| outcome.status), code);
        info!(
            method = %self.method,
            route = self.template(),
            status = outcome.map(|outcome| outcome.status.as_u16()),
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            request_id = self.request_id,
            invocation_id = self.invocation_id,
            caller = outcome.and_then(|outcome| outcome.caller.as_deref()),
            code,
            cause = error.and_then(ApiError::cause),
            "request"
        );
    }
}

/// The caller's own id if it can stand in a header and a log line, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match given {
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(plain) => id.to_owned(),
        _ => Ulid::from_parts(now_in_milliseconds(), rand::random()).to_string().to_ascii_lowercase(),
    }
}

fn now_in_milliseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The host's id for this invocation: good for finding its log, not for deciding anything.
fn invocation_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(INVOCATION_ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    ((1..=64).contains(&id.len()) && id.bytes().all(plain)).then(|| id.to_owned())
}

/// The headers of every answer. Source of the fixed ones: OWASP REST Security Cheat Sheet, "Security Headers".
fn complete(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (SERVICE_VERSION, VERSION),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Bodies hold PINs.
        (CACHE_CONTROL, "no-store"),
        (STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::http::problem::Code;

    #[tokio::test]
    async fn a_failure_still_knows_who_called() {
        let fails = get(async || (axum::Extension(CallerId("idim".to_owned())), ApiError::new(Code::RoomNotFound)));
        let router: Router = Router::new().route("/fails", fails).layer(from_fn(log_request));
        let request = Request::get("/fails").body(Body::empty()).expect("a request");

        let answer = router.oneshot(request).await.expect("an answer");

        assert_eq!(answer.extensions().get::<CallerId>().map(|caller| caller.0.as_str()), Some("idim"));
    }
}
