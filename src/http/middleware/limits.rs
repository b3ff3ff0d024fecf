//! Bounds a request in body size, time and number.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::ServerConfig;
use crate::http::problem::{ApiError, Code};
use crate::http::state::AppState;

/// The largest body, in KiB. The routes read none; the timer's has some hundred bytes.
pub(crate) const MAX_BODY_KIB: usize = 16;

/// The problems of all limits, and of a panic.
pub(crate) const PROBLEMS: [Code; 4] = [Code::BodyTooLarge, Code::Overloaded, Code::DeadlineExceeded, Code::Internal];

/// The problems of [`bound_body`], and of a panic. The Functions host passes on the body of a GET as well.
pub(crate) const PROBLEMS_OF_BODY: [Code; 4] =
    [Code::RequestInvalid, Code::DeadlineExceeded, Code::BodyTooLarge, Code::Internal];

/// The limits of this instance's requests.
#[derive(Debug)]
pub(crate) struct Limits {
    concurrent: Semaphore,
    deadline: Duration,
}

impl Limits {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        Self { concurrent: Semaphore::new(config.max_concurrent_requests), deadline: config.request_deadline }
    }

    async fn within_deadline<T>(&self, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        timeout(self.deadline, work).await.unwrap_or(Err(ApiError::new(Code::DeadlineExceeded)))
    }

    async fn run(&self, request: Request, next: Next) -> Result<Response, ApiError> {
        let _permit = self.concurrent.try_acquire().map_err(|_| ApiError::new(Code::Overloaded))?;
        Ok(next.run(request).await)
    }
}

/// All limits. Work that must not be cancelled by the deadline runs in a task of its own.
pub(crate) async fn bound(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    let limits = &state.limits;
    limits.within_deadline(async { limits.run(discard_body(request).await?, next).await }).await
}

/// All limits but the body's.
pub(crate) async fn bound_all_but_body(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    state.limits.within_deadline(state.limits.run(request, next)).await
}

/// Only the body's size and the time for receiving it.
pub(crate) async fn bound_body(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let request = state.limits.within_deadline(discard_body(request)).await?;
    Ok(next.run(request).await)
}

/// Reads the body and drops it: these routes use none, and hyper closes the connection on an unread one.
async fn discard_body(request: Request) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    read_body(body, MAX_BODY_KIB * 1024).await?;
    Ok(Request::from_parts(parts, Body::empty()))
}

/// The body, if it has at most `max` bytes.
pub(crate) async fn read_body(body: Body, max: usize) -> Result<Bytes, ApiError> {
    // A client that announces too much may wait for the refusal before it sends a byte (`Expect: 100-continue`).
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
