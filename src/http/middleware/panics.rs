//! A panic in a handler is answered with 500, and the process continues.

use std::panic::AssertUnwindSafe;

use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::http::problem::{ApiError, Code};

/// The answer of a handler, or to its panic. The panic's message may hold a secret of the caller, so the answer does
/// not contain it; the panic hook logs where it was.
pub(super) async fn answered(answer: impl Future<Output = Response>) -> Response {
    // What the handler held is dropped by the panic, and locks here are never poisoned.
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or_else(|_| ApiError::new(Code::Internal).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::StatusCode;

    use super::*;
    use crate::http::middleware::problems;

    #[tokio::test]
    async fn a_panic_is_answered_without_its_message() {
        let mut answer = answered(async { panic!("a secret of the caller") }).await;
        problems::render(&mut answer, "request-1");

        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(answer.into_body(), 1024).await.expect("a body");
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("\"code\":\"internal\"") && !body.contains("secret"), "{body}");
    }
}
