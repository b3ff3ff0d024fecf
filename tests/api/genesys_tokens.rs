//! Every way in which a Genesys token is refused, what Genesys is asked about one, and how long that is believed.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, GenesysToken, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TAG, TestApp, eventually, within};

const ROOM: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
const TOKENS_ME: &str = "/api/v2/tokens/me";
const USERS_ME: &str = "/api/v2/users/me";
const INVALID: &str = r#"Bearer realm="genesys", error="invalid_token", error_description="token validation failed""#;
const STRANGER: &str = "99999999-d9cb-469f-a165-70867728950e";

/// A service with one room that was handed out, which believes an answer of Genesys this long.
async fn start(cache_seconds: u64) -> TestApp {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_CACHE_SECONDS", cache_seconds).start().await;
    app.pexip.insert(StoredRoom::named(ROOM).tagged(TAG).with_pins("193604", "852117").with_alias(ROOM));
    app
}

async fn look(app: &TestApp, token: &str) -> Answer {
    app.send(app.request(Method::GET, &format!("public/room/{ROOM}")).header("x-auth-token", token)).await
}

/// Calls of `tokens/me` and of `users/me`.
fn look_ups(app: &TestApp) -> (usize, usize) {
    let count = |path: &str| app.genesys.traffic().count(&Matching::any().path_contains(path));
    (count(TOKENS_ME), count(USERS_ME))
}

#[track_caller]
fn assert_refused(app: &TestApp, name: &str, answer: &Answer, (status, code): (u16, &str)) {
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (status, Some(code)), "{name}: {answer:?}");
    answer.assert_problem(status, code);
    assert_eq!(answer.header("www-authenticate"), if status == 401 { INVALID } else { "" }, "{name}: {answer:?}");
    assert_eq!(app.pexip.traffic().log().len(), 0, "{name}");
}

#[tokio::test]
async fn an_active_agent_of_our_organisation_in_our_widget_sees_the_room() {
    let app = start(60).await;
    let token = app.genesys.issue_token();

    let answer = look(&app, &token).await;

    assert_eq!(answer.room(), ROOM);
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
    let app = start(60).await;
    let path = format!("public/room/{ROOM}");
    let bearer = app.request(Method::GET, &path).bearer_auth(app.genesys.issue_token());
    for request in [app.request(Method::GET, &path), bearer, app.request(Method::GET, "public/room/foreign")] {
        let answer = app.send(request).await;
        answer.assert_problem(401, "token_missing");
        assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="genesys""#);
    }
    app.assert_nobody_was_asked("no token");
}

#[tokio::test]
async fn what_cannot_be_a_genesys_token_is_never_sent_to_genesys() {
    let app = start(60).await;
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
        entra.clone(),
        format!("Bearer {entra}"),
        format!("{entra}.{good}.{good}"),
        entra[..=entra.rfind('.').expect("a signature")].to_owned(),
    ] {
        assert_refused(&app, &token, &look(&app, &token).await, (401, "token_invalid"));
    }
    let twice = app.request(Method::GET, &format!("public/room/{ROOM}")).header("x-auth-token", &good);
    let answer = app.send(twice.header("x-auth-token", &good)).await;
    assert_refused(&app, "two tokens", &answer, (400, "request_invalid"));
    app.assert_nobody_was_asked("malformed tokens");

    for shortest_or_longest in ["a".repeat(20), "-._~+/".repeat(4) + "==", "a".repeat(2048)] {
        assert_refused(&app, "of good form", &look(&app, &shortest_or_longest).await, (401, "token_invalid"));
    }
    assert_eq!(look_ups(&app), (3, 0));
}

#[tokio::test]
async fn tokens_that_genesys_knows_but_we_do_not_permit_are_refused_and_remembered() {
    let app = start(60).await;
    let agent = GenesysToken::default;
    for (name, token, users_asked) in [
        ("another organisation", agent().organization_id(STRANGER), 0),
        ("another client", agent().oauth_client_id(STRANGER), 0),
        ("another home", agent().home_organization_id(STRANGER), 0),
        ("cloned user", agent().cloned_user(), 0),
        ("cloned user from elsewhere", agent().cloned_user().home_organization_id(STRANGER), 0),
        ("inactive", agent().state("inactive"), 1),
        ("deleted", agent().state("deleted"), 1),
        ("ACTIVE", agent().state("ACTIVE"), 1),
    ] {
        app.genesys.traffic().clear();
        let token = app.genesys.issue(token);
        for _ in 0..3 {
            assert_refused(&app, name, &look(&app, &token).await, (403, "not_permitted"));
        }
        assert_eq!(look_ups(&app), (1, users_asked), "{name}");
    }
}

#[tokio::test]
async fn tokens_that_genesys_does_not_know_are_refused_and_remembered() {
    let app = start(60).await;
    let ended = app.genesys.issue(GenesysToken::default().idles_in(Duration::ZERO));
    let revoked = app.genesys.issue_token();
    app.genesys.revoke(&revoked);
    for (name, token) in [("made up", "a-token-that-nobody-issued"), ("idle", &ended), ("revoked", &revoked)] {
        app.genesys.traffic().clear();
        for _ in 0..3 {
            assert_refused(&app, name, &look(&app, token).await, (401, "token_invalid"));
        }
        assert_eq!(look_ups(&app), (1, 0), "{name}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_second_call_is_a_refusal() {
    let app = start(60).await;
    for (status, refusal) in [(401, (401, "token_invalid")), (403, (403, "not_permitted"))] {
        app.genesys.traffic().clear();
        app.genesys.traffic().inject(Matching::any().path_contains(USERS_ME), Times::Once, Fault::Status(status));
        let token = app.genesys.issue_token();
        for _ in 0..3 {
            assert_refused(&app, "users/me", &look(&app, &token).await, refusal);
        }
        assert_eq!(look_ups(&app), (1, 1));
    }
}

fn json_answer(body: String) -> Fault {
    Fault::StatusWith { status: 200, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body }
}

/// What an active agent's token gives, as `tokens/me` and `users/me` say it.
fn good_bodies(app: &TestApp) -> [(&'static str, Value); 2] {
    let organization = json!({ "id": app.genesys.organization_id(), "name": "maximuscanada" });
    let info = json!({ "organization": organization, "homeOrganization": organization,
                       "OAuthClient": { "id": app.genesys.oauth_client_id() } });
    [(TOKENS_ME, info), (USERS_ME, json!({ "id": STRANGER, "state": "active" }))]
}

#[tokio::test]
async fn answers_that_nobody_agreed_on_are_a_bad_gateway_and_never_a_pass_or_remembered() {
    let app = start(60).await;
    for (path, good) in good_bodies(&app) {
        // As good as the true one, but for its length.
        let padded = good.to_string() + &" ".repeat(256 * 1024);
        for fault in [
            Fault::Status(404),
            Fault::Status(400),
            Fault::Status(204),
            Fault::StatusWith { status: 201, headers: Vec::new(), body: good.to_string() },
            Fault::Rubbish,
            Fault::HugeBody(300_000),
            Fault::Redirect(format!("{}elsewhere", app.genesys.api_url())),
            json_answer(padded),
            json_answer(String::new()),
            json_answer("{}".to_owned()),
            json_answer("null".to_owned()),
            json_answer(format!("{good}{good}")),
            json_answer(good.to_string().replacen('{', r#"{"id":7,"organization":7,"#, 1)),
        ] {
            let name: String = format!("{path} {fault:?}").chars().take(200).collect();
            app.genesys.traffic().inject(Matching::any().path_contains(path), Times::Once, fault);
            let token = app.genesys.issue_token();
            assert_refused(&app, &name, &look(&app, &token).await, (502, "genesys_invalid"));
            assert_eq!(look(&app, &token).await.status, 200, "{name}");
            app.pexip.traffic().clear();
        }
    }
    assert!(app.genesys.traffic().log().iter().all(|exchange| exchange.path.starts_with("/api/v2/")));
}

#[tokio::test]
async fn long_answers_with_everything_in_them_are_read() {
    let app = start(60).await;
    for (path, good) in good_bodies(&app) {
        let padded = good.to_string() + &" ".repeat(200 * 1024);
        app.genesys.traffic().inject(Matching::any().path_contains(path), Times::Once, json_answer(padded));
        assert_eq!(look(&app, &app.genesys.issue_token()).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_checked_member_that_is_missing_is_a_bad_gateway_not_a_pass() {
    let app = start(60).await;
    for member in [
        "organization",
        "organization.id",
        "homeOrganization",
        "homeOrganization.id",
        "OAuthClient",
        "OAuthClient.id",
        "id",
        "state",
    ] {
        let token = app.genesys.issue(GenesysToken::default().omit(member));
        assert_refused(&app, member, &look(&app, &token).await, (502, "genesys_invalid"));
    }
}

#[tokio::test]
async fn an_outage_is_unavailable_never_a_refusal_and_never_remembered() {
    let app = start(60).await;
    let with_wait = |status: u16, wait: &str| Fault::StatusWith {
        status,
        headers: vec![("retry-after".to_owned(), wait.to_owned())],
        body: String::new(),
    };
    for path in [TOKENS_ME, USERS_ME] {
        for (fault, wait) in [
            (Fault::Status(429), "5"),
            (with_wait(429, "42"), "42"),
            (with_wait(429, "0"), "1"),
            (with_wait(429, "3600"), "60"),
            (with_wait(429, "Wed, 21 Oct 2037 07:28:00 GMT"), "5"),
            (with_wait(503, "7"), "7"),
            (Fault::Status(500), "5"),
            (Fault::Status(502), "5"),
            (Fault::Status(504), "5"),
            (Fault::StatusAfter(503), "5"),
            (Fault::HangUpBefore, "5"),
            (Fault::HangUpAfter, "5"),
        ] {
            let name = format!("{path} {fault:?}");
            app.genesys.traffic().inject(Matching::any().path_contains(path), Times::Once, fault);
            let token = app.genesys.issue_token();
            let answer = look(&app, &token).await;
            assert_refused(&app, &name, &answer, (503, "genesys_unavailable"));
            assert_eq!(answer.header("retry-after"), wait, "{name}");
            assert_eq!(look(&app, &token).await.status, 200, "{name}");
            app.pexip.traffic().clear();
        }
    }
}

#[tokio::test]
async fn a_genesys_that_cannot_be_reached_or_does_not_answer_is_unavailable() {
    let app = start(60).await;
    let token = app.genesys.issue_token();
    app.genesys.traffic().inject(Matching::any(), Times::Once, Fault::Stall);
    assert_refused(&app, "stalled", &look(&app, &token).await, (503, "genesys_unavailable"));
    app.genesys.stop().await;
    assert_refused(&app, "stopped", &look(&app, &token).await, (503, "genesys_unavailable"));
    app.genesys.restart().await;
    assert_eq!(look(&app, &token).await.status, 200);
}

#[tokio::test]
async fn agents_who_ask_at_the_same_time_with_one_token_share_one_look_up() {
    let app = start(60).await;
    app.genesys.traffic().inject(Matching::any(), Times::Always, Fault::Slow(Duration::from_millis(150)));
    let token = app.genesys.issue_token();
    let looks =
        (0..20).map(|_| app.request(Method::GET, &format!("public/room/{ROOM}")).header("x-auth-token", &token).send());
    for answer in within("all looks", join_all(looks)).await {
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    assert_eq!(look_ups(&app), (1, 1));
}

#[tokio::test]
async fn a_flood_of_tokens_is_not_a_flood_at_genesys() {
    let app = start(60).await;
    app.genesys.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let looks: Vec<_> = (0..40)
        .map(|number| {
            let request = app.request(Method::GET, &format!("public/room/{ROOM}"));
            tokio::spawn(request.header("x-auth-token", format!("a-token-of-nobody-{number:03}")).send())
        })
        .collect();
    eventually("the first look-ups are on their way", async || look_ups(&app).0 == 16).await;
    // Enough turns for any further one to arrive.
    for _ in 0..20 {
        app.send(app.request(Method::GET, "health/live")).await;
    }
    assert_eq!(look_ups(&app), (16, 0));
    app.genesys.traffic().heal();
    for answer in within("the flood is answered", join_all(looks)).await {
        let answer = Answer::read(answer.expect("no panic").expect("an answer")).await;
        assert_refused(&app, "flood", &answer, (401, "token_invalid"));
    }
    assert_eq!(look_ups(&app), (40, 0));
}

#[tokio::test]
async fn a_good_answer_is_believed_as_long_as_the_settings_say() {
    let app = start(3600).await;
    let token = app.genesys.issue_token();
    assert_eq!(look(&app, &token).await.status, 200);
    app.genesys.revoke(&token);
    app.genesys.stop().await;
    for _ in 0..3 {
        assert_eq!(look(&app, &token).await.status, 200);
    }
    assert_eq!(look_ups(&app), (1, 1));

    let app = start(1).await;
    let token = app.genesys.issue_token();
    assert_eq!(look(&app, &token).await.status, 200);
    app.genesys.revoke(&token);
    eventually("the token is refused", async || look(&app, &token).await.status == 401).await;
    assert_eq!(look_ups(&app), (2, 1));
}

#[tokio::test]
async fn without_a_cache_every_look_asks_genesys() {
    let app = start(0).await;
    let token = app.genesys.issue_token();
    for looks in 1..=4 {
        assert_eq!(look(&app, &token).await.status, 200);
        assert_eq!(look_ups(&app), (looks, looks));
    }
    app.genesys.revoke(&token);
    assert_eq!(look(&app, &token).await.status, 401);
}

#[tokio::test]
async fn no_answer_is_believed_longer_than_the_token_lives() {
    let app = start(3600).await;
    let token = app.genesys.issue(GenesysToken::default().idles_in(Duration::from_secs(1)));
    // A loaded machine may take the second for the start alone; the simulator says when that is so.
    let first = look(&app, &token).await.status;
    assert!(first == 200 || first == 401, "{first}");
    eventually("the token is refused", async || look(&app, &token).await.status == 401).await;
}

#[tokio::test]
async fn what_is_known_of_one_token_says_nothing_of_another() {
    let app = start(60).await;
    let (good, bad) = (app.genesys.issue_token(), app.genesys.issue(GenesysToken::default().state("inactive")));
    for _ in 0..2 {
        assert_eq!(look(&app, &good).await.status, 200);
        look(&app, &bad).await.assert_problem(403, "not_permitted");
        look(&app, &good[1..]).await.assert_problem(401, "token_invalid");
    }
    assert_eq!(look_ups(&app), (3, 2));
}

#[tokio::test]
async fn where_any_client_is_accepted_the_organisation_still_counts() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_OAUTH_CLIENT_IDS", "*").start().await;
    let ours = app.genesys.issue(GenesysToken::default().oauth_client_id(STRANGER));
    look(&app, &ours).await.assert_problem(404, "room_not_found");
    let theirs = app.genesys.issue(GenesysToken::default().organization_id(STRANGER));
    look(&app, &theirs).await.assert_problem(403, "not_permitted");
}
