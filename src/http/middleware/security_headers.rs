//! The fixed headers of every answer, which the OpenAPI document lists from here.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::http::openapi::{self, Header};
use crate::telemetry::VERSION;

const SERVICE_VERSION: HeaderName = HeaderName::from_static("maxconf-version");

/// Source: OWASP REST Security Cheat Sheet, "Security Headers". Nothing is cached, for bodies hold PINs.
pub(crate) const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];

/// How the document describes them.
pub(crate) fn documented() -> impl Iterator<Item = Header> {
    let version = "The version of the service that answered.";
    let version = Header::required(SERVICE_VERSION.as_str().to_owned(), version, &json!({ "type": "string" }));
    let fixed = SECURITY_HEADERS.iter().map(|(name, value)| Header::fixed(name, value));
    fixed.chain([version.example(openapi::VERSION)])
}

/// Sets them, and the service's version.
pub(crate) fn set(headers: &mut HeaderMap) {
    headers.insert(SERVICE_VERSION, HeaderValue::from_static(VERSION));
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
