//! CORS for the widget's route: exact origins from the settings, no credentials, no `*`.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

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

/// The pages that may read the widget's answers. Own code, because tower-http's CORS layer sends most of its headers to
/// all other pages as well.
#[derive(Debug)]
pub(crate) struct Cors {
    allowed_origins: Vec<HeaderValue>,
    allowed_methods: HeaderValue,
    allowed_headers: HeaderValue,
    exposed_headers: HeaderValue,
    max_age: HeaderValue,
    vary: HeaderValue,
}

/// The CORS headers of one answer.
pub(super) struct CorsAnswer<'a> {
    cors: &'a Cors,
    is_preflight: bool,
    /// The page's origin, if it is on the list.
    origin: Option<HeaderValue>,
}

impl Cors {
    pub(crate) fn new(allowed_origins: &[String]) -> Self {
        let value = |text: String| HeaderValue::from_str(&text).expect("names of headers and methods are ASCII");
        Self {
            allowed_origins: allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            allowed_methods: value(joined(&ALLOWED_METHODS, ",")),
            allowed_headers: value(joined(&ALLOWED_HEADERS, ",")),
            exposed_headers: value(joined(&EXPOSED_HEADERS, ",")),
            max_age: MAX_AGE.as_secs().into(),
            vary: value(joined(&VARY, ", ")),
        }
    }

    pub(super) fn answer_to(&self, request: &Request) -> CorsAnswer<'_> {
        let origin = request.headers().get(ORIGIN).filter(|origin| self.allowed_origins.contains(origin)).cloned();
        CorsAnswer { cors: self, is_preflight: request.method() == Method::OPTIONS, origin }
    }
}

impl CorsAnswer<'_> {
    /// Whether the browser only asks what the page may do. Then no handler runs.
    pub(super) fn is_preflight(&self) -> bool {
        self.is_preflight
    }

    pub(super) fn set(self, headers: &mut HeaderMap) {
        let Self { cors, is_preflight, origin } = self;
        // Also without an origin, or a cache could serve one origin's answer to another.
        headers.insert(header::VARY, cors.vary.clone());
        let Some(origin) = origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if is_preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, cors.allowed_methods.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, cors.allowed_headers.clone());
            headers.insert(ACCESS_CONTROL_MAX_AGE, cors.max_age.clone());
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, cors.exposed_headers.clone());
        }
    }
}
