//! Each row of the Genesys contract: the answer to the agent, the calls to Genesys and the log line. The service is the
//! real program; its log is checked at the end.

use std::time::Duration;

use axum::Router;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use maxconf_simulators::genesys::DIVISION_ID;
use maxconf_simulators::{Fault, GenesysSimulator, GenesysToken, Matching, SelfSigned, Server, Times, Traffic};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, HANDED_OUT, TOKENS_ME, TestApp, USERS_ME, assert_agent_refused, eventually};

const STRANGER: &str = "99999999-d9cb-469f-a165-70867728950e";

/// Stands in what Genesys says, and must not stand in the log.
const PLANTED: &str = "planted-in-an-answer-of-genesys";

/// The answer to the agent.
type Expected = (u16, &'static str);

const SEEN: Expected = (200, "ok");
const INVALID: Expected = (401, "token_invalid");
const NOT_PERMITTED: Expected = (403, "not_permitted");
const UNREADABLE: Expected = (502, "genesys_invalid");
const UNAVAILABLE: Expected = (503, "genesys_unavailable");

/// What becomes of the next look with the same token, when nothing is wrong with Genesys any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The same answer without a call.
    Remembered,
    /// Genesys is asked anew.
    Asked,
    /// This token is looked up once the time that Genesys asked for is over, others at once.
    Paused,
}

struct Row {
    name: String,
    token: GenesysToken,
    fault: Option<(&'static str, Fault)>,
    expected: Expected,
    retry_after: &'static str,
    /// Calls of `tokens/me` and of `users/me`.
    calls: (usize, usize),
    next: Next,
    /// Words of the log line.
    cause: &'static str,
}

/// A service with one room that was handed out.
async fn start() -> TestApp {
    let app = TestApp::without_pool().await;
    app.insert_handed_out_room();
    app
}

/// A row about what Genesys knows of the token.
fn token(name: &str, token: GenesysToken, expected: Expected, calls: (usize, usize), cause: &'static str) -> Row {
    let next = if expected == UNREADABLE { Next::Asked } else { Next::Remembered };
    Row { name: name.to_owned(), token, fault: None, expected, retry_after: "", calls, next, cause }
}

/// A row about how Genesys answers one of its two calls.
fn answer(path: &'static str, fault: Fault, expected: Expected, retry_after: &'static str, cause: &'static str) -> Row {
    let next = match expected {
        SEEN | INVALID | NOT_PERMITTED => Next::Remembered,
        _ if cause == "429" => Next::Paused,
        _ => Next::Asked,
    };
    let name = format!("{path} {fault:?}").chars().take(200).collect();
    let calls = if path == TOKENS_ME && expected != SEEN { (1, 0) } else { (1, 1) };
    Row { name, token: GenesysToken::default(), fault: Some((path, fault)), expected, retry_after, calls, next, cause }
}

fn rows_of_tokens() -> Vec<Row> {
    let agent = GenesysToken::default;
    let mut rows = vec![
        token("ours", agent(), SEEN, (1, 1), ""),
        token("ours, in capitals", agent().organization_id(agent().organization_id.to_uppercase()), SEEN, (1, 1), ""),
        token("ours, for an hour", agent().idles_in(Duration::from_secs(3600)), SEEN, (1, 1), ""),
        token("other organisation", agent().organization_id(STRANGER), NOT_PERMITTED, (1, 0), "another organisation"),
        token(
            "other client",
            agent().oauth_client_id(STRANGER),
            NOT_PERMITTED,
            (1, 0),
            "not in GENESYS_OAUTH_CLIENT_IDS",
        ),
        token("other home", agent().home_organization_id(STRANGER), NOT_PERMITTED, (1, 0), "partner"),
        token("cloned user", agent().cloned_user(), NOT_PERMITTED, (1, 0), "partner"),
        token("inactive", agent().state("inactive"), NOT_PERMITTED, (1, 1), "not active"),
        token("deleted", agent().state("deleted"), NOT_PERMITTED, (1, 1), "not active"),
        token("ACTIVE", agent().state("ACTIVE"), NOT_PERMITTED, (1, 1), "not active"),
        token(
            "other division",
            agent().division_id(STRANGER),
            NOT_PERMITTED,
            (1, 1),
            "division is not in GENESYS_DIVISION_IDS",
        ),
        token("division without an id", agent().division_id(""), NOT_PERMITTED, (1, 1), "division is not"),
        token(
            "other division, inactive",
            agent().division_id(STRANGER).state("inactive"),
            NOT_PERMITTED,
            (1, 1),
            "not active",
        ),
        token("division in capitals", agent().division_id(DIVISION_ID.to_uppercase()), SEEN, (1, 1), ""),
        token("ended", agent().idles_in(Duration::ZERO), INVALID, (1, 0), "does not know"),
        token("client credentials", agent().client_credentials(), NOT_PERMITTED, (1, 1), "no user's"),
    ];
    for (member, calls) in [
        ("organization", (1, 0)),
        ("organization.id", (1, 0)),
        ("homeOrganization", (1, 0)),
        ("homeOrganization.id", (1, 0)),
        ("OAuthClient", (1, 0)),
        ("OAuthClient.id", (1, 0)),
        ("id", (1, 1)),
        ("state", (1, 1)),
        ("division", (1, 1)),
        ("division.id", (1, 1)),
    ] {
        rows.push(token(member, agent().omit(member), UNREADABLE, calls, "missing"));
    }
    rows
}

/// What an active agent's token gives, as `tokens/me` and `users/me` say it.
fn good_bodies() -> [(&'static str, Value); 2] {
    let token = GenesysToken::default();
    let organization = json!({ "id": token.organization_id, "name": PLANTED });
    let info = json!({ "organization": organization, "homeOrganization": organization,
                       "OAuthClient": { "id": token.oauth_client_id } });
    let division = json!({ "id": token.division_id, "name": PLANTED });
    [(TOKENS_ME, info), (USERS_ME, json!({ "id": STRANGER, "state": "active", "division": division, "name": PLANTED }))]
}

fn json_answer(status: u16, body: &str) -> Fault {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Fault::StatusWith { status, headers, body: body.to_owned() }
}

fn with_header(status: u16, name: &str, value: &str) -> Fault {
    Fault::StatusWith { status, headers: vec![(name.to_owned(), value.to_owned())], body: PLANTED.to_owned() }
}

fn rows_of_answers(elsewhere: &GenesysSimulator) -> Vec<Row> {
    let mut rows = Vec::new();
    for (path, good) in good_bodies().map(|(path, good)| (path, good.to_string())) {
        let error = json!({ "message": PLANTED, "code": PLANTED, "contextId": PLANTED }).to_string();
        let mut add =
            |fault, expected, retry_after, cause| rows.push(answer(path, fault, expected, retry_after, cause));
        // As good as the true one, and as long as one may be; then too long.
        add(json_answer(200, &(good.clone() + &" ".repeat(200 * 1024))), SEEN, "", "");
        add(json_answer(200, &(good.clone() + &" ".repeat(256 * 1024))), UNREADABLE, "", "cannot be read");
        add(json_answer(401, &error), INVALID, "", "does not know");
        add(json_answer(403, &error), NOT_PERMITTED, "", "forbids");
        // Only the second call is about a user.
        let no_user = if path == USERS_ME { (NOT_PERMITTED, "no user's") } else { (UNREADABLE, "unexpected answer") };
        add(json_answer(400, &error), no_user.0, "", no_user.1);
        for status in [201, 204, 206, 404, 405, 410, 418] {
            add(json_answer(status, &good), UNREADABLE, "", "unexpected answer");
        }
        let there = elsewhere.api_url().join(path).expect("a path").to_string();
        for status in [301, 302, 303, 307, 308] {
            add(with_header(status, "location", &there), UNREADABLE, "", "unexpected answer");
        }
        add(Fault::Rubbish, UNREADABLE, "", "cannot be read");
        add(Fault::HugeBody(300_000), UNREADABLE, "", "cannot be read");
        for body in ["", "{", "[]", "7", "\"active\"", PLANTED] {
            add(json_answer(200, body), UNREADABLE, "", "cannot be read");
        }
        for body in ["{}", r#"{"id":null,"state":null,"organization":null}"#] {
            add(json_answer(200, body), UNREADABLE, "", "missing");
        }
        add(json_answer(200, &good.repeat(2)), UNREADABLE, "", "cannot be read");
        let twice = good.replacen('{', r#"{"id":7,"organization":7,"#, 1);
        add(json_answer(200, &twice), UNREADABLE, "", "cannot be read");
        add(with_header(429, "retry-after", "1"), UNAVAILABLE, "1", "429");
        for status in [500, 502, 503, 504, 599] {
            add(json_answer(status, &error), UNAVAILABLE, "5", "Genesys is unavailable (5");
        }
        add(with_header(503, "retry-after", "7"), UNAVAILABLE, "7", "(503)");
        add(with_header(503, "retry-after", "3600"), UNAVAILABLE, "60", "(503)");
        add(with_header(503, "retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"), UNAVAILABLE, "60", "(503)");
        add(with_header(503, "retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), UNAVAILABLE, "1", "(503)");
        add(with_header(503, "retry-after", "Fri, 31 Dec 9999"), UNAVAILABLE, "5", "(503)");
        add(with_header(503, "inin-correlation-id", STRANGER), UNAVAILABLE, "5", STRANGER);
        add(with_header(503, "inin-correlation-id", PLANTED), UNAVAILABLE, "5", "(503)");
        add(Fault::StatusAfter(503), UNAVAILABLE, "5", "(503)");
        add(Fault::Stall, UNAVAILABLE, "5", "did not answer in time");
    }
    rows
}

#[tokio::test]
async fn each_row_of_the_contract_has_its_answer_its_calls_and_a_clean_log() {
    let elsewhere = GenesysSimulator::start().await;
    let service = TestApp::with().set("POOL_TARGET_SIZE", 0).set("LOG_LEVEL", "trace");
    let proxies = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"];
    let service = proxies.iter().fold(service, |service, name| service.set(name, elsewhere.api_url()));
    let (app, program) = service.start_program().await;
    app.insert_handed_out_room();
    let mut rows = rows_of_tokens();
    rows.extend(rows_of_answers(&elsewhere));

    let mut tokens = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        tokens.push(check_row(&app, row, &format!("row-{number}")).await);
    }

    assert!(elsewhere.traffic().log().is_empty(), "no redirect is followed and no proxy is asked");
    program.signal("TERM");
    let ended = program.ended().await;
    assert!(ended.stderr.is_empty(), "{ended:?}");
    assert_clean(&ended.stdout, &tokens);
    let events: Vec<Value> = ended.stdout.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (number, Row { name, expected: (status, code), cause, .. }) in rows.iter().enumerate() {
        let is_its_line =
            |event: &&Value| event["message"] == "request" && event["request_id"] == format!("row-{number}");
        let line = events.iter().find(is_its_line).expect("a line for each request");
        assert_eq!((&line["status"], &line["code"]), (&json!(status), &json!(code)), "{name}: {line}");
        assert!(line["cause"].as_str().unwrap_or_default().contains(cause), "{name}: {line}");
    }
}

/// Looks with a token of this row, and once more when all is well with Genesys. Returns the token.
async fn check_row(app: &TestApp, row: &Row, request_id: &str) -> String {
    let name = &row.name;
    let token = app.genesys.issue(row.token.clone());
    app.genesys.traffic().clear();
    app.pexip.traffic().clear();
    if let Some((path, fault)) = &row.fault {
        app.genesys.traffic().inject(Matching::any().path_contains(*path), Times::Once, fault.clone());
    }
    assert_told(app, &app.send(app.agent_read_request(&token).header("x-request-id", request_id)).await, row);
    assert_eq!(app.genesys_calls(), row.calls, "{name}");

    app.genesys.traffic().heal();
    app.genesys.traffic().clear();
    match row.next {
        Next::Remembered => {
            assert_told(app, &app.read_as_agent(&token).await, row);
            assert_eq!(app.genesys_calls(), (0, 0), "{name}");
        }
        Next::Asked if row.fault.is_none() => {
            assert_told(app, &app.read_as_agent(&token).await, row);
            assert_eq!(app.genesys_calls(), row.calls, "{name}");
        }
        Next::Asked => {
            assert_eq!(app.read_as_agent(&token).await.room(), HANDED_OUT, "{name}");
            assert_eq!(app.genesys_calls(), (1, 1), "{name}");
        }
        Next::Paused => {
            assert_eq!(app.read_as_agent(&app.genesys.issue_token()).await.room(), HANDED_OUT, "{name}");
            eventually("the pause is over", async || app.read_as_agent(&token).await.status == 200).await;
        }
    }
    token
}

#[track_caller]
fn assert_told(app: &TestApp, answer: &Answer, row: &Row) {
    let room_was_read = !app.pexip.traffic().log().is_empty();
    app.pexip.traffic().clear();
    assert_eq!(room_was_read, row.expected == SEEN, "{}", row.name);
    if row.expected == SEEN {
        assert_eq!(answer.room(), HANDED_OUT, "{}", row.name);
    } else {
        assert_agent_refused(answer, row.expected, &row.name);
        assert_eq!(answer.header("retry-after"), row.retry_after, "{}", row.name);
    }
}

/// Asserts that no token stands in the log in any form, and nothing that Genesys said of its own accord.
#[track_caller]
fn assert_clean(log: &[String], tokens: &[String]) {
    let forms = |token: &String| {
        [token.clone(), hex::encode(token), BASE64_STANDARD_NO_PAD.encode(token), BASE64_URL_SAFE_NO_PAD.encode(token)]
    };
    for secret in tokens.iter().flat_map(forms).chain([PLANTED.to_owned()]) {
        for line in log {
            assert!(!line.contains(&secret), "{secret} stands in {line}");
        }
    }
}

#[tokio::test]
async fn a_call_whose_reused_connection_was_closed_is_made_once_more() {
    for fault in [Fault::HangUpBefore, Fault::HangUpAfter] {
        for path in [TOKENS_ME, USERS_ME] {
            let app = start().await;
            assert_eq!(app.read_as_agent(&app.genesys.issue_token()).await.status, 200);
            app.genesys.traffic().clear();
            app.genesys.traffic().inject(Matching::any().path_contains(path), Times::Once, fault.clone());
            assert_eq!(app.read_as_agent(&app.genesys.issue_token()).await.status, 200, "{fault:?} {path}");
            assert_eq!(app.genesys.traffic().count(&Matching::any().path_contains(path)), 2, "{fault:?} {path}");

            // Once more, and not again and again.
            app.genesys.traffic().clear();
            app.genesys.traffic().inject(Matching::any().path_contains(path), Times::N(2), fault.clone());
            let answer = app.read_as_agent(&app.genesys.issue_token()).await;
            assert_agent_refused(&answer, UNAVAILABLE, path);
            assert_eq!(app.genesys.traffic().count(&Matching::any().path_contains(path)), 2, "{fault:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_call_on_a_connection_of_its_own_is_not_repeated() {
    let app = start().await;
    app.genesys.traffic().inject(Matching::any(), Times::Once, Fault::HangUpBefore);
    assert_agent_refused(&app.read_as_agent(&app.genesys.issue_token()).await, UNAVAILABLE, "the first call of all");
    assert_eq!(app.genesys_calls(), (1, 0));
}

#[tokio::test]
async fn genesys_is_asked_without_keeping_the_agents_session_alive() {
    let app = start().await;
    let token = app.genesys.issue_token();

    assert_eq!(app.read_as_agent(&token).await.room(), HANDED_OUT);

    let log = app.genesys.traffic().log();
    let asked: Vec<_> = log.iter().map(|exchange| (exchange.path.as_str(), exchange.query.as_str())).collect();
    assert_eq!(asked, [(TOKENS_ME, "preserveIdleTTL=true"), (USERS_ME, "expand=authorization")]);
    for exchange in &log {
        assert_eq!(exchange.headers["authorization"], format!("Bearer {token}"));
        assert!(!exchange.headers.contains_key("x-auth-token"));
    }
    assert_eq!(app.genesys.idle_timer_resets(&token), 0);
}

#[tokio::test]
async fn requests_without_a_token_are_challenged_without_an_error() {
    let app = start().await;
    let path = format!("public/room/{HANDED_OUT}");
    let bearer = app.request(Method::GET, &path).bearer_auth(app.genesys.issue_token());
    for request in [app.request(Method::GET, &path), bearer, app.request(Method::GET, "public/room/foreign")] {
        let answer = app.send(request).await;
        answer.assert_problem(401, "token_missing");
        assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="genesys""#);
    }
    app.assert_no_outside_calls("no token");
}

#[tokio::test]
async fn a_malformed_token_is_never_sent_to_genesys() {
    let app = start().await;
    let good = app.genesys.issue_token();
    let entra = app.entra.token().build();
    for token in [
        String::new(),
        "a".repeat(19),
        "a".repeat(2049),
        "=".repeat(30),
        format!("{good} {good}"),
        format!("{good},{good}"),
        format!("Bearer {good}"),
        format!("{good}=a"),
        format!("{good}\t{good}"),
        format!("{good}é"),
        format!("{good}%2e"),
        entra.clone(),
        format!("Bearer {entra}"),
        format!("{entra}=="),
        format!("{entra}.{good}.{good}"),
        entra[..=entra.rfind('.').expect("a signature")].to_owned(),
        entra[..entra.rfind('.').expect("a signature")].to_owned(),
        entra[..=entra.find('.').expect("a payload")].to_owned(),
    ] {
        assert_agent_refused(&app.read_as_agent(&token).await, INVALID, &token);
    }
    let twice = app.send(app.agent_read_request(&good).header("x-auth-token", &good)).await;
    assert_agent_refused(&twice, (400, "request_invalid"), "two tokens");
    app.assert_no_outside_calls("malformed tokens");

    for shortest_or_longest in ["a".repeat(20), "-._~+/".repeat(4) + "==", "a".repeat(2048)] {
        assert_agent_refused(&app.read_as_agent(&shortest_or_longest).await, INVALID, "of good form");
    }
    assert_eq!(app.genesys_calls(), (3, 0));
}

#[tokio::test]
async fn a_genesys_that_cannot_be_reached_or_proves_nothing_is_unavailable_and_gets_no_token() {
    let impostor = Traffic::default();
    let router = impostor.watch(Router::new());
    let impostor_server = Server::start_tls(router, &SelfSigned::new()).await;
    let stopped = GenesysSimulator::start().await;
    stopped.stop().await;
    let plain = GenesysSimulator::start().await;
    let mut over_tls = plain.api_url();
    over_tls.set_scheme("https").expect("one web scheme for another");
    for (name, url) in [
        ("its certificate is not trusted", impostor_server.url()),
        ("it speaks no TLS", over_tls),
        // An empty label: no resolver is asked about it.
        ("it has no address", "https://genesys..invalid/".parse().expect("a URL")),
        ("nobody listens", stopped.api_url()),
    ] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_API_URL", url).start().await;
        let answer = app.read_as_agent(&app.genesys.issue_token()).await;
        assert_agent_refused(&answer, UNAVAILABLE, name);
        assert_eq!(answer.header("retry-after"), "5", "{name}");
    }
    assert!(impostor.log().is_empty() && plain.traffic().log().is_empty());
}

#[tokio::test]
async fn a_verdict_applies_to_its_own_token_only() {
    let app = start().await;
    let (good, bad) = (app.genesys.issue_token(), app.genesys.issue(GenesysToken::default().state("inactive")));
    for _ in 0..2 {
        assert_eq!(app.read_as_agent(&good).await.status, 200);
        assert_agent_refused(&app.read_as_agent(&bad).await, NOT_PERMITTED, "inactive");
        assert_agent_refused(&app.read_as_agent(&good[1..]).await, INVALID, "cut off");
    }
    assert_eq!(app.genesys_calls(), (3, 2));
}

#[tokio::test]
async fn with_any_client_allowed_the_organisation_is_still_checked() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_OAUTH_CLIENT_IDS", "*").start().await;
    let ours = app.genesys.issue(GenesysToken::default().oauth_client_id(STRANGER).omit("OAuthClient"));
    app.read_as_agent(&ours).await.assert_problem(404, "room_not_found");
    let theirs = app.genesys.issue(GenesysToken::default().organization_id(STRANGER));
    assert_agent_refused(&app.read_as_agent(&theirs).await, NOT_PERMITTED, "another organisation");
}

#[tokio::test]
async fn users_of_each_listed_division_are_accepted() {
    let divisions = format!(" {STRANGER} , {}", DIVISION_ID.to_uppercase());
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_DIVISION_IDS", divisions).start().await;
    app.insert_handed_out_room();
    for division in [STRANGER, DIVISION_ID] {
        let token = app.genesys.issue(GenesysToken::default().division_id(division));
        assert_eq!(app.read_as_agent(&token).await.room(), HANDED_OUT, "{division}");
    }
    let token = app.genesys.issue(GenesysToken::default().division_id("99999999-0000-469f-a165-70867728950e"));
    assert_agent_refused(&app.read_as_agent(&token).await, NOT_PERMITTED, "a third division");
}

#[tokio::test]
async fn without_a_list_of_divisions_the_division_is_not_looked_at() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_DIVISION_IDS", "*").start().await;
    app.insert_handed_out_room();
    for token in [GenesysToken::default().division_id(STRANGER), GenesysToken::default().omit("division")] {
        let token = app.genesys.issue(token);
        assert_eq!(app.read_as_agent(&token).await.room(), HANDED_OUT);
    }
}
