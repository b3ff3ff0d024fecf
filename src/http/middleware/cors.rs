//! CORS for the widget's route: exact origins from the settings, no credentials, no `*`.

use std::time::Duration;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method, Response};
use serde_json::{Value, json};
use tower_http::cors::CorsLayer;

use super::request_id::REQUEST_ID;
use crate::auth::GENESYS_TOKEN;
use crate::http::openapi::Header;
use crate::telemetry::traces::TRACEPARENT;

pub(crate) const ALLOWED_METHODS: [Method; 1] = [Method::GET];
/// Application Insights in a widget adds the last three to its requests. They decide nothing.
pub(crate) const ALLOWED_HEADERS: [HeaderName; 5] = [
    GENESYS_TOKEN,
    REQUEST_ID,
    HeaderName::from_static(TRACEPARENT),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("request-id"),
];
pub(crate) const EXPOSED_HEADERS: [HeaderName; 3] = [REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE];
pub(crate) const VARY: [HeaderName; 3] = [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS];
/// How long a browser may reuse the answer to a preflight.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(7200);

/// The headers of every answer but a preflight's, as the document describes them.
pub(crate) fn documented() -> [Header; 3] {
    let exposed = "For an origin on the list: which headers the page may read in addition to the CORS-safelisted ones.";
    [vary(), allow_origin(), Header::optional("Access-Control-Expose-Headers", exposed, &list(&EXPOSED_HEADERS))]
}

/// The headers of the answer to a preflight, as the document describes them.
pub(crate) fn documented_preflight() -> [Header; 6] {
    let methods = "For an origin on the list.";
    let headers = "For an origin on the list: which headers the page may send.";
    let max_age = "For an origin on the list: how long the browser may reuse the answer, in seconds.";
    [
        Header::required("Allow", "The methods of this address.", &json!({ "type": "string" })).example("GET,HEAD"),
        vary(),
        allow_origin(),
        Header::optional("Access-Control-Allow-Methods", methods, &list(&ALLOWED_METHODS)),
        Header::optional("Access-Control-Allow-Headers", headers, &list(&ALLOWED_HEADERS)),
        Header::optional("Access-Control-Max-Age", max_age, &json!({ "type": "integer", "const": MAX_AGE.as_secs() })),
    ]
}

fn vary() -> Header {
    Header::required("Vary", "What the CORS headers depend on.", &json!({ "type": "string" }))
        .example(joined(&VARY, ", "))
}

fn allow_origin() -> Header {
    let description = "The page's origin, if it is on the list of the deployment. For any other origin, and for `null`, \
        there is no CORS header at all.";
    Header::optional("Access-Control-Allow-Origin", description, &json!({ "type": "string" }))
        .example("https://agent.example.org")
}

fn list<T: AsRef<str>>(values: &[T]) -> Value {
    json!({ "type": "string", "const": joined(values, ",") })
}

fn joined<T: AsRef<str>>(values: &[T], separator: &str) -> String {
    values.iter().map(T::as_ref).collect::<Vec<_>>().join(separator)
}

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
