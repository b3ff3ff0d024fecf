use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maxconf_simulators::EntraSimulator;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use url::Url;

/// The service's default for `ROOM_TAG_URL`.
const TAG_URL: &str = "https://id.gov.bc.ca/idcheck/";

/// Longer than the service's own deadline in every proof.
const PATIENCE: Duration = Duration::from_secs(40);

/// Longer than a maintenance run goes on.
const LONGEST_RUN: Duration = Duration::from_secs(70);

/// One citizen's case: its `uuiData` and its tag are no other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Case(u64);

/// The cases that nobody has asked a room for yet.
#[derive(Debug, Default)]
pub(crate) struct Cases(AtomicU64);

impl Cases {
    pub(crate) fn next(&self) -> Case {
        Case(self.0.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether somebody has asked for it.
    pub(crate) fn include(&self, case: Case) -> bool {
        case.0 < self.0.load(Ordering::Relaxed)
    }
}

impl Case {
    pub(crate) fn path(self) -> String {
        format!("/room/create?uuiData={}", hex::encode(self.text()))
    }

    pub(crate) fn tag(self) -> String {
        format!("{TAG_URL}{}", URL_SAFE_NO_PAD.encode(self.text()))
    }

    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(tag.strip_prefix(TAG_URL)?).ok()?).ok()?;
        text.parse().ok().map(Self)
    }

    fn text(self) -> String {
        format!("{:012}", self.0)
    }
}

/// What a caller got for a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Room {
        name: String,
        from_pool: bool,
    },
    /// A problem in the agreed form.
    Refused {
        status: u16,
        code: String,
    },
    /// The connection broke, the handler has died behind it, or the caller has left.
    NoAnswer,
}

impl Outcome {
    /// Fails if the answer is neither a room nor a typed problem.
    pub(crate) fn read(status: u16, source: &str, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body)
            .unwrap_or_else(|_| panic!("{status} with a body that is no JSON: {}", String::from_utf8_lossy(body)));
        if status == 200 {
            let name = body["name"].as_str().expect("a room has a name").to_owned();
            return Self::Room { name, from_pool: source == "pool" };
        }
        let code = body["code"].as_str().unwrap_or_else(|| panic!("{status} without a code: {body}")).to_owned();
        Self::Refused { status, code }
    }
}

/// IDIM, as it calls over the network.
#[derive(Clone)]
pub(crate) struct Caller {
    http: Client,
    token: String,
    /// A Functions host stands in between. It answers for a handler that has died, with an empty 500.
    through_a_host: bool,
}

impl Caller {
    pub(crate) fn of(entra: &EntraSimulator) -> Self {
        let http = Client::builder().no_proxy().build().expect("a client");
        Self { http, token: long_token(entra), through_a_host: false }
    }

    pub(crate) fn through_a_host(entra: &EntraSimulator) -> Self {
        Self { through_a_host: true, ..Self::of(entra) }
    }

    pub(crate) async fn create(&self, service: &Url, case: Case) -> Outcome {
        self.create_within(PATIENCE, service, case).await
    }

    /// Hangs up after `patience`, wherever the service is by then.
    pub(crate) async fn create_within(&self, patience: Duration, service: &Url, case: Case) -> Outcome {
        let request = self.request(Method::POST, service, &case.path()).timeout(patience);
        let Ok(response) = request.send().await else { return Outcome::NoAnswer };
        let status = response.status().as_u16();
        let source = response.headers().get("room-source").map_or("", |value| value.to_str().unwrap_or_default());
        let source = source.to_owned();
        match response.bytes().await {
            Ok(body) if self.through_a_host && status == 500 && body.is_empty() => Outcome::NoAnswer,
            Ok(body) => Outcome::read(status, &source, &body),
            Err(_) => Outcome::NoAnswer,
        }
    }

    /// `None` if there was no answer.
    pub(crate) async fn delete(&self, service: &Url, name: &str) -> Option<u16> {
        let answer = self.request(Method::DELETE, service, &format!("/room/{name}")).send().await;
        Some(answer.ok()?.status().as_u16())
    }

    /// The Functions host's timer. `None` if there was no answer.
    pub(crate) async fn run_maintenance(&self, service: &Url) -> Option<String> {
        let request = self.request(Method::POST, service, "/function_pool_maintenance");
        let answer = request.timeout(LONGEST_RUN).send().await;
        answer.ok()?.text().await.ok()
    }

    fn request(&self, method: Method, service: &Url, path: &str) -> RequestBuilder {
        let url = service.join(path).expect("a path");
        self.http.request(method, url).bearer_auth(&self.token).timeout(PATIENCE)
    }
}

/// A full run takes longer than an ordinary token lives.
fn long_token(entra: &EntraSimulator) -> String {
    entra.token().expires_in(24 * 3600).build()
}
