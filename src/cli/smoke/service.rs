use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, HeaderMap, HeaderName, X_CONTENT_TYPE_OPTIONS};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use url::Url;

use super::check::{Dependency, Fault, Finding};
use crate::outbound::{CallFailure, json};

// Own words for what callers rely on: a mistake in the service's must show.
const SERVICE_VERSION: HeaderName = HeaderName::from_static("maxconf-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const GENESYS_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The longest for what is answered without asking anybody, or out of what is remembered.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

const LARGEST_ANSWER: usize = 64 * 1024;

/// The service remembers its readiness for 5 s: what failed just now shows after that.
const UNTIL_READINESS_IS_NEW: Duration = Duration::from_secs(6);

/// The service under test, as a caller sees it. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    url: Url,
    http: Client,
    gateway: bool,
    /// The longest wait for one answer.
    timeout: Duration,
    /// Starts the id of every request, so that the service's log shows this test's.
    run: String,
    sent: AtomicU32,
    answers: Mutex<Answers>,
}

/// What the answers have in common. Looked at once the version is known.
#[derive(Debug, Default)]
struct Answers {
    version: Option<String>,
    faults: Vec<String>,
}

/// An answer of the service, or of what stands before it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    /// `Null` where it is not JSON. Holds secrets.
    pub(super) body: Value,
}

/// A call without an answer that could be read to its end.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Method and path. No query: it holds `uuiData`.
    call: String,
    pub(super) failure: CallFailure,
}

/// What the service says about one of its dependencies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    Failing(Vec<Dependency>),
    /// Nothing that can be read; behind a gateway the route is not published.
    Unknown(u16),
}

impl Service {
    /// `gateway`: something stands before it that answers some requests itself.
    pub(super) fn new(url: Url, http: Client, gateway: bool, timeout: Duration, run: String) -> Self {
        let (sent, answers) = (AtomicU32::new(0), Mutex::default());
        Self(Arc::new(Shared { url, http, gateway, timeout, run, sent, answers }))
    }

    pub(super) fn is_behind_gateway(&self) -> bool {
        self.0.gateway
    }

    /// A request with an id of its own. The segments may hold anything; they are encoded.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.0.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let number = self.0.sent.fetch_add(1, Ordering::Relaxed);
        let id = format!("smoke-{}-{number}", self.0.run);
        self.0.http.request(method, url).header(REQUEST_ID, id).timeout(self.0.timeout)
    }

    /// A request for what is known without asking anybody.
    pub(super) fn look(&self, path: &[&str]) -> RequestBuilder {
        self.request(Method::GET, path).timeout(LOOK_TIMEOUT.min(self.0.timeout))
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Answer, Unanswered> {
        let nothing_to_send =
            |error: reqwest::Error| Unanswered { call: "a request".to_owned(), failure: error.into() };
        let request = request.build().map_err(nothing_to_send)?;
        let id = request.headers().get(REQUEST_ID).cloned();
        let call = format!("{} {}", request.method(), request.url().path());
        let answer = self.answer(request).await.map_err(|failure| Unanswered { call, failure })?;
        if answer.version().is_some() || !self.0.gateway {
            let mut answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.note(&answer, answer.headers.get(REQUEST_ID) == id.as_ref());
        }
        Ok(answer)
    }

    async fn answer(&self, request: reqwest::Request) -> Result<Answer, CallFailure> {
        let response = self.0.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = match json(response, LARGEST_ANSWER).await {
            Ok(body) => body,
            Err(CallFailure::Unreadable) => Value::Null,
            Err(failure) => return Err(failure),
        };
        Ok(Answer { status, headers, body })
    }

    /// From now on every answer must come from this version.
    pub(super) fn is_version(&self, version: &str) {
        let mut answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers = Answers { version: Some(version.to_owned()), faults: Vec::new() };
    }

    /// Whether all answers since then had what every answer has.
    pub(super) fn answer_headers(&self) -> Result<(), Finding> {
        let answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.faults.is_empty() { Ok(()) } else { Err(Finding::ours(answers.faults.join("; "))) }
    }

    /// What `/health/ready` says.
    pub(super) async fn readiness(&self) -> Result<Readiness, Unanswered> {
        let answer = self.send(self.look(&["health", "ready"])).await?;
        let dependencies = [Dependency::Entra, Dependency::Queue, Dependency::Pexip];
        let is_failing = |dependency: &Dependency| answer.body["checks"][dependency.to_string()] == "failing";
        let failing: Vec<_> = dependencies.into_iter().filter(is_failing).collect();
        Ok(match answer.status {
            200 if answer.body["status"] == "ready" => Readiness::Ready,
            503 if !failing.is_empty() => Readiness::Failing(failing),
            status => Readiness::Unknown(status),
        })
    }

    /// Whose fault an answer is that is not what it should be.
    pub(super) async fn judge(&self, answer: &Answer, expected: &str) -> Finding {
        let detail = format!("answered {} instead of {expected}", answer.said());
        let (blamed, otherwise) = match answer.code() {
            "genesys_unavailable" | "genesys_invalid" => return Finding::dependency(Dependency::Genesys, detail),
            "rate_limited" | "overloaded" => return Finding::unclear(detail),
            "entra_unavailable" => (Some(Dependency::Entra), Fault::Unclear),
            "pexip_unavailable" | "pexip_timeout" | "pexip_invalid" => (Some(Dependency::Pexip), Fault::Unclear),
            // Pexip refuses our account, which fails its check as well, or our request, which does not.
            "pexip_refused" => (Some(Dependency::Pexip), Fault::Ours),
            "no_room" | "deadline_exceeded" => (None, Fault::Ours),
            _ if answer.status == 429 => return Finding::unclear(detail),
            _ => return Finding::ours(detail),
        };
        match self.settled_readiness().await {
            Readiness::Failing(failing) => {
                let dependency = blamed.filter(|blamed| failing.contains(blamed)).unwrap_or(failing[0]);
                Finding::dependency(dependency, format!("{detail}; {dependency} is not ready"))
            }
            Readiness::Ready => Finding::of(otherwise, format!("{detail}, with everything ready")),
            // Not published: then the service's word is all that there is.
            Readiness::Unknown(_) => Finding::of(blamed.map_or(Fault::Unclear, Fault::Dependency), detail),
        }
    }

    /// Whose fault it is that the pool gave no room: without the queue there is none.
    pub(super) async fn judge_empty_pool(&self) -> Finding {
        let detail = "no room came from the pool";
        match self.settled_readiness().await {
            Readiness::Failing(failing) => {
                Finding::dependency(failing[0], format!("{detail}; {} is not ready", failing[0]))
            }
            Readiness::Ready => Finding::ours(format!("{detail}, with everything ready")),
            Readiness::Unknown(_) => Finding::unclear(detail),
        }
    }

    /// The readiness, not older than what has just failed.
    async fn settled_readiness(&self) -> Readiness {
        let first = self.readiness().await.unwrap_or(Readiness::Unknown(0));
        if first != Readiness::Ready {
            return first;
        }
        tokio::time::sleep(UNTIL_READINESS_IS_NEW).await;
        self.readiness().await.unwrap_or(Readiness::Unknown(0))
    }

    /// Whether this is the problem of this status and code. What stands before the service may refuse in its place, in
    /// words of its own.
    pub(super) async fn expect_problem(&self, answer: &Answer, status: u16, code: &str) -> Result<(), Finding> {
        let refused = answer.status == status && answer.code() == code;
        let by_gateway = self.0.gateway && answer.version().is_none() && answer.status == status;
        if refused || by_gateway { Ok(()) } else { Err(self.judge(answer, &format!("{status} {code}")).await) }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the service {}, at {}", self.failure, self.call)
    }
}

/// A service that cannot be reached at all says nothing about the service: before a handler that is dead its host
/// answers. One that is reached and does not answer is at fault.
impl From<Unanswered> for Finding {
    fn from(unanswered: Unanswered) -> Self {
        let fault = match unanswered.failure {
            CallFailure::Unreachable => Fault::Unclear,
            CallFailure::Timeout | CallFailure::ConnectionLost | CallFailure::Unreadable => Fault::Ours,
        };
        Self::of(fault, unanswered.to_string())
    }
}

impl Answer {
    /// The header's value; empty if there is none, or none that can be read.
    pub(super) fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The version that answered; `None` if something else did.
    pub(super) fn version(&self) -> Option<&str> {
        let version = self.headers.get(SERVICE_VERSION)?.to_str().ok()?;
        // It is repeated, and could be anything.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
        ((1..=32).contains(&version.len()) && version.bytes().all(plain)).then_some(version)
    }

    /// A text in its body; empty if there is none.
    pub(super) fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }

    /// The code of a problem; empty for everything else.
    pub(super) fn code(&self) -> &str {
        let code = self.text("code");
        let plain = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if plain { code } else { "" }
    }

    /// Status and code.
    pub(super) fn said(&self) -> String {
        let origin = if self.version().is_some() { "" } else { " without maxconf-version" };
        format!("{} {}", self.status, self.code()).trim_end().to_owned() + origin
    }
}

impl Answers {
    fn note(&mut self, answer: &Answer, same_id: bool) {
        let other_version = match (answer.version(), &self.version) {
            (None, _) => Some("maxconf-version is missing".to_owned()),
            (Some(came), Some(expected)) if came != expected => Some(format!("version {came} answers as well")),
            (Some(_), _) => None,
        };
        let differs =
            |what: &str, as_it_should_be: bool| (!as_it_should_be).then(|| format!("{what} is not as it should be"));
        let faults = [
            other_version,
            differs("x-request-id", same_id),
            differs("cache-control", answer.header(&CACHE_CONTROL) == "no-store"),
            differs("x-content-type-options", answer.header(&X_CONTENT_TYPE_OPTIONS) == "nosniff"),
        ];
        for fault in faults.into_iter().flatten() {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }
}
