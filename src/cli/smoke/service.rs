//! HTTP client of the service under test. Records what all its answers must have in common.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::check::{Dependency, Failure, Fault};
use crate::outbound::{CallFailure, json, send};

// Spelled here again, not imported: a mistake in the service's constants must fail the test.
const SERVICE_VERSION: HeaderName = HeaderName::from_static("maxconf-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const GENESYS_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");

/// Limit for answers that need no dependency, or come from the service's cache.
const CACHED_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const LARGEST_ANSWER: usize = 64 * 1024;

/// The service under test. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    url: Url,
    http: Client,
    behind_gateway: bool,
    /// Sent with every request.
    subscription_key: Option<SecretString>,
    timeout: Duration,
    /// Start of every request id, by which the service's log shows this test's requests.
    run_id: String,
    requests: AtomicU32,
    answers: Mutex<AnswerRules>,
}

/// Faults of any answer since the version is known.
#[derive(Debug, Default)]
struct AnswerRules {
    version: Option<String>,
    faults: Vec<String>,
}

/// An answer of the service, or of a host or gateway in front of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    /// `Null` if it is not JSON. Holds secrets.
    pub(super) body: Value,
}

/// A call without a complete answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Method and path, without the query, which holds `uuiData`.
    call: String,
    pub(super) failure: CallFailure,
}

/// What `/health/ready` reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    Failing(Vec<Dependency>),
    /// Any other answer, by its status. A gateway need not publish the route.
    Unknown(u16),
}

impl Service {
    pub(super) fn new(
        url: Url,
        http: Client,
        behind_gateway: bool,
        subscription_key: Option<SecretString>,
        timeout: Duration,
    ) -> Self {
        let run_id = format!("{:016x}", rand::random::<u64>());
        let (requests, answers) = (AtomicU32::new(0), Mutex::default());
        Self(Arc::new(Shared { url, http, behind_gateway, subscription_key, timeout, run_id, requests, answers }))
    }

    pub(super) fn is_behind_gateway(&self) -> bool {
        self.0.behind_gateway
    }

    /// A request with an id of its own. Path segments are encoded.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.0.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("smoke-{}-{number}", self.0.run_id);
        let request = self.0.http.request(method, url).header(REQUEST_ID, id).timeout(self.0.timeout);
        match &self.0.subscription_key {
            Some(key) => request.header(SUBSCRIPTION_KEY, secret_header(key.expose_secret())),
            None => request,
        }
    }

    /// A GET that the service answers without calling a dependency.
    pub(super) fn cached_get(&self, path: &[&str]) -> RequestBuilder {
        self.request(Method::GET, path).timeout(CACHED_ANSWER_TIMEOUT.min(self.0.timeout))
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Answer, Unanswered> {
        let not_built = |error: reqwest::Error| Unanswered { call: "a request".to_owned(), failure: error.into() };
        let request = request.build().map_err(not_built)?;
        let id = request.headers().get(REQUEST_ID).cloned();
        let call = format!("{} {}", request.method(), request.url().path());
        let answer = self.execute(request).await.map_err(|failure| Unanswered { call, failure })?;
        if answer.version().is_some() || !self.0.behind_gateway {
            self.0.answers.lock().examine(&answer, id.as_ref());
        }
        Ok(answer)
    }

    async fn execute(&self, request: reqwest::Request) -> Result<Answer, CallFailure> {
        let response = send(RequestBuilder::from_parts(self.0.http.clone(), request)).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = match json(response, LARGEST_ANSWER).await {
            Ok(body) => body,
            Err(CallFailure::Unreadable) => Value::Null,
            Err(failure) => return Err(failure),
        };
        Ok(Answer { status, headers, body })
    }

    /// Requires this version of every later answer, and forgets the faults of earlier ones.
    pub(super) fn expect_version(&self, version: &str) {
        *self.0.answers.lock() = AnswerRules { version: Some(version.to_owned()), faults: Vec::new() };
    }

    /// Fails if an answer since [`Self::expect_version`] lacked what every answer must have.
    pub(super) fn check_answer_headers(&self) -> Result<(), Failure> {
        let answers = self.0.answers.lock();
        if answers.faults.is_empty() { Ok(()) } else { Err(Failure::service(answers.faults.join("; "))) }
    }

    pub(super) async fn readiness(&self) -> Result<Readiness, Unanswered> {
        let answer = self.send(self.cached_get(&["health", "ready"])).await?;
        let dependencies = [Dependency::Entra, Dependency::Queue, Dependency::Records, Dependency::Pexip];
        let is_failing = |dependency: &Dependency| answer.body["checks"][dependency.to_string()] == "failing";
        let failing: Vec<_> = dependencies.into_iter().filter(is_failing).collect();
        Ok(match answer.status {
            200 if answer.body["status"] == "ready" => Readiness::Ready,
            503 if !failing.is_empty() => Readiness::Failing(failing),
            status => Readiness::Unknown(status),
        })
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: the service {}", self.call, self.failure)
    }
}

/// If no connection can be made, the network or the address may be at fault: the host of a dead service still answers.
impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        let fault = match unanswered.failure {
            CallFailure::Unreachable(_) => Fault::Unclear,
            CallFailure::Timeout | CallFailure::ConnectionLost | CallFailure::Unreadable => Fault::Service,
        };
        Self::new(fault, unanswered.to_string())
    }
}

impl Answer {
    /// The header's value; empty if it is missing or not text.
    pub(super) fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn has_cors_headers(&self) -> bool {
        self.headers.keys().any(|name| name.as_str().starts_with("access-control-"))
    }

    /// The service's version; `None` if a host or gateway has answered.
    pub(super) fn version(&self) -> Option<&str> {
        let version = self.headers.get(SERVICE_VERSION)?.to_str().ok()?;
        // The report repeats it, so it must not be able to hold a secret.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
        ((1..=32).contains(&version.len()) && version.bytes().all(is_plain)).then_some(version)
    }

    /// A text member of the body; empty if it is missing.
    pub(super) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    /// The problem's code; empty if there is none.
    pub(super) fn code(&self) -> &str {
        let code = self.text("code");
        let is_plain = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_plain { code } else { "" }
    }

    /// Status and code, for a report.
    pub(super) fn summary(&self) -> String {
        let origin = if self.version().is_some() { "" } else { " without maxconf-version" };
        format!("{} {}", self.status, self.code()).trim_end().to_owned() + origin
    }
}

impl AnswerRules {
    fn examine(&mut self, answer: &Answer, request_id: Option<&HeaderValue>) {
        let version_fault = match (answer.version(), &self.version) {
            (None, _) => Some("maxconf-version is missing".to_owned()),
            (Some(actual), Some(expected)) if actual != expected => Some(format!("version {actual} answers too")),
            (Some(_), _) => None,
        };
        let wrong = |header: &str, is_right: bool| (!is_right).then(|| format!("{header} is wrong or missing"));
        let faults = [
            version_fault,
            wrong("x-request-id", answer.headers.get(REQUEST_ID) == request_id),
            wrong("cache-control", answer.header(&CACHE_CONTROL) == "no-store"),
            wrong("x-content-type-options", answer.header(&X_CONTENT_TYPE_OPTIONS) == "nosniff"),
        ];
        for fault in faults.into_iter().flatten() {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }
}

/// `request` with a bearer token.
pub(super) fn bearer(request: RequestBuilder, token: &SecretString) -> RequestBuilder {
    request.header(AUTHORIZATION, secret_header(&format!("Bearer {}", token.expose_secret())))
}

/// A header value that `Debug` does not show. Empty if the value cannot be sent; the receiver refuses that.
pub(super) fn secret_header(value: &str) -> HeaderValue {
    let mut header = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}
