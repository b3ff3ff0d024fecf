//! What holds for every request, whoever sends it: bounds on body, time and number, no panic that ends the process,
//! and the widget's CORS headers.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state, map_request_with_state, map_response};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;

use crate::auth::GENESYS_TOKEN;
use crate::config::ServerConfig;
use crate::http::problem::{ApiError, Code};
use crate::http::request_log::REQUEST_ID;

/// The routes take no body; the timer's has some hundred bytes.
const LARGEST_BODY: usize = 16 * 1024;

/// Puts the bounds of an API request around all routes of `router`.
pub fn bound<S: Clone + Send + Sync + 'static>(router: Router<S>, bounds: &Bounds) -> Router<S> {
    router.layer(from_fn_with_state(bounds.clone(), within_bounds)).layer(answer_panics())
}

/// The same for routes that read the body themselves, up to a bound of their own.
pub fn bound_with_body<S: Clone + Send + Sync + 'static>(router: Router<S>, bounds: &Bounds) -> Router<S> {
    router.layer(from_fn_with_state(bounds.clone(), within_bounds_with_body)).layer(answer_panics())
}

/// Puts around all routes of `router` what even the timer's, which has a time limit of its own, must keep to: a bound
/// on the body and on the time for sending it, and no panic that ends the process.
pub fn contain<S: Clone + Send + Sync + 'static>(router: Router<S>, bounds: &Bounds) -> Router<S> {
    router.layer(map_request_with_state(bounds.clone(), without_body_in_time)).layer(answer_panics())
}

/// The bounds of an instance's requests. Clones share the places.
#[derive(Clone, Debug)]
pub struct Bounds {
    places: Arc<Semaphore>,
    deadline: Duration,
}

impl Bounds {
    /// The bounds in the settings.
    pub fn new(config: &ServerConfig) -> Self {
        Self { places: Arc::new(Semaphore::new(config.max_concurrent_requests)), deadline: config.request_deadline }
    }

    async fn run(&self, request: Request, next: Next) -> Result<Response, ApiError> {
        let _place = self.places.try_acquire().map_err(|_| ApiError::new(Code::Overloaded))?;
        Ok(next.run(request).await)
    }

    async fn keep(&self, answer: impl Future<Output = Result<Response, ApiError>>) -> Result<Response, ApiError> {
        tokio::time::timeout(self.deadline, answer).await.unwrap_or(Err(ApiError::new(Code::DeadlineExceeded)))
    }
}

/// Refuses what is too many, ends what takes too long. Work that must not stop half-way runs in a task of its own.
async fn within_bounds(State(bounds): State<Bounds>, request: Request, next: Next) -> Result<Response, ApiError> {
    // The body first: whoever sends it slowly holds no place meanwhile.
    bounds.keep(async { bounds.run(without_body(request).await?, next).await }).await
}

async fn within_bounds_with_body(
    State(bounds): State<Bounds>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    bounds.keep(bounds.run(request, next)).await
}

async fn without_body_in_time(State(bounds): State<Bounds>, request: Request) -> Result<Request, ApiError> {
    let read = tokio::time::timeout(bounds.deadline, without_body(request)).await;
    read.unwrap_or(Err(ApiError::new(Code::DeadlineExceeded)))
}

/// Reads the body up to its bound and lets it go: these routes look at none, and an unread body would be cut off.
async fn without_body(request: Request) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    whole_body(body, LARGEST_BODY).await?;
    Ok(Request::from_parts(parts, Body::empty()))
}

/// The body, if it has at most `bound` bytes.
pub async fn whole_body(body: Body, bound: usize) -> Result<Bytes, ApiError> {
    // A caller who announces too much may be waiting to hear that before it sends a byte (`Expect: 100-continue`).
    if body.size_hint().lower() > bound as u64 {
        return Err(ApiError::new(Code::BodyTooLarge));
    }
    match Limited::new(body, bound).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(Code::BodyTooLarge)),
        // Chunks that are none, or a caller who has left.
        Err(_) => Err(ApiError::new(Code::RequestInvalid)),
    }
}

fn answer_panics() -> CatchPanicLayer<fn(Box<dyn Any + Send>) -> Response> {
    CatchPanicLayer::custom(|_| ApiError::new(Code::Internal).into_response())
}

/// Puts the widget's CORS headers on every answer of `router`: origins on the list only, exact; no credentials, no
/// `*`. An origin that is not on the list gets none of them.
pub fn allow_widget<S: Clone + Send + Sync + 'static>(router: Router<S>, config: &ServerConfig) -> Router<S> {
    let origins = config.cors_allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let cors = CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET])
        .allow_headers([GENESYS_TOKEN, REQUEST_ID])
        .expose_headers([REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE])
        .vary([ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS])
        .max_age(Duration::from_secs(7200));
    router.layer(cors).layer(map_response(without_cors_for_foreign_origins))
}

/// The library leaves out the origin only, and tells a foreign page methods and headers all the same.
async fn without_cors_for_foreign_origins(mut response: Response) -> Response {
    if !response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        for header in [
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
        ] {
            response.headers_mut().remove(header);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::http::request_log::log_request;

    #[tokio::test]
    async fn a_panic_is_answered_and_the_next_request_is_served() {
        let panics = get(async || -> &'static str { panic!("a secret of the caller") });
        let router: Router = Router::new().route("/panics", panics).route("/works", get(async || "fine"));
        let bounds = Bounds { places: Arc::new(Semaphore::new(1)), deadline: Duration::from_secs(1) };
        let router = contain(router, &bounds).layer(from_fn(log_request));
        let request = |path: &str| Request::get(path).body(Body::empty()).expect("a request");

        let answer = router.clone().oneshot(request("/panics")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(answer.into_body(), LARGEST_BODY).await.expect("a body");
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("\"code\":\"internal\"") && !body.contains("secret"), "{body}");

        let answer = router.oneshot(request("/works")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
