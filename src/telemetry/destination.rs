//! One destination of traces and metrics: how it is called, and how many spans it lost.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body_util::{BodyExt, Limited};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::header::HeaderMap;
use tokio::runtime::Handle;
use tracing::warn;

const LARGEST_ANSWER: usize = 64 * 1024;
const WARNINGS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN;

/// Cheap to clone; clones share the counters. The exporters' threads belong to no runtime, so calls are spawned on the
/// service's.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    name: &'static str,
    http: reqwest::Client,
    headers: HeaderMap,
    runtime: Handle,
    warnings: Arc<DefaultDirectRateLimiter>,
    spans: Arc<SpanCounts>,
}

#[derive(Debug, Default)]
struct SpanCounts {
    queued: AtomicUsize,
    lost: AtomicUsize,
}

/// Why a destination did not accept something. Holds no address, header or body.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportFailure {
    #[error("cannot be reached")]
    Unreachable,
    #[error("did not answer in time")]
    Timeout,
    #[error("broke the connection")]
    ConnectionLost,
    #[error("gave an answer that cannot be read")]
    Unreadable,
    #[error("answered {0}")]
    Status(u16),
    #[error("accepts spans more slowly than they are recorded")]
    TooSlow,
}

impl From<reqwest::Error> for ExportFailure {
    fn from(error: reqwest::Error) -> Self {
        match error {
            _ if error.is_connect() => Self::Unreachable,
            _ if error.is_timeout() => Self::Timeout,
            _ => Self::ConnectionLost,
        }
    }
}

impl Destination {
    /// `headers` replace the library's own, which may come from the environment.
    pub(super) fn new(name: &'static str, http: &reqwest::Client, headers: HeaderMap) -> Self {
        let warnings = Arc::new(RateLimiter::direct(Quota::per_minute(WARNINGS_PER_MINUTE)));
        let (http, runtime) = (http.clone(), Handle::current());
        Self { name, http, headers, runtime, warnings, spans: Arc::default() }
    }

    /// Counts a span as queued if fewer than `most` are, else as lost. Returns whether it may be queued.
    pub(super) fn admit_span(&self, most: usize) -> bool {
        let one_more = |queued| (queued < most).then_some(queued + 1);
        let admitted = self.spans.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if !admitted {
            self.spans.lost.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Counts spans as no longer queued: sent, or lost.
    pub(super) fn release_spans(&self, spans: usize, sent: bool) {
        self.spans.queued.fetch_sub(spans, Ordering::Relaxed);
        if !sent {
            self.spans.lost.fetch_add(spans, Ordering::Relaxed);
        }
    }

    pub(super) fn lost_spans(&self) -> usize {
        self.spans.lost.load(Ordering::Relaxed)
    }

    /// Logs a failure, at most once a minute.
    pub(super) fn log_failure(&self, failure: &ExportFailure) {
        if self.warnings.check().is_ok() {
            let (destination, lost) = (self.name, self.lost_spans());
            warn!(destination, error = %failure, lost, "traces or metrics could not be sent and may be lost");
        }
    }

    /// Logs how many spans were lost, if any. Must be called after the last export.
    pub(super) fn log_losses(&self) {
        let lost = self.lost_spans() + self.spans.queued.load(Ordering::Relaxed);
        if lost > 0 {
            warn!(destination = self.name, lost, "traces were lost");
        }
    }
}

#[async_trait]
impl HttpClient for Destination {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, mut request) = (self.http.clone(), reqwest::Request::try_from(request)?);
        self.headers.clone_into(request.headers_mut());
        let call = self.runtime.spawn(async move {
            #[expect(clippy::disallowed_methods, reason = "the exporter's own calls, which must not be observed")]
            let response = http.execute(request).await?;
            let status = response.status();
            let body = Limited::new(reqwest::Body::from(response), LARGEST_ANSWER).collect().await;
            let failure = |error: HttpError| match error.downcast::<reqwest::Error>() {
                Ok(error) => ExportFailure::from(*error),
                Err(_too_long) => ExportFailure::Unreadable,
            };
            body.map(|body| (status, body.to_bytes())).map_err(failure)
        });
        let (status, body) = call.await?.inspect_err(|failure| self.log_failure(failure))?;
        if !status.is_success() {
            self.log_failure(&ExportFailure::Status(status.as_u16()));
        }
        Ok(Response::builder().status(status).body(body)?)
    }
}
