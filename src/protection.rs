//! What holds for every request, whoever sends it: bounds on body, time and number, no panic that ends the process,
//! and the widget's CORS headers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;

use crate::api_error::{ApiError, Code};
use crate::app::AppState;
use crate::config::ServerConfig;

/// The routes take no body; the timer's has some hundred bytes.
const LARGEST_BODY: usize = 16 * 1024;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the bounds of an API request around all routes of `router`.
pub fn bound(router: Router<AppState>, config: &ServerConfig) -> Router<AppState> {
    let bounds =
        Bounds { places: Arc::new(Semaphore::new(config.max_concurrent_requests)), deadline: config.request_deadline };
    contain(router.layer(from_fn_with_state(bounds, within_bounds)))
}

/// Puts around all routes of `router` what even the timer's, which has a time limit of its own, must keep to: a bound
/// on the body, and no panic that ends the process.
pub fn contain(router: Router<AppState>) -> Router<AppState> {
    let answer_panic = CatchPanicLayer::custom(|_| ApiError::new(Code::Internal).into_response());
    router.layer(from_fn(without_body)).layer(answer_panic)
}

#[derive(Clone)]
struct Bounds {
    places: Arc<Semaphore>,
    deadline: Duration,
}

/// Refuses what is too many, ends what takes too long. Work that must not stop half-way runs in a task of its own.
async fn within_bounds(State(bounds): State<Bounds>, request: Request, next: Next) -> Result<Response, ApiError> {
    let _place = bounds.places.try_acquire().map_err(|_| ApiError::new(Code::Overloaded))?;
    let answer = tokio::time::timeout(bounds.deadline, next.run(request)).await;
    answer.map_err(|_| ApiError::new(Code::DeadlineExceeded))
}

/// Reads the body up to its bound and lets it go: no route looks at one, and an unread body would be cut off.
async fn without_body(request: Request, next: Next) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    match axum::body::to_bytes(body, LARGEST_BODY).await {
        Ok(_) => Ok(next.run(Request::from_parts(parts, Body::empty())).await),
        Err(_) => Err(ApiError::new(Code::BodyTooLarge)),
    }
}

/// Puts the widget's CORS headers on every answer of `router`: origins on the list only, exact; no credentials, no
/// `*`. An origin that is not on the list gets none of them.
pub fn allow_widget(router: Router<AppState>, config: &ServerConfig) -> Router<AppState> {
    let origins = config.cors_allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let cors = CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET])
        .allow_headers([AUTH_TOKEN, REQUEST_ID])
        .expose_headers([REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE])
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
