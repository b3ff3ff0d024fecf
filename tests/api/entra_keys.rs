//! How the service reads the keys of Entra tokens, and what it answers if they cannot be read.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use maxconf_simulators::entra::{SigningKey, TENANT_ID};
use maxconf_simulators::{EntraSimulator, Fault, Matching, Times};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, CapturedLog, TestApp, TestAppBuilder, eventually, stop_time, time_passes, v2_key_fetches, within,
};

pub(crate) const V2_KEYS: &str = "/discovery/v2.0/keys";
const V1_KEYS: &str = "/discovery/keys";

/// A service that looks up an unknown `kid` as often as the settings allow.
pub(crate) fn with_short_gate() -> TestAppBuilder {
    TestApp::with().set("POOL_TARGET_SIZE", 0).set("ENTRA_KEYS_MIN_REFRESH_SECONDS", 1)
}

/// A service whose Entra is another than its own, so that a test can prepare it before the service starts.
async fn started_with(entra: &EntraSimulator) -> TestApp {
    with_short_gate().set("ENTRA_AUTHORITY_URL", entra.authority_url()).start().await
}

/// A key set with exactly these keys.
pub(crate) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn ok(body: String) -> Fault {
    Fault::StatusWith { status: 200, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body }
}

pub(crate) fn changed(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

/// A token under a `kid` that is not published.
pub(crate) fn of_a_stranger(entra: &EntraSimulator, number: usize) -> String {
    entra.token().signed_by(&stranger_key()).header("kid", format!("made-up-{number}")).build()
}

pub(crate) fn stranger_key() -> SigningKey {
    SigningKey::unpublished()
}

#[track_caller]
pub(crate) fn assert_unavailable(answer: &Answer) {
    answer.assert_problem(503, "entra_unavailable");
    assert!(!answer.headers.contains_key("www-authenticate"), "{answer:?}");
}

/// One hourly refresh takes place. Its keys are in use when it is logged, which is later than Entra's answer.
///
/// The read before it must be over, as it is when a token has been accepted: the next one is an hour after its end.
pub(crate) async fn hour_passes() {
    let log = CapturedLog::start();
    let is_of_v2 = |line: &str| line.contains("Entra keys read") && line.contains(r#""token_version":"v2""#);
    time_passes(Duration::from_secs(67 * 60)).await;
    eventually("the scheduled refresh", async || log.after(0).lines().any(is_of_v2)).await;
}

#[tokio::test]
async fn an_entra_that_cannot_be_reached_is_tried_again_until_it_can() {
    let entra = EntraSimulator::start().await;
    let token = entra.token().build();
    entra.stop().await;
    let app = started_with(&entra).await;
    assert_unavailable(&app.create_with(&token).await);
    entra.restart().await;
    eventually("the keys are read", async || app.create_with(&token).await.status == 200).await;
}

#[tokio::test]
async fn after_a_failure_the_keys_are_read_without_a_restart() {
    let faults =
        [Fault::Status(500), Fault::Rubbish, Fault::HangUpBefore, ok("{}".to_owned()), Fault::HugeBody(300_000)];
    let services = faults.map(async |fault| {
        let entra = EntraSimulator::start().await;
        let first = entra.token().build();
        entra.traffic().inject(Matching::any(), Times::Always, fault.clone());
        let app = started_with(&entra).await;
        assert_unavailable(&app.create_with(&first).await);
        entra.traffic().heal();
        eventually("the first keys are read", async || app.create_with(&first).await.status == 200).await;

        entra.traffic().inject(Matching::any(), Times::Always, fault);
        entra.rotate_key();
        let second = entra.token().build();
        assert_unavailable(&app.create_with(&second).await);
        entra.traffic().heal();
        eventually("the new key is read", async || app.create_with(&second).await.status == 200).await;
    });
    within("all services", join_all(services)).await;
}

#[tokio::test]
async fn entra_is_left_alone_for_as_long_as_it_asks_but_for_a_minute_at_most() {
    for (status, asked, wait) in [(503, "40", 40), (429, "3600", 60), (503, "Fri, 31 Dec 9999 23:59:59 GMT", 60)] {
        let _time = stop_time();
        let entra = EntraSimulator::start().await;
        let headers = vec![("retry-after".to_owned(), asked.to_owned())];
        let busy = Fault::StatusWith { status, headers, body: String::new() };
        entra.traffic().inject(Matching::any(), Times::Always, busy);
        let app = started_with(&entra).await;
        let token = entra.token().build();
        assert_unavailable(&app.create_with(&token).await);
        eventually("both versions are asked for", async || entra.traffic().log().len() == 2).await;
        entra.traffic().heal();

        time_passes(Duration::from_secs(wait - 1)).await;
        assert_unavailable(&app.create_with(&token).await);
        assert_eq!(entra.traffic().log().len(), 2, "{status}, {asked}");

        time_passes(Duration::from_secs(2)).await;
        eventually("the keys are read", async || app.create_with(&token).await.status == 200).await;
    }
}

#[tokio::test]
async fn a_service_whose_only_keys_are_weak_is_not_ready() {
    let entra = EntraSimulator::start().await;
    let weak = changed(entra.jwk_json(&entra.keys()[0]), "n", json!(BASE64_URL_SAFE_NO_PAD.encode([0xc3; 128])));
    entra.publish_raw_jwks(Some(key_set(&[weak])));
    let app = started_with(&entra).await;
    assert_unavailable(&app.create_with(&entra.token().build()).await);
    assert_eq!(app.send(app.request(Method::GET, "health/ready")).await.json()["checks"]["entra"], "failing");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_once_two_scheduled_refreshes_in_a_row_have_lacked_it() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let old = app.entra.token().build();
    assert_eq!(app.create_with(&old).await.status, 200);
    app.entra.rotate_key();
    app.entra.remove_key(&app.entra.keys()[0].kid);
    // That an unknown kid made the service look does not count.
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    assert_eq!(app.create_with(&old).await.status, 200);

    hour_passes().await;
    assert_eq!(app.create_with(&old).await.status, 200);
    hour_passes().await;
    eventually("the key is refused", async || {
        let answer = app.create_with(&old).await;
        answer.status == 503 && answer.json()["code"] == "entra_unavailable"
    })
    .await;
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
}

#[tokio::test]
async fn a_key_that_entra_leaves_out_now_and_then_stays() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let flapping = app.entra.token().build();
    assert_eq!(app.create_with(&flapping).await.status, 200);
    app.entra.rotate_key();
    let without = key_set(&[app.entra.jwk_json(&app.entra.keys()[1])]);
    for round in 0..4 {
        app.entra.publish_raw_jwks((round % 2 == 0).then(|| without.clone()));
        hour_passes().await;
        assert_eq!(app.create_with(&flapping).await.status, 200, "round {round}");
        assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200, "round {round}");
    }
}

#[tokio::test]
async fn a_key_that_no_read_has_listed_for_a_day_is_not_used() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let old = app.entra.token().build();
    assert_eq!(app.create_with(&old).await.status, 200);
    app.entra.rotate_key();
    app.entra.remove_key(&app.entra.keys()[0].kid);
    let new = app.entra.token().build();
    // One scheduled refresh lacks the old key, which is too few to drop it; all later ones fail.
    hour_passes().await;
    assert_eq!(app.create_with(&new).await.status, 200);
    assert_eq!(v2_key_fetches(&app.entra), 2, "no unknown kid made the service look");
    app.entra.traffic().inject(Matching::any(), Times::Always, Fault::Status(500));

    // 23 hours and 37 minutes after the read that listed the old key, then an hour more. The new one was listed 67 minutes
    // after it.
    time_passes(Duration::from_secs(22 * 3600 + 1800)).await;
    assert_eq!(app.create_with(&old).await.status, 200);
    time_passes(Duration::from_secs(3600)).await;
    assert_unavailable(&app.create_with(&old).await);
    assert_eq!(app.create_with(&new).await.status, 200);
}

#[tokio::test]
async fn keys_not_read_again_for_a_day_are_not_used() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let token = app.entra.token().build();
    // Now the service has them as well, before the time that passes.
    assert_eq!(app.create_with(&token).await.status, 200);
    app.entra.traffic().inject(Matching::any(), Times::Always, Fault::Status(500));

    time_passes(Duration::from_secs(23 * 3600)).await;
    assert_eq!(app.create_with(&token).await.status, 200);
    time_passes(Duration::from_secs(2 * 3600)).await;
    assert_unavailable(&app.create_with(&token).await);

    app.entra.traffic().heal();
    time_passes(Duration::from_secs(80)).await;
    eventually("the keys are read", async || app.create_with(&token).await.status == 200).await;
}

#[tokio::test]
async fn a_request_times_out_if_entra_is_slow_and_no_key_is_known() {
    let entra = EntraSimulator::start().await;
    entra.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let app = started_with(&entra).await;
    let waiting = tokio::spawn(app.request(Method::POST, "room/create").bearer_auth(entra.token().build()).send());
    eventually("both versions are asked for", async || entra.traffic().log().len() == 2).await;
    assert!(!waiting.is_finished());

    time_passes(Duration::from_secs(6)).await;

    let answer = within("an answer", waiting).await.expect("no panic").expect("an answer");
    assert_unavailable(&Answer::read(answer).await);
}

#[tokio::test]
async fn a_v2_issuer_on_another_host_is_refused() {
    let entra = EntraSimulator::start().await;
    let issuer = format!("https://login.example/{TENANT_ID}/v2.0");
    let mut key = entra.jwk_json(&entra.keys()[0]);
    key["issuer"] = json!(issuer);
    entra.publish_raw_jwks(Some(key_set(&[key])));
    let keys = format!("{}{TENANT_ID}{V2_KEYS}", entra.authority_url());
    let document = ok(json!({ "issuer": issuer, "jwks_uri": keys }).to_string());
    entra.traffic().inject(Matching::any().path_contains("/v2.0/.well-known"), Times::Always, document);
    let app = started_with(&entra).await;
    assert_unavailable(&app.create_with(&entra.token().claim("iss", issuer).build()).await);
}

#[tokio::test]
async fn each_version_is_verified_by_its_own_keys() {
    let entra = EntraSimulator::start().await;
    let (v1_key, v2_key) = (entra.keys()[0].clone(), entra.rotate_key());
    let mut v1_jwk = entra.jwk_json(&v1_key);
    v1_jwk.as_object_mut().expect("an object").remove("issuer");
    entra.traffic().inject(Matching::any().path_contains(V1_KEYS), Times::Always, ok(key_set(&[v1_jwk])));
    entra.remove_key(&v1_key.kid);
    let app = started_with(&entra).await;

    let ask = async |token: maxconf_simulators::entra::TokenBuilder| app.create_with(&token.build()).await;
    assert_eq!(ask(entra.token().v1().signed_by(&v1_key)).await.status, 200);
    assert_eq!(ask(entra.token().signed_by(&v2_key)).await.status, 200);
    assert_unavailable(&ask(entra.token().v1().signed_by(&v2_key)).await);
    assert_unavailable(&ask(entra.token().signed_by(&v1_key)).await);
}

#[tokio::test]
async fn a_failure_for_one_version_does_not_affect_the_other() {
    let entra = EntraSimulator::start().await;
    entra.traffic().inject(Matching::any().path_contains(V1_KEYS), Times::Always, Fault::Status(500));
    let app = started_with(&entra).await;
    assert_eq!(app.create_with(&entra.token().build()).await.status, 200);
    assert_unavailable(&app.create_with(&entra.token().v1().build()).await);
}

#[tokio::test]
async fn a_slow_entra_does_not_delay_tokens_with_known_keys() {
    let app = with_short_gate().start().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    app.entra.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let asked = app.entra.traffic().log().len();
    let stranger = app.request(Method::POST, "room/create?uuiData=31").bearer_auth(of_a_stranger(&app.entra, 0));
    let stranger = tokio::spawn(stranger.send());
    eventually("the look-up is on its way", async || app.entra.traffic().log().len() > asked).await;

    for _ in 0..10 {
        assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    }
    assert_eq!(app.entra.traffic().log().len(), asked + 1);
    assert!(!stranger.is_finished());
    app.entra.traffic().heal();
    let answer = within("the stranger is answered", stranger).await.expect("no panic").expect("an answer");
    assert_unavailable(&Answer::read(answer).await);
}
