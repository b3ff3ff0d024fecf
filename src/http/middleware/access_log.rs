//! One log line per request, with its metrics. The line has the route's template, not the path or the query, which
//! holds `uuiData`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use tracing::{Span, info, info_span};

use super::traces;
use crate::http::context::RequestContext;
use crate::http::problem::ApiError;
use crate::telemetry::metrics::{HTTP_DURATION, HTTP_REQUESTS, LabelValue};

/// What proxies log as the status of a request whose client disconnected before the answer.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => panic!("499 is a status"),
};

/// The line of one request. Written on drop, so also when the client disconnects before the answer.
pub(super) struct AccessLog {
    started: Instant,
    method: Method,
    route: Option<MatchedPath>,
    context: RequestContext,
    trace: Span,
    answer: Option<Answer>,
}

struct Answer {
    status: StatusCode,
    problem: Option<Arc<ApiError>>,
}

impl AccessLog {
    pub(super) fn start(request: &Request, context: RequestContext) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let mut log = Self {
            started: Instant::now(),
            method: request.method().clone(),
            route,
            context,
            trace: Span::none(),
            answer: None,
        };
        if !log.is_host_probe() {
            log.trace = traces::request_span(&log.method, log.template(), &log.context, request.headers());
        }
        log
    }

    /// The traced span, and the one whose fields are on the log lines of this request.
    pub(super) fn spans(&self) -> (Span, Span) {
        let span = info_span!("request", request_id = self.context.request_id(), route = self.template());
        (self.trace.clone(), span)
    }

    pub(super) fn answered(&mut self, status: StatusCode, problem: Option<Arc<ApiError>>) {
        self.answer = Some(Answer { status, problem });
    }

    pub(super) fn route_is_known(&self) -> bool {
        self.route.is_some()
    }

    fn template(&self) -> &str {
        self.route.as_ref().map_or("-", MatchedPath::as_str)
    }

    /// The Functions host requests `GET /` every 25 ms while it starts. These requests are not logged.
    fn is_host_probe(&self) -> bool {
        self.template() == "/" && self.method == Method::GET
    }

    fn measure(&self, status: StatusCode) {
        let route = || LabelValue::route(self.template());
        HTTP_REQUESTS.count([route(), status.into()]);
        HTTP_DURATION.record(self.started.elapsed(), [route(), status.into()]);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if self.is_host_probe() {
            return;
        }
        let answer = self.answer.as_ref();
        let problem = answer.and_then(|answer| answer.problem.as_deref());
        let code = match (answer, problem) {
            (None, _) => "caller_gone",
            (Some(_), Some(problem)) => problem.code().as_str(),
            (Some(_), None) => "ok",
        };
        let status = answer.map(|answer| answer.status);
        traces::record_answer(&self.trace, status.unwrap_or(CLIENT_CLOSED_REQUEST), code);
        self.measure(status.unwrap_or(CLIENT_CLOSED_REQUEST));
        info!(
            method = %self.method,
            route = self.template(),
            status = status.map(|status| status.as_u16()),
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            request_id = self.context.request_id(),
            invocation_id = self.context.invocation_id,
            caller = answer.and_then(|_| self.context.audit.caller_id()),
            code,
            cause = problem.and_then(ApiError::cause),
            "request"
        );
    }
}
