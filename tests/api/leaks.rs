//! The program reveals no secret, whatever is requested and whatever fails: not in its output at any log level, and not
//! in an answer to a caller who may not see it.
//!
//! Runs the real program with every secret planted, and with every variable set that makes a library log more.

mod commands;
mod finder;
mod printing;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use maxconf::domain::Marks;
use maxconf_simulators::entra::SigningKey;
use maxconf_simulators::world::OAUTH2_CLIENT;
use maxconf_simulators::{CollectorSimulator, Fault, StoredRoom, Times};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::instant::unknown;
use crate::support::{Answer, Call, POOL_QUEUE, Program, Secrets, TestApp, World, eventually};

/// With characters that a URL, a JSON string and a `Debug` text escape.
const PASSWORD: &str = r#"pass of "Pexip" 41%2B + \ /?&=#"#;
const EVENT_PASSWORD: &str = "pass of the Conferencing Nodes";
const POLICY_PASSWORD: &str = "pass of the policy profile";
/// What somebody who dials has typed.
const TYPED: &str = "Dana Displayname 161803";
const AUDIT_HASH_KEY: &str = "key of the audit trail's hash";
const COLLECTOR_KEY: &str = "key of the collector";
/// No server listens there.
const INSIGHTS: &str = "InstrumentationKey=5ca1ab1e-feed-4bad-8bee-decafc0ffee0;IngestionEndpoint=https://127.0.0.1:1/";
/// As long as PINs may be, so that nothing else in the log looks like one.
const PINS: [&str; 2] = ["27182818284590452353", "31415926535897932384"];
const CASE: &str = "citizen-271828,case-314159";

/// Rooms that exist from the start.
const HANDED_OUT: [&str; 3] =
    ["vbv-01jd5p3xk8qqqqqqqqqqqqqq01", "vbv-01jd5p3xk8qqqqqqqqqqqqqq02", "vbv-01jd5p3xk8qqqqqqqqqqqqqq03"];
const READY: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqq04";

/// In the log and the traces, which proves that they are searched.
const REQUEST_ID: &str = "the-request-id-of-this-test";

/// Programs that run concurrently; most of them wait for a time limit.
const CONCURRENT_RUNS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    Key,
    Signature,
}

/// How the program authenticates at Pexip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtPexip {
    Basic,
    OAuth2,
}

#[derive(Clone, Debug)]
enum Failure {
    Answer(Fault),
    ConnectionRefused,
}

/// The real program, and the secrets that it must not reveal.
struct Watched {
    app: TestApp,
    program: Program,
    /// Receives its traces and metrics.
    collector: CollectorSimulator,
    secrets: Secrets,
    /// Where `SSLKEYLOGFILE` would write TLS keys.
    folder: TempDir,
}

fn tag() -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    format!("https://id.gov.bc.ca/idcheck/{}", URL_SAFE_NO_PAD.encode(CASE))
}

/// The secrets in the settings and in the rooms.
fn known_secrets(connection: &str) -> Secrets {
    let mut secrets = Secrets::default();
    for (what, secret) in [
        ("the password for Pexip", PASSWORD),
        ("the Conferencing Nodes' password", EVENT_PASSWORD),
        ("the policy profile's password", POLICY_PASSWORD),
        ("what a caller typed", TYPED),
        ("the audit trail's key", AUDIT_HASH_KEY),
        ("the collector's key", COLLECTOR_KEY),
        ("the instrumentation key", "5ca1ab1e-feed-4bad-8bee-decafc0ffee0"),
        ("the host PIN", PINS[0]),
        ("a guest PIN", PINS[1]),
        ("a citizen's case", CASE),
        ("a tag", &tag()),
        // Start of every signature and receipt.
        ("a signed call", "SharedKey devstoreaccount1:"),
        ("a receipt", "popreceipt="),
    ] {
        secrets.plant(what, secret);
    }
    let (_, key_or_signature) = connection.split_once("AccountKey=").or(connection.split_once("sig=")).expect("either");
    let key_or_signature = key_or_signature.split(['&', ';']).next().expect("its end");
    secrets.plant(
        "the queue's key or signature",
        &key_or_signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "="),
    );
    secrets
}

/// The settings of an OAuth2 client at Pexip. Plants its key, and what all its assertions have in common.
fn oauth2_settings(world: &World, secrets: &mut Secrets) -> [(&'static str, String); 4] {
    let key = world.pexip.add_oauth2_client(OAUTH2_CLIENT);
    for line in key.lines().filter(|line| !line.starts_with("-----")) {
        secrets.plant("the key for Pexip", line);
    }
    secrets.plant("an assertion", "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.");
    secrets.plant("an assertion in a form", "client_assertion=");
    world.oauth2_settings()
}

impl Watched {
    /// `log_level` is the setting's value.
    async fn start(log_level: &str, credential: Credential, at_pexip: AtPexip) -> Self {
        let world = World::start().await;
        world.pexip.set_password(PASSWORD);
        for name in HANDED_OUT {
            world.pexip.insert(StoredRoom::named(name).with_pins(PINS[0], PINS[1]).tagged(tag()));
        }
        put_ready_room_into_pool(&world);

        let folder = tempfile::tempdir().expect("a folder");
        let collector = CollectorSimulator::start().await;
        let mut settings = talkative_settings(&world, credential, &folder, log_level);
        settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url().to_string());
        // No server listens there, so each stop would wait for its limit. `telemetry.rs` tests that.
        settings.remove("APPLICATIONINSIGHTS_CONNECTION_STRING");
        let mut secrets = known_secrets(&settings["PoolStorage"]);
        if at_pexip == AtPexip::OAuth2 {
            settings.extend(oauth2_settings(&world, &mut secrets));
        }
        let program = Program::start(&["serve"], settings);
        let url = program.url().await;
        Self { app: TestApp::around(world, url), program, collector, secrets, folder }
    }

    fn entra_token(&mut self) -> String {
        let token = self.app.entra.token().build();
        self.plant_entra_token(&token);
        token
    }

    /// Plants the token, and its signature separately.
    fn plant_entra_token(&mut self, token: &str) {
        self.secrets.plant("an Entra token", token);
        self.secrets.plant("an Entra token's signature", token.rsplit('.').next().expect("a signature"));
    }

    fn genesys_token(&mut self) -> String {
        let token = self.app.genesys.issue_token();
        self.secrets.plant("a Genesys token", &token);
        token
    }

    async fn ask(&self, request: RequestBuilder) -> Answer {
        self.app.send(request.header("x-request-id", REQUEST_ID)).await
    }

    fn create(&mut self) -> RequestBuilder {
        let path = format!("room/create?uuiData={}", hex::encode(CASE));
        let token = self.entra_token();
        self.app.request(Method::POST, &path).bearer_auth(token)
    }

    fn delete(&mut self, room: &str) -> RequestBuilder {
        let token = self.entra_token();
        self.app.request(Method::DELETE, &format!("room/{room}")).bearer_auth(token)
    }

    fn public_read(&mut self, room: &str) -> RequestBuilder {
        let token = self.genesys_token();
        self.app.request(Method::GET, &format!("public/room/{room}")).header("x-auth-token", token)
    }

    /// Of a room whose record has PINs and tag.
    fn look_up(&self) -> RequestBuilder {
        let name = unknown();
        let record = json!({
            "write_id": "1", "client": "1", "made_at": "2026-03-04T22:32:11Z", "valid_from": "2026-03-04T22:32:11Z",
            "begins_at_once": true, "valid_until": "2999-03-04T22:32:11Z", "has_own_validity": false, "state": "open",
            "configuration": {
                "name": name, "service_type": "conference", "service_tag": tag(), "pin": PINS[0], "guest_pin": PINS[1],
            },
        });
        self.app.blobs.put("room-records", &format!("instant/{name}"), &record.to_string());
        let request = self.app.request(Method::GET, "policy/v1/service/configuration");
        let query = [("local_alias", name.as_str()), ("remote_display_name", TYPED), ("remote_alias", TYPED)];
        request.basic_auth("policy", Some(POLICY_PASSWORD)).query(&query)
    }

    /// One request to every route, most of them concurrently.
    async fn ask_every_route(&mut self) -> Vec<Answer> {
        let stranger = self.app.entra.token().signed_by(&SigningKey::unpublished()).build();
        self.plant_entra_token(&stranger);
        let by_a_stranger = self.app.request(Method::DELETE, "room/vbv-1").bearer_auth(stranger);
        let requests = [
            self.create(),
            self.public_read(HANDED_OUT[0]),
            self.delete(HANDED_OUT[1]),
            by_a_stranger,
            self.app.request(Method::GET, "health/ready"),
            self.look_up(),
        ];
        let mut answers = join_all(requests.map(|request| self.ask(request))).await;
        // Last, since the others leave rooms for it to make.
        answers.push(self.ask(self.app.request(Method::POST, "function_pool_maintenance")).await);
        answers
    }

    /// Stops the program, and searches all its output for secrets.
    async fn assert_reveals_nothing(mut self, case: &str, answers: &[Answer]) {
        for (number, room) in self.app.pexip.rooms().iter().enumerate() {
            for pin in [&room.pin, &room.guest_pin] {
                self.secrets.plant(format!("PIN {number}"), pin);
            }
        }
        for token in self.app.pexip.oauth2_tokens() {
            self.secrets.plant("a token of Pexip", &token);
        }
        for answer in answers {
            self.secrets.assert_not_in(case, &without_requested_secrets(answer));
        }
        self.program.signal("TERM");
        let ended = self.program.ended().await;
        let output = [ended.stdout, ended.stderr].concat().join("\n");
        assert!(output.contains(REQUEST_ID), "{case}: the log is searched: {output}");
        self.secrets.assert_not_in(case, &output);
        let exported = self.collector.text();
        assert!(exported.contains(REQUEST_ID), "{case}: the traces are searched: {exported}");
        self.secrets.assert_not_in(case, &exported);
        let files: Vec<_> = std::fs::read_dir(self.folder.path()).expect("a folder").collect();
        assert!(files.is_empty(), "{case}: {files:?}");
    }
}

fn put_ready_room_into_pool(world: &World) {
    let tomorrow = OffsetDateTime::now_utc() + time::Duration::DAY;
    let marks = Marks { ready_until: Some(tomorrow), handed_out: None };
    let room = StoredRoom::named(READY).with_alias(READY).with_pins(PINS[0], PINS[1]);
    world.pexip.insert(room.described(marks.to_string()));
    world.queue.put(POOL_QUEUE, READY);
}

fn talkative_settings(
    world: &World,
    credential: Credential,
    folder: &TempDir,
    log_level: &str,
) -> HashMap<&'static str, String> {
    let connection = match credential {
        Credential::Key => world.connection_string(),
        Credential::Signature => world.sas_connection_string(),
    };
    let no_server = "http://127.0.0.1:1";
    let mut settings = world.settings();
    let own = [
        ("LOG_LEVEL", log_level),
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
        ("AZURE_LOG_LEVEL", "trace"),
        // A proxy would see every call. No server listens there, so any use of it fails the call.
        ("HTTP_PROXY", no_server),
        ("http_proxy", no_server),
        ("ALL_PROXY", no_server),
        ("PoolStorage", &connection),
        ("PEXIP_EVENT_USERNAME", "events"),
        ("PEXIP_EVENT_PASSWORD", EVENT_PASSWORD),
        ("PEXIP_POLICY_USERNAME", "policy"),
        ("PEXIP_POLICY_PASSWORD", POLICY_PASSWORD),
        ("AUDIT_HASH_KEY", AUDIT_HASH_KEY),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", INSIGHTS),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=key%20of%20the%20collector"),
        ("ROOM_HOST_PIN", PINS[0]),
        // No prefetch, so that a create makes every call itself.
        ("POOL_PREFETCH", "0"),
        ("PEXIP_REQUEST_TIMEOUT_SECONDS", "1"),
        ("ENTRA_KEYS_MIN_REFRESH_SECONDS", "1"),
    ];
    settings.extend(own.map(|(name, value)| (name, value.to_owned())));
    settings.insert("SSLKEYLOGFILE", folder.path().join("keys").display().to_string());
    settings
}

/// The answer without the PINs and the tag, which a caller who may see the room gets.
fn without_requested_secrets(answer: &Answer) -> String {
    let mut body = answer.text.clone();
    if answer.status == 200
        && let Ok(Value::Object(mut room)) = serde_json::from_str(&answer.text)
    {
        for asked_for in ["pin", "guest_pin", "tag", "result"] {
            room.remove(asked_for);
        }
        body = Value::Object(room).to_string();
    }
    let headers =
        answer.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    format!("{}\n{}\n{body}", answer.status, headers.collect::<String>())
}

/// Every failure of an outside system. `Echo` repeats the request in the answer.
fn failures() -> Vec<Failure> {
    let echoes = [200, 201, 204, 302, 400, 401, 403, 404, 409, 429, 500, 503].map(Fault::Echo);
    let others =
        [Fault::Slow(Duration::from_millis(50)), Fault::Stall, Fault::HangUpBefore, Fault::HangUpAfter, Fault::Rubbish];
    echoes.into_iter().chain(others).map(Failure::Answer).chain([Failure::ConnectionRefused]).collect()
}

const CALLS: [Call; 14] = [
    Call::QueueReceive,
    Call::QueueClaim,
    Call::QueueCount,
    Call::QueuePut,
    Call::PexipLookUp,
    Call::PexipTag,
    Call::PexipCreate,
    Call::PexipDelete,
    Call::PexipRunning,
    Call::PexipToken,
    Call::EntraDiscovery,
    Call::EntraKeys,
    Call::GenesysToken,
    Call::GenesysUser,
];

#[tokio::test(flavor = "multi_thread")]
async fn no_failure_of_an_outside_system_reveals_a_secret() {
    let rows = CALLS.into_iter().flat_map(|call| {
        let ways = ways(call).iter();
        ways.flat_map(move |at_pexip| failures().into_iter().map(move |failure| (call, failure, *at_pexip)))
    });
    stream::iter(rows)
        .map(|(call, failure, at_pexip)| check(call, failure, at_pexip))
        .buffer_unordered(CONCURRENT_RUNS)
        .collect::<()>()
        .await;
}

/// The ways to authenticate at Pexip with which this call sends different secrets.
fn ways(call: Call) -> &'static [AtPexip] {
    match call {
        Call::PexipToken => &[AtPexip::OAuth2],
        Call::PexipLookUp | Call::PexipTag | Call::PexipCreate => &[AtPexip::Basic, AtPexip::OAuth2],
        _ => &[AtPexip::Basic],
    }
}

async fn check(call: Call, failure: Failure, at_pexip: AtPexip) {
    let case = format!("{call:?} with {failure:?}, {at_pexip:?}");
    let is_down = matches!(failure, Failure::ConnectionRefused);
    let credential =
        if matches!(failure, Failure::Answer(Fault::Echo(_))) { Credential::Signature } else { Credential::Key };
    let mut watched = Watched::start("trace", credential, at_pexip).await;
    let traffic = call.traffic(&watched.app).clone();
    match failure {
        Failure::Answer(fault) => {
            traffic.clear();
            traffic.inject(call.matching(), Times::Always, fault);
            // The one that was fetched at the start.
            watched.app.pexip.revoke_oauth2_tokens();
        }
        Failure::ConnectionRefused => call.refuse_connections(&watched.app).await,
    }
    let answers = watched.ask_every_route().await;
    if !is_down {
        eventually(&format!("{case} is met"), async || traffic.count(&call.matching()) > 0).await;
    }
    traffic.heal();
    watched.assert_reveals_nothing(&case, &answers).await;
}

#[tokio::test]
async fn nothing_that_a_caller_sends_is_revealed() {
    for log_level in ["trace", "trace,maxconf=trace,hyper=trace,hyper_util=trace,reqwest=trace,azure_core=trace"] {
        let mut watched = Watched::start(log_level, Credential::Signature, AtPexip::OAuth2).await;
        let mut answers = watched.ask_every_route().await;
        let with_secrets =
            answers.iter().filter(|answer| answer.text.contains(PINS[0]) && answer.text.contains(&tag()));
        let who = "IDIM, the agent and the Conferencing Node get PINs and tag of their room";
        assert_eq!(with_secrets.count(), 3, "{who}: {answers:?}");
        for request in refused(&mut watched) {
            let answer = watched.ask(request).await;
            assert!(answer.status.is_client_error() || answer.text.contains("live"), "{answer:?}");
            answers.push(answer);
        }
        let too_large =
            format!("POST /{CASE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 26000\r\n\r\n");
        answers.push(watched.app.send_raw(too_large + &CASE.repeat(1000)).await);
        watched.assert_reveals_nothing(log_level, &answers).await;
    }
}

/// Requests with secrets where none belongs.
fn refused(watched: &mut Watched) -> Vec<RequestBuilder> {
    let (entra, genesys) = (watched.entra_token(), watched.genesys_token());
    let unknown = "a-token-that-genesys-does-not-know";
    watched.secrets.plant("an unknown token", unknown);
    watched.secrets.plant("a key of the Functions host", "key-of-the-functions-host");
    let ask = |method: Method, path: &str| watched.app.request(method, path);
    let (case, tag) = (hex::encode(CASE), tag());
    let encoded: String = url::form_urlencoded::byte_serialize(tag.as_bytes()).collect();
    let create = format!("room/create?uuiData={case}");
    vec![
        ask(Method::POST, &create),
        ask(Method::POST, &create).bearer_auth(&genesys),
        ask(Method::POST, &create).bearer_auth(format!("{entra}x")),
        ask(Method::POST, &create).basic_auth("maxconf", Some(PASSWORD)),
        ask(Method::POST, &create).bearer_auth(&entra).bearer_auth(&entra),
        ask(Method::POST, &format!("{create}&access_token={entra}")).bearer_auth(&entra),
        ask(Method::POST, &format!("{create}&uuiData={case}")).bearer_auth(&entra),
        ask(Method::POST, &format!("{create}zz")).bearer_auth(&entra),
        ask(Method::POST, &format!("room/create?uuiData={CASE}")).bearer_auth(&entra),
        ask(Method::POST, &format!("room/create?uuiData={}", case.repeat(9))).bearer_auth(&entra),
        ask(Method::POST, "room/create").bearer_auth(&entra).body(CASE),
        ask(Method::PUT, &create).bearer_auth(&entra).body(CASE),
        ask(Method::DELETE, &format!("room/{}", PINS[0])).bearer_auth(&entra),
        ask(Method::DELETE, &format!("room/{encoded}")).bearer_auth(&entra),
        ask(Method::GET, &format!("public/room/{}", PINS[1])).header("x-auth-token", &genesys),
        ask(Method::GET, "public/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq").header("x-auth-token", &genesys),
        ask(Method::GET, &format!("public/room/{READY}")).header("x-auth-token", &entra),
        ask(Method::GET, &format!("public/room/{READY}")).header("x-auth-token", unknown),
        ask(Method::GET, &format!("public/room/{READY}?token={genesys}"))
            .header("origin", "https://foreign.example.org"),
        ask(Method::GET, &format!("{PASSWORD}/{encoded}")).header("cookie", &entra),
        ask(Method::GET, &format!("health/live?code={0}", "key-of-the-functions-host"))
            .header("x-functions-key", "key-of-the-functions-host")
            .header("x-azure-functions-invocationid", &genesys[..36]),
    ]
}
