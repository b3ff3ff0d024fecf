//! Where the keys come from that Entra tokens are checked with, and what happens when they do not come.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use maxconf_simulators::entra::{SigningKey, TENANT_ID};
use maxconf_simulators::{EntraSimulator, Fault, Matching, Times};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, IDIM_ROUTES, TestApp, TestAppBuilder, assert_token_invalid, eventually, v1_key_fetches, v2_key_fetches,
    within,
};

const V2_KEYS: &str = "/discovery/v2.0/keys";
const V1_KEYS: &str = "/discovery/keys";
const V2_METADATA: &str = "/v2.0/.well-known/openid-configuration";

/// A service that looks up an unknown `kid` as often as the settings allow.
fn with_short_gate() -> TestAppBuilder {
    TestApp::with().set("POOL_TARGET_SIZE", 0).set("ENTRA_KEYS_MIN_REFRESH_SECONDS", 1)
}

/// A service whose Entra is another than its own, so that a test can prepare it before the service starts.
async fn started_with(entra: &EntraSimulator) -> TestApp {
    with_short_gate().set("ENTRA_AUTHORITY_URL", entra.authority_url()).start().await
}

/// A key set with exactly these keys.
fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn ok(body: String) -> Fault {
    Fault::StatusWith { status: 200, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body }
}

fn changed(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

/// A token under a `kid` that nobody has published.
fn of_a_stranger(entra: &EntraSimulator, number: usize) -> String {
    entra.token().signed_by(&SigningKey::stranger()).header("kid", format!("made-up-{number}")).build()
}

fn assert_unavailable(answer: &Answer) {
    answer.assert_problem(503, "entra_unavailable");
    assert!(!answer.headers.contains_key("www-authenticate"), "{answer:?}");
}

#[tokio::test]
async fn a_new_key_is_looked_up_at_once_and_the_old_one_stays() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let old = app.entra.token().build();
    app.entra.rotate();

    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    assert_eq!(v2_key_fetches(&app.entra), 2);
    assert_eq!(v1_key_fetches(&app.entra), 1);
    assert_eq!(app.create_with(&app.entra.token().v1().build()).await.status, 200);
    assert_eq!(app.create_with(&old).await.status, 200);
    assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (2, 2));
}

#[tokio::test]
async fn a_flood_of_made_up_kids_fetches_the_keys_once() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let kids = ["../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1/keys", "\u{0}", "{tenantid}"];
    for (number, kid) in kids.into_iter().enumerate() {
        let token = app.entra.token().header("kid", kid).build();
        assert_token_invalid(&app.ask_idim(&IDIM_ROUTES[number % 2], format!("Bearer {token}")).await);
    }
    let flood = (0..40).map(|number| {
        let token = of_a_stranger(&app.entra, number);
        app.request(Method::POST, "room/create?uuiData=31").bearer_auth(token).send()
    });
    for answer in within("the flood is answered", join_all(flood)).await {
        assert_token_invalid(&Answer::read(answer.expect("an answer")).await);
    }

    assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (1, 2));
    app.assert_nobody_was_asked("made-up kids");
    let known = ["configuration", "keys"];
    for exchange in app.entra.traffic().log() {
        assert!(known.iter().any(|end| exchange.path.ends_with(end)) && exchange.query.is_empty(), "{exchange:?}");
    }
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
}

#[tokio::test]
async fn a_failing_entra_is_not_asked_again_for_every_made_up_kid() {
    let app = with_short_gate().start().await;
    app.entra_keys_are_read().await;
    app.entra.traffic().inject(Matching::any().path_contains(V2_KEYS), Times::Always, Fault::Status(500));
    for number in 0..40 {
        assert_token_invalid(&app.create_with(&of_a_stranger(&app.entra, number)).await);
    }
    // The pauses between tries double from a second on, so a machine would have to be very slow for this many.
    assert!((2..10).contains(&v2_key_fetches(&app.entra)), "{}", v2_key_fetches(&app.entra));
}

#[tokio::test]
async fn after_the_gate_the_next_made_up_kid_fetches_once_more() {
    let app = with_short_gate().start().await;
    app.entra_keys_are_read().await;
    assert_token_invalid(&app.create_with(&of_a_stranger(&app.entra, 0)).await);
    assert_eq!(v2_key_fetches(&app.entra), 2);
    eventually("another fetch", async || {
        assert_token_invalid(&app.create_with(&of_a_stranger(&app.entra, 1)).await);
        v2_key_fetches(&app.entra) == 3
    })
    .await;
    let log = app.entra.traffic().log();
    let fetched: Vec<_> = log.iter().filter(|exchange| exchange.path.ends_with(V2_KEYS)).map(|one| one.at).collect();
    assert!(fetched[2] - fetched[1] >= std::time::Duration::from_millis(950), "{fetched:?}");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_after_the_next_refresh() {
    let app = with_short_gate().start().await;
    let old = app.entra.token().build();
    assert_eq!(app.create_with(&old).await.status, 200);
    let key = app.entra.rotate();
    app.entra.remove_key(&app.entra.keys()[0].kid);

    // Looking up the new key is what refreshes.
    assert_eq!(app.create_with(&app.entra.token().signed_by(&key).build()).await.status, 200);
    assert_token_invalid(&app.create_with(&old).await);
}

/// What `keys_that_cannot_be_used_never_replace_good_ones` lets Entra answer, by the path that it breaks.
fn broken_answers(entra: &EntraSimulator) -> Vec<(&'static str, Fault)> {
    let new_key = entra.keys().last().map(|key| entra.jwk_json(key)).expect("a key");
    let good_set = key_set(std::slice::from_ref(&new_key));
    let padded = good_set.clone() + &" ".repeat(5_000_000);
    let v2_metadata = |issuer: &str, keys: &str| ok(json!({ "issuer": issuer, "jwks_uri": keys }).to_string());
    let authority = entra.authority_url();
    let (keys, issuer) = (format!("{authority}{TENANT_ID}{V2_KEYS}"), format!("{authority}{TENANT_ID}/v2.0"));
    let mut answers = vec![
        (V2_KEYS, Fault::Status(500)),
        (V2_KEYS, Fault::Status(404)),
        (V2_KEYS, Fault::StatusWith { status: 503, headers: Vec::new(), body: good_set.clone() }),
        (V2_KEYS, Fault::Rubbish),
        (V2_KEYS, Fault::HangUpBefore),
        // The target has the new key and would do.
        (V2_KEYS, Fault::Redirect(format!("{authority}{TENANT_ID}{V1_KEYS}"))),
        (V2_KEYS, ok(padded)),
        (V2_KEYS, ok(good_set[..good_set.len() - 2].to_owned())),
        (V2_KEYS, ok(key_set(&[changed(new_key.clone(), "kid", json!(7)), json!("text"), Value::Null]))),
        (V2_KEYS, ok(key_set(&[changed(new_key, "n", json!("AQAB"))]))),
        (V2_METADATA, Fault::Status(500)),
        (V2_METADATA, Fault::Rubbish),
        (V2_METADATA, Fault::Redirect(format!("{authority}elsewhere"))),
        (V2_METADATA, v2_metadata(&issuer.replace("aaaa", "ffff"), &keys)),
        (V2_METADATA, v2_metadata(&issuer.replace(TENANT_ID, "{tenantid}"), &keys)),
        (V2_METADATA, v2_metadata(&issuer, "no address")),
        (V2_METADATA, ok(json!({ "issuer": issuer }).to_string())),
    ];
    for body in ["", "{}", "null", "[]", r#"{"keys":[]}"#, r#"{"keys":{}}"#, r#"{"keys":null}"#, "<html></html>"] {
        answers.push((V2_KEYS, ok(body.to_owned())));
    }
    answers
}

#[tokio::test]
async fn keys_that_cannot_be_used_never_replace_good_ones() {
    let count = broken_answers(&EntraSimulator::start().await).len();
    let services = (0..count).map(async |number| {
        let app = with_short_gate().start().await;
        app.entra_keys_are_read().await;
        let old = app.entra.token().build();
        app.entra.rotate();
        let new = app.entra.token().build();
        let (path, fault) = broken_answers(&app.entra).swap_remove(number);
        let mut name = format!("{path} {fault:?}");
        name.truncate(200);
        app.entra.traffic().inject(Matching::any().path_contains(path), Times::Always, fault);

        let answer = app.create_with(&new).await;
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
        assert_token_invalid(&answer);
        assert!(app.entra.traffic().log().iter().all(|exchange| !exchange.path.contains("elsewhere")), "{name}");
        let answer = app.create_with(&old).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");

        app.entra.traffic().heal();
        eventually("the new key is read", async || app.create_with(&new).await.status == 200).await;
    });
    within("all services", join_all(services)).await;
}

#[tokio::test]
async fn without_any_key_nobody_is_called_invalid_and_the_service_recovers_by_itself() {
    let faults =
        [Fault::Status(500), Fault::Rubbish, Fault::HangUpBefore, ok("{}".to_owned()), Fault::HugeBody(300_000)];
    let services = faults.map(async |fault| {
        let entra = EntraSimulator::start().await;
        entra.traffic().inject(Matching::any(), Times::Always, fault);
        let app = started_with(&entra).await;
        let token = format!("Bearer {}", entra.token().build());
        for route in &IDIM_ROUTES {
            assert_unavailable(&app.ask_idim(route, &token).await);
        }
        app.assert_nobody_was_asked("no keys");
        // What needs no key to be refused is refused.
        assert_token_invalid(&app.create_with("a.b.c").await);

        entra.traffic().heal();
        eventually("the keys are read", async || app.ask_idim(&IDIM_ROUTES[0], &token).await.status == 200).await;
    });
    within("all services", join_all(services)).await;
}

#[tokio::test]
async fn keys_that_are_published_for_another_tenant_are_no_keys() {
    let entra = EntraSimulator::start().await;
    // The keys of v1.0 name no issuer; the document that leads to them is all there is to go by.
    let keys = format!("{}{TENANT_ID}{V1_KEYS}", entra.authority_url());
    let issuer = "https://sts.windows.net/ffffbbbb-0000-4ccc-8111-dddd2222eeee/";
    let document = ok(json!({ "issuer": issuer, "jwks_uri": keys }).to_string());
    let v1_metadata = Matching::any().path_contains(format!("{TENANT_ID}/.well-known/"));
    entra.traffic().inject(v1_metadata, Times::Always, document);
    let app = started_with(&entra).await;
    assert_unavailable(&app.create_with(&entra.token().v1().build()).await);
    assert_unavailable(&app.create_with(&entra.token().v1().claim("iss", issuer).build()).await);
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
async fn a_key_set_of_nothing_but_weak_keys_is_no_key_set() {
    let entra = EntraSimulator::start().await;
    let key = entra.jwk_json(&entra.keys()[0]);
    let modulus = |bytes: usize| BASE64_URL_SAFE_NO_PAD.encode(&[0xc3; 1024][..bytes]);
    let weak = [
        json!({ "kty": "oct", "use": "sig", "kid": key["kid"], "k": "c2VjcmV0" }),
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": key["kid"], "x": "AQ", "y": "AQ" }),
        changed(key.clone(), "n", json!(modulus(128))),
        changed(key.clone(), "n", json!(modulus(64))),
        changed(key.clone(), "n", json!(modulus(1024))),
        // 2,048 bits by its length only.
        changed(key.clone(), "n", json!(BASE64_URL_SAFE_NO_PAD.encode([vec![0; 128], vec![0xc3; 128]].concat()))),
        changed(key.clone(), "e", json!("AQ")),
        changed(key.clone(), "e", json!("Aw")),
        changed(key.clone(), "use", json!("enc")),
        changed(key.clone(), "key_ops", json!(["encrypt"])),
        changed(key.clone(), "alg", json!("RS512")),
        changed(
            key.clone(),
            "issuer",
            json!(format!("{}ffffbbbb-0000-4ccc-8111-dddd2222eeee/v2.0", entra.authority_url())),
        ),
        changed(key.clone(), "issuer", json!("https://login.microsoftonline.com/{tenantid}/v2.0")),
        changed(key, "kid", json!("k".repeat(129))),
    ];
    // Each alone would do as the one key of a set, so all may stand in it together.
    entra.publish_raw_jwks(Some(key_set(&weak)));
    let app = started_with(&entra).await;
    assert_unavailable(&app.create_with(&entra.token().build()).await);
    assert_eq!(app.send(app.request(Method::GET, "health/ready")).await.json()["checks"]["entra"], "failing");
}

#[tokio::test]
async fn a_bad_key_beside_good_ones_costs_only_itself() {
    let entra = EntraSimulator::start().await;
    let (good, other, foreign) = (entra.keys()[0].clone(), entra.rotate(), entra.rotate());
    let secret = b"a secret that Entra would never publish";
    let jwk = |key: &SigningKey| entra.jwk_json(key);
    entra.publish_raw_jwks(Some(key_set(&[
        Value::Null,
        json!("text"),
        json!({}),
        changed(jwk(&good), "kid", json!(7)),
        json!({ "kty": "oct", "use": "sig", "kid": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret) }),
        changed(jwk(&other), "kid", json!("twice")),
        changed(jwk(&foreign), "kid", json!("twice")),
        changed(jwk(&other), "kid", json!("twice")),
        changed(
            jwk(&foreign),
            "issuer",
            json!(format!("{}ffffbbbb-0000-4ccc-8111-dddd2222eeee/v2.0", entra.authority_url())),
        ),
        // Whoever reads certificates would stumble here.
        changed(jwk(&good), "x5c", json!("MIID")),
        changed(jwk(&good), "kid", json!("own")),
        changed(
            changed(jwk(&good), "kid", json!("own tenant")),
            "issuer",
            json!(format!("{}{TENANT_ID}/v2.0", entra.authority_url())),
        ),
    ])));
    let app = started_with(&entra).await;
    app.keys_are_read_from(&entra).await;

    for kid in [good.kid.as_str(), "own", "own tenant"] {
        let token = entra.token().signed_by(&good).header("kid", kid).build();
        assert_eq!(app.create_with(&token).await.status, 200, "{kid}");
    }
    let keyed = |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec();
    for token in [
        entra.token().header("kid", "oct").header("alg", "HS256").build_with(keyed),
        entra.token().header("kid", "oct").build_with(keyed),
        entra.token().signed_by(&other).header("kid", "twice").build(),
        entra.token().signed_by(&foreign).header("kid", "twice").build(),
        entra.token().signed_by(&foreign).build(),
        entra.token().signed_by(&good).header("kid", "7").build(),
        entra.token().signed_by(&good).header("kid", other.kid).build(),
    ] {
        assert_token_invalid(&app.create_with(&token).await);
    }
}

#[tokio::test]
async fn each_version_is_verified_by_its_own_keys() {
    let entra = EntraSimulator::start().await;
    let (v1_key, v2_key) = (entra.keys()[0].clone(), entra.rotate());
    let mut v1_jwk = entra.jwk_json(&v1_key);
    v1_jwk.as_object_mut().expect("an object").remove("issuer");
    entra.traffic().inject(Matching::any().path_contains(V1_KEYS), Times::Always, ok(key_set(&[v1_jwk])));
    entra.remove_key(&v1_key.kid);
    let app = started_with(&entra).await;

    let ask = async |token: maxconf_simulators::entra::TokenBuilder| app.create_with(&token.build()).await;
    assert_eq!(ask(entra.token().v1().signed_by(&v1_key)).await.status, 200);
    assert_eq!(ask(entra.token().signed_by(&v2_key)).await.status, 200);
    assert_token_invalid(&ask(entra.token().v1().signed_by(&v2_key)).await);
    assert_token_invalid(&ask(entra.token().signed_by(&v1_key)).await);
}

#[tokio::test]
async fn trouble_with_the_keys_of_one_version_leaves_the_other_alone() {
    let entra = EntraSimulator::start().await;
    entra.traffic().inject(Matching::any().path_contains(V1_KEYS), Times::Always, Fault::Status(500));
    let app = started_with(&entra).await;
    assert_eq!(app.create_with(&entra.token().build()).await.status, 200);
    assert_unavailable(&app.create_with(&entra.token().v1().build()).await);
}

#[tokio::test]
async fn a_slow_entra_holds_up_nobody_whose_key_is_known() {
    let app = with_short_gate().start().await;
    app.entra_keys_are_read().await;
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
    assert_token_invalid(&Answer::read(answer).await);
}
