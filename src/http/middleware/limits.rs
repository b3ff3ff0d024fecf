//! Bounds a request in body size, time and number.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::config::ServerConfig;
use crate::http::openapi::Audience;
use crate::http::problem::{ApiError, Code};

/// The largest body, in KiB. The routes read none; the timer's has some hundred bytes.
pub(crate) const MAX_BODY_KIB: usize = 16;

/// The problems of all limits, and of a panic.
pub(crate) const PROBLEMS: [Code; 4] = [Code::BodyTooLarge, Code::Overloaded, Code::DeadlineExceeded, Code::Internal];

/// The same where only the body is bounded. The Functions host passes on the body of a GET as well.
pub(crate) const PROBLEMS_OF_BODY: [Code; 4] =
    [Code::RequestInvalid, Code::DeadlineExceeded, Code::BodyTooLarge, Code::Internal];

/// The limits of this instance's requests.
#[derive(Debug)]
pub(crate) struct Limits {
    concurrent: Semaphore,
    of_widget: Semaphore,
    of_look_ups: Semaphore,
    deadline: Duration,
}

impl Limits {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let most = config.max_concurrent_requests;
        let of_widget = Semaphore::new(config.widgets_share());
        let of_look_ups = Semaphore::new(config.look_ups_share());
        Self { concurrent: Semaphore::new(most), of_widget, of_look_ups, deadline: config.request_deadline }
    }

    /// Permit for one look-up of a Conferencing Node, of those that may run at a time.
    pub(crate) fn share_of_look_ups(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        permit(&self.of_look_ups)
    }

    async fn within_deadline<T>(&self, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        timeout(self.deadline, work).await.unwrap_or(Err(ApiError::new(Code::DeadlineExceeded)))
    }

    /// Runs a request within the limits of its audience. Work that must not be cancelled by the deadline runs in a task
    /// of its own.
    pub(super) async fn run(&self, audience: Audience, request: Request, next: Next) -> Result<Response, ApiError> {
        match audience {
            // The deadline, then the body, then a concurrency permit, so that a slow body holds no permit.
            Audience::Idim | Audience::Widget => {
                self.within_deadline(async { self.run_admitted(audience, discard_body(request).await?, next).await })
                    .await
            }
            // Without the body: the handler reads it, up to a bound of its own.
            Audience::ConferencingNodes => self.within_deadline(self.run_admitted(audience, request, next)).await,
            // Without deadline and concurrency: a busy instance is not dead, and a maintenance run outlasts a request.
            Audience::Operation => Ok(next.run(self.within_deadline(discard_body(request)).await?).await),
        }
    }

    async fn run_admitted(&self, audience: Audience, request: Request, next: Next) -> Result<Response, ApiError> {
        let _share = if audience == Audience::Widget { Some(permit(&self.of_widget)?) } else { None };
        let _permit = permit(&self.concurrent)?;
        Ok(next.run(request).await)
    }
}

fn permit(requests: &Semaphore) -> Result<SemaphorePermit<'_>, ApiError> {
    requests.try_acquire().map_err(|_| ApiError::new(Code::Overloaded))
}

/// Reads the body and drops it: these routes use none.
async fn discard_body(request: Request) -> Result<Request, ApiError> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    read_body(body, MAX_BODY_KIB * 1024).await?;
    Ok(Request::from_parts(parts, Body::empty()))
}

/// The body, if it has at most `max` bytes.
pub(crate) async fn read_body(body: Body, max: usize) -> Result<Bytes, ApiError> {
    // A client that announces too much may wait for the refusal before it sends a byte (`Expect: 100-continue`). What
    // others send meanwhile is dropped by the connection.
    if body.size_hint().lower() > max as u64 {
        return Err(ApiError::new(Code::BodyTooLarge));
    }
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(Code::BodyTooLarge)),
        // Malformed chunks, or the client has disconnected.
        Err(_) => Err(ApiError::new(Code::RequestInvalid)),
    }
}
