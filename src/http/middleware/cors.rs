//! CORS for the widget's route: exact origins from the settings, no credentials, no `*`.

use std::time::Duration;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method, Response};
use tower_http::cors::CorsLayer;

use super::request_id::REQUEST_ID;
use crate::auth::GENESYS_TOKEN;

pub(crate) const ALLOWED_METHODS: [Method; 1] = [Method::GET];
pub(crate) const ALLOWED_HEADERS: [HeaderName; 2] = [GENESYS_TOKEN, REQUEST_ID];
pub(crate) const EXPOSED_HEADERS: [HeaderName; 3] = [REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE];
pub(crate) const VARY: [HeaderName; 3] = [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS];
/// How long a browser may reuse the answer to a preflight.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(7200);

/// Answers preflights, and puts the CORS headers on every other answer.
pub(crate) fn layer(allowed_origins: &[String]) -> CorsLayer {
    let origins = allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods(ALLOWED_METHODS)
        .allow_headers(ALLOWED_HEADERS)
        .expose_headers(EXPOSED_HEADERS)
        .vary(VARY)
        .max_age(MAX_AGE)
}

/// For an origin that is not on the list, tower-http leaves out the origin and still sends the other headers.
pub(crate) async fn remove_for_foreign_origins<B>(mut response: Response<B>) -> Response<B> {
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
