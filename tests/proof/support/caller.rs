use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maxconf_simulators::EntraSimulator;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::instance::NODES;

/// The service's default for `ROOM_TAG_URL`.
const TAG_URL: &str = "https://id.gov.bc.ca/idcheck/";

/// Limit of one request: longer than the service's own deadline in every proof, and than a maintenance run.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);

pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a Conferencing Node asks about an instant room.
pub(super) fn look_up_path(name: &str) -> String {
    format!("/policy/v1/service/configuration?call_direction=dial_in&local_alias={name}")
}

/// One citizen's case. Its `uuiData` and its tag are unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Case(u64);

/// Source of new cases.
#[derive(Debug, Default)]
pub(crate) struct Cases(AtomicU64);

impl Cases {
    pub(crate) fn next(&self) -> Case {
        Case(self.0.fetch_add(1, Ordering::Relaxed))
    }

    /// The next one that has no key.
    pub(crate) fn next_without_key(&self) -> Case {
        let case = self.next();
        if case.key().is_some() { self.next_without_key() } else { case }
    }

    /// Whether a room was requested for it.
    pub(crate) fn include(&self, case: Case) -> bool {
        case.0 < self.0.load(Ordering::Relaxed)
    }
}

impl Case {
    pub(crate) fn path(self) -> String {
        format!("/room/create?uuiData={}", hex::encode(self.text()))
    }

    /// Its `Idempotency-Key`: one in three has one.
    pub(crate) fn key(self) -> Option<String> {
        self.0.is_multiple_of(3).then(|| format!("case-{}", self.0))
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

/// Result of a create as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Room {
        name: String,
        from_pool: bool,
        /// An earlier request with the same key got this room.
        replayed: bool,
        /// `None` for a room on Pexip.
        instant: Option<Invitation>,
    },
    /// A problem document.
    Refused { status: u16, code: String },
    /// The connection broke, the handler behind it died, or the caller hung up.
    NoAnswer,
}

/// What a create answers about an instant room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invitation {
    pub(crate) pin: String,
    pub(crate) guest_pin: String,
    pub(crate) from: OffsetDateTime,
    /// Exclusive.
    pub(crate) until: OffsetDateTime,
}

impl Invitation {
    fn read<'a>(header: impl Fn(&str) -> Option<&'a str>, room: &Value) -> Option<Self> {
        let time = |name| OffsetDateTime::parse(header(name)?, &Rfc3339).ok();
        let pin = |name: &str| room[name].as_str().expect("a room has PINs").to_owned();
        let (from, until) = (time("room-valid-from")?, time("room-valid-until")?);
        Some(Self { pin: pin("pin"), guest_pin: pin("guest_pin"), from, until })
    }
}

/// The answer to a Conferencing Node when somebody dials an instant room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeAnswer {
    /// Let in whoever has a PIN, to a conference of this configuration.
    LetIn(Value),
    Refuse,
    /// 503, or no answer: the node looks into its own database.
    Nothing,
}

impl NodeAnswer {
    /// Fails if the answer is none of policy.
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let mut body: Value = serde_json::from_slice(body).unwrap_or_else(|_| panic!("{status}: {text}"));
        match (status, body["result"].take()) {
            (200, Value::Null) if body == json!({ "status": "success", "action": "reject", "result": null }) => {
                Self::Refuse
            }
            (200, configuration @ Value::Object(_)) if body["status"] == "success" => Self::LetIn(configuration),
            (503, _) => Self::Nothing,
            _ => panic!("{status}: {text}"),
        }
    }
}

impl Outcome {
    /// `None` if the bytes are not a complete answer.
    fn read_raw(answer: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(answer).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length: usize = header("content-length")?.parse().expect("a length");
        let status = head.split(' ').nth(1)?.parse().expect("a status");
        (body.len() == length).then(|| Self::read(status, header, body.as_bytes()))
    }

    /// Fails if the answer is neither a room nor a problem document.
    pub(crate) fn read<'a>(status: u16, header: impl Fn(&str) -> Option<&'a str>, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body)
            .unwrap_or_else(|_| panic!("{status} with a body that is no JSON: {}", String::from_utf8_lossy(body)));
        if status == 200 {
            let name = body["name"].as_str().expect("a room has a name").to_owned();
            let from_pool = header("room-source") == Some("pool");
            let instant = Invitation::read(&header, &body);
            assert_eq!(instant.is_some(), header("room-source") == Some("instant"), "{name}");
            return Self::Room { name, from_pool, replayed: header("idempotency-replayed").is_some(), instant };
        }
        let code = body["code"].as_str().unwrap_or_else(|| panic!("{status} without a code: {body}")).to_owned();
        Self::Refused { status, code }
    }
}

/// Outcome of a create whose caller hangs up after some time.
pub(crate) enum HangUp {
    /// Answered before the caller hung up.
    Answered(Outcome),
    /// The caller hung up first, and the service wrote no answer.
    Unanswered,
    /// The caller hung up first, but the service wrote its answer before it noticed.
    AnsweredTooLate(Outcome),
}

/// IDIM, as it calls over the network.
#[derive(Clone)]
pub(crate) struct Caller {
    http: Client,
    token: String,
    /// Whether a Functions host is in between. It answers with an empty 500 if the handler has died.
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
        let mut request = self.request(Method::POST, service, &case.path());
        if let Some(key) = case.key() {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let Ok(response) = request.send().await else {
            return Outcome::NoAnswer;
        };
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        match response.bytes().await {
            Ok(body) if self.through_a_host && status == 500 && body.is_empty() => Outcome::NoAnswer,
            Ok(body) => Outcome::read(status, |name| headers.get(name)?.to_str().ok(), &body),
            Err(_) => Outcome::NoAnswer,
        }
    }

    /// Hangs up after `wait`, at whatever step the service is. Closes only the caller's half of the connection, which
    /// the service cannot distinguish from a closed one, so that an answer written before it noticed can still be read.
    pub(crate) async fn create_and_hang_up(&self, wait: Duration, service: &Url, case: Case) -> HangUp {
        let address = service.socket_addrs(|| None).expect("an address")[0];
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let (path, token) = (case.path(), &self.token);
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n");
        let key = case.key().map(|key| format!("{IDEMPOTENCY_KEY}: {key}\r\n")).unwrap_or_default();
        let request = format!("{head}{key}content-length: 0\r\n\r\n");
        let mut answer = Vec::new();
        let in_time = timeout(wait, async {
            // The service may close the connection first; its answer is then read.
            let _closed = stream.write_all(request.as_bytes()).await;
            let _end = stream.read_to_end(&mut answer).await;
        });
        if in_time.await.is_ok() {
            return HangUp::Answered(Outcome::read_raw(&answer).unwrap_or(Outcome::NoAnswer));
        }
        let _closed = stream.shutdown().await;
        let end = timeout(REQUEST_LIMIT, stream.read_to_end(&mut answer)).await;
        let _end = end.expect("the service closes the connection of a caller who hung up");
        Outcome::read_raw(&answer).map_or(HangUp::Unanswered, HangUp::AnsweredTooLate)
    }

    /// `None` if there was no answer.
    pub(crate) async fn delete(&self, service: &Url, name: &str) -> Option<u16> {
        let answer = self.request(Method::DELETE, service, &format!("/room/{name}")).send().await;
        Some(answer.ok()?.status().as_u16())
    }

    /// The answer to a Conferencing Node that looks up this room.
    pub(crate) async fn look_up(&self, service: &Url, name: &str) -> NodeAnswer {
        let (username, password) = NODES;
        let request = self.http.get(service.join(&look_up_path(name)).expect("a path"));
        let request = request.basic_auth(username, Some(password)).timeout(REQUEST_LIMIT);
        let Ok(response) = request.send().await else { return NodeAnswer::Nothing };
        let status = response.status().as_u16();
        match response.bytes().await {
            Ok(body) if self.through_a_host && status == 500 && body.is_empty() => NodeAnswer::Nothing,
            Ok(body) => NodeAnswer::read(status, &body),
            Err(_) => NodeAnswer::Nothing,
        }
    }

    /// The Functions host's timer. `None` if there was no answer.
    pub(crate) async fn run_maintenance(&self, service: &Url) -> Option<String> {
        let answer = self.request(Method::POST, service, "/function_pool_maintenance").send().await;
        answer.ok()?.text().await.ok()
    }

    fn request(&self, method: Method, service: &Url, path: &str) -> RequestBuilder {
        let url = service.join(path).expect("a path");
        self.http.request(method, url).bearer_auth(&self.token).timeout(REQUEST_LIMIT)
    }
}

/// A full run takes longer than the lifetime of an ordinary token.
fn long_token(entra: &EntraSimulator) -> String {
    entra.token().expires_in(24 * 3600).build()
}
