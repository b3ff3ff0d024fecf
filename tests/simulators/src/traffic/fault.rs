//! Faults of a simulated system.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, json};

use super::{Exchange, Matching};

/// What happens to a request instead of, before or after its processing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is processed and answered after this time, even if the caller has disconnected.
    Slow(Duration),
    /// No processing and no answer until the faults are healed or the caller disconnects; then it is processed late.
    Stall,
    /// No processing; this status with an empty body.
    Status(u16),
    /// No processing; exactly this answer.
    StatusWith {
        /// Status of the answer.
        status: u16,
        /// Headers of the answer, by name and value.
        headers: Vec<(String, String)>,
        /// Body of the answer.
        body: String,
    },
    /// No processing; 200 with the JSON that this function makes of the query's `offset`.
    Page(MakePage),
    /// No processing; the connection is cut.
    HangUpBefore,
    /// The request is processed, then the connection is cut.
    HangUpAfter,
    /// The request is processed, then this status is answered.
    StatusAfter(u16),
    /// No processing; 200 with a page of HTML.
    Rubbish,
    /// No processing; this status, and the whole request echoed wherever a client might read it: in JSON names and values
    /// of the body, and in headers of errors, addresses and times.
    Echo(u16),
    /// No processing; 302 to this address.
    Redirect(String),
    /// No processing; 200 with this many bytes of JSON white space.
    HugeBody(usize),
}

/// Makes the page of a list that begins at an offset.
#[derive(Clone, Copy, Debug)]
pub struct MakePage(pub fn(usize) -> String);

impl PartialEq for MakePage {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for MakePage {}

/// How often a fault applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// For one request.
    Once,
    /// For this many requests.
    N(usize),
    /// Until the faults are healed.
    Always,
}

#[derive(Debug)]
pub(super) struct Rule {
    matching: Matching,
    /// `None` for always.
    left: Option<usize>,
    fault: Fault,
}

impl Rule {
    pub(super) fn new(matching: Matching, times: Times, fault: Fault) -> Self {
        let left = match times {
            Times::Once => Some(1),
            Times::N(n) => Some(n),
            Times::Always => None,
        };
        Self { matching, left, fault }
    }

    pub(super) fn matches(&self, exchange: &Exchange) -> bool {
        !self.is_spent() && self.matching.matches(exchange)
    }

    pub(super) fn show(&mut self) -> Fault {
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.fault.clone()
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == Some(0)
    }
}

impl Fault {
    /// The answer of a fault that answers at once without processing; `None` for other faults.
    pub(super) fn answer(self) -> Response {
        match self {
            Self::Status(status) => bare(status),
            Self::StatusWith { status, headers, body } => with(status, headers, body),
            Self::Rubbish => (
                [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
                "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>",
            )
                .into_response(),
            Self::Redirect(to) => with(302, vec![("location".to_owned(), to)], String::new()),
            Self::HugeBody(length) => {
                ([(header::CONTENT_TYPE, "application/json")], Body::from(vec![b' '; length])).into_response()
            }
            Self::Slow(_)
            | Self::Stall
            | Self::HangUpBefore
            | Self::HangUpAfter
            | Self::StatusAfter(_)
            | Self::Page(_)
            | Self::Echo(_) => {
                unreachable!("these depend on the request and are shown where it is worked on")
            }
        }
    }
}

/// An answer that echoes the whole request.
pub(super) fn echo(status: u16, request: &Parts, body: &[u8]) -> Response {
    let mut said = format!("{} {}", request.method, request.uri);
    for (name, value) in &request.headers {
        said += &format!(" {name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    said += &format!(" {}", String::from_utf8_lossy(body));
    // Names that a client may consider harmless.
    let words: Map<_, _> = said
        .split(|one: char| !one.is_ascii_alphanumeric())
        .filter(|word| word.len() >= 8)
        .map(|word| (word.to_owned(), json!([said])))
        .collect();
    let longest = words.keys().filter(|word| word.len() <= 64).max_by_key(|word| word.len()).cloned();
    let in_a_header = said.replace(|one: char| !(' '..='~').contains(&one), " ");
    let headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("x-ms-error-code".to_owned(), longest.unwrap_or_default()),
        ("location".to_owned(), in_a_header.clone()),
        ("retry-after".to_owned(), in_a_header.clone()),
        ("www-authenticate".to_owned(), in_a_header),
    ];
    let body = json!({ said.as_str(): said, "meta": said, "objects": said, "id": said, "error": said, "keys": said, "conference": words });
    with(status, headers, body.to_string())
}

/// The page of a list that begins at the `offset` in the query.
pub(super) fn page(MakePage(make): MakePage, request: &Parts) -> Response {
    let query = request.uri.query().unwrap_or_default();
    let offset = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "offset");
    let offset = offset.and_then(|(_, offset)| offset.parse().ok()).unwrap_or(0);
    with(200, vec![("content-type".to_owned(), "application/json".to_owned())], make(offset))
}

/// A status and nothing else.
pub(super) fn bare(status: u16) -> Response {
    StatusCode::from_u16(status).expect("a test injects a status that HTTP knows").into_response()
}

fn with(status: u16, headers: Vec<(String, String)>, body: String) -> Response {
    let mut answer = bare(status);
    for (name, value) in headers {
        answer.headers_mut().append(
            HeaderName::try_from(name).expect("a test injects a valid header name"),
            HeaderValue::try_from(value).expect("a test injects a valid header value"),
        );
    }
    *answer.body_mut() = Body::from(body);
    answer
}
