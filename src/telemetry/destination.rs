//! Where traces and metrics go: the way there, and what got lost on it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::http::HeaderMap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;
use tracing::warn;

use crate::outbound::{CallFailure, body};

const LARGEST_ANSWER: usize = 64 * 1024;
const MOST_COMPLAINTS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN;

/// One destination; clones share what is known of it. The threads that collect are no runtime's, so the calls are made
/// on the service's.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    name: &'static str,
    http: reqwest::Client,
    headers: HeaderMap,
    runtime: Handle,
    complaints: Arc<DefaultDirectRateLimiter>,
    spans: Arc<Spans>,
}

/// How many spans there are that it has not taken.
#[derive(Debug, Default)]
struct Spans {
    waiting: AtomicUsize,
    lost: AtomicUsize,
}

/// Why a destination did not take something.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("it {0}")]
    Call(#[from] CallFailure),
    #[error("it answered {0}")]
    Answered(u16),
    #[error("it takes less than there is to tell")]
    TooSlow,
}

impl Destination {
    /// To be called with these `headers`: a library's own may come from the environment.
    pub(super) fn new(name: &'static str, http: &reqwest::Client, headers: HeaderMap) -> Self {
        let complaints = Arc::new(RateLimiter::direct(Quota::per_minute(MOST_COMPLAINTS_PER_MINUTE)));
        let (http, runtime) = (http.clone(), Handle::current());
        Self { name, http, headers, runtime, complaints, spans: Arc::default() }
    }

    /// Whether one more span may wait while fewer than `most` do; if not, it is lost.
    pub(super) fn may_wait(&self, most: usize) -> bool {
        let one_more = |waiting| (waiting < most).then_some(waiting + 1);
        let may = self.spans.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if !may {
            self.spans.lost.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// So many spans wait no more: they were taken, or are lost.
    pub(super) fn left(&self, spans: usize, taken: bool) {
        self.spans.waiting.fetch_sub(spans, Ordering::Relaxed);
        if !taken {
            self.spans.lost.fetch_add(spans, Ordering::Relaxed);
        }
    }

    /// Spans that were lost so far.
    pub(super) fn lost(&self) -> usize {
        self.spans.lost.load(Ordering::Relaxed)
    }

    pub(super) fn complain(&self, cause: &NotTaken) {
        if self.complaints.check().is_ok() {
            let (destination, lost) = (self.name, self.lost());
            warn!(destination, error = %cause, lost, "traces or metrics could not be sent and may be lost");
        }
    }

    /// To be called when nothing is sent any more; says how much was lost, if anything was.
    pub(super) fn settle(&self) {
        let lost = self.lost() + self.spans.waiting.load(Ordering::Relaxed);
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
            let response = http.execute(request).await?;
            let status = response.status();
            Ok::<_, CallFailure>((status, body(response, LARGEST_ANSWER).await?))
        });
        let (status, body) = call.await?.map_err(|failure| {
            let cause = NotTaken::Call(failure);
            self.complain(&cause);
            cause
        })?;
        if !status.is_success() {
            self.complain(&NotTaken::Answered(status.as_u16()));
        }
        Ok(Response::builder().status(status).body(body.into())?)
    }
}
