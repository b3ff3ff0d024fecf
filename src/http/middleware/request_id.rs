//! The request's id, of the client's choice or ours, and the Functions host's id of the invocation.

use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue};
use serde_json::json;
use ulid::Ulid;

use crate::domain::Clock;
use crate::http::openapi::{EXAMPLE_NAME, Header};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");

/// The longest id that is accepted from a client.
const MAX_LENGTH: usize = 64;

/// Which ids are accepted, as the document says it.
pub(crate) const ACCEPTED: &str = "^[A-Za-z0-9_-]{1,64}$";

/// Makes ids of requests: ULIDs. The clock is read once, at the start; from then on their times are monotonic.
#[derive(Debug)]
pub(crate) struct RequestIds {
    started: Instant,
    started_at: Duration,
}

impl RequestIds {
    pub(crate) fn new(clock: &Clock) -> Self {
        let started_at = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_at }
    }

    /// The client's own id if it is safe in a header and a log line, else a new one.
    pub(crate) fn for_request(&self, headers: &HeaderMap) -> String {
        accepted(headers, &REQUEST_ID, b"_-").unwrap_or_else(|| {
            let now = self.started_at + self.started.elapsed();
            let milliseconds = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            Ulid::from_parts(milliseconds, rand::random()).to_string().to_ascii_lowercase()
        })
    }
}

/// The host's id of this invocation. It serves to find the host's log and decides nothing.
pub(crate) fn invocation_id(headers: &HeaderMap) -> Option<String> {
    accepted(headers, &INVOCATION_ID, b"-")
}

/// The header's value if it consists of letters, digits and these characters.
fn accepted(headers: &HeaderMap, name: &HeaderName, others: &[u8]) -> Option<String> {
    let id = headers.get(name)?.to_str().ok()?;
    let is_accepted = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    ((1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_accepted)).then(|| id.to_owned())
}

/// How the document describes it.
pub(crate) fn documented() -> Header {
    let description = "The caller's own, if it can stand in a log, else a new one.";
    let schema = json!({ "type": "string", "pattern": ACCEPTED });
    Header::required(REQUEST_ID.as_str().to_owned(), description, &schema).example(EXAMPLE_NAME)
}

/// Sets the id on the answer.
pub(crate) fn set(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
}
