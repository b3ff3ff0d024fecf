//! A panic in a handler is answered with 500, and the process continues.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::problem::{ApiError, Code};

/// The panic's message may hold a secret of the caller, so the answer does not contain it.
pub(super) fn layer() -> CatchPanicLayer<fn(Box<dyn Any + Send>) -> Response> {
    CatchPanicLayer::custom(|_| ApiError::new(Code::Internal).into_response())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::middleware::map_response;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::http::middleware::problems;

    async fn render(mut response: Response) -> Response {
        problems::render(&mut response, "request-1");
        response
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_the_next_request_is_served() {
        let panics = get(async || -> &'static str { panic!("a secret of the caller") });
        let router = Router::new().route("/panics", panics).route("/works", get(async || "fine"));
        let router: Router = router.layer(layer()).layer(map_response(render));
        let request = |path: &str| Request::get(path).body(Body::empty()).expect("a request");

        let answer = router.clone().oneshot(request("/panics")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(answer.into_body(), 1024).await.expect("a body");
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("\"code\":\"internal\"") && !body.contains("secret"), "{body}");

        let answer = router.oneshot(request("/works")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
