//! The queue by managed identity. By the real program: the identity's endpoint stands in the environment, which the
//! process shares.

use maxconf_simulators::SelfSigned;
use reqwest::Method;
use serde_json::Value;

use crate::support::{Identity, POOL_QUEUE, Program, TestApp, TestAppBuilder, eventually};

/// A service that has this identity and no connection string.
fn service(identity: &Identity) -> TestAppBuilder {
    let service = TestApp::with().set("PoolStorage", "");
    identity.settings().into_iter().fold(service, |service, (name, value)| service.set(name, value))
}

async fn readiness_of_queue(app: &TestApp) -> Value {
    app.send(app.request(Method::GET, "health/ready")).await.json()["checks"]["queue"].clone()
}

fn asked_for_storage(query: &str) -> bool {
    let storage = "https://storage.azure.com";
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "resource" && value.trim_end_matches('/') == storage)
}

async fn assert_nothing_leaked(program: Program) {
    program.signal("TERM");
    let ended = program.ended().await;
    Identity::secrets().assert_not_in("the program", &[ended.stdout, ended.stderr].concat().join("\n"));
}

#[tokio::test]
async fn the_queue_is_used_by_the_apps_own_identity() {
    let identity = Identity::start().await;
    let (app, program) = service(&identity).set("LOG_LEVEL", "trace").start_program().await;

    app.fill_pool().await;
    assert_eq!(identity.queue.messages(POOL_QUEUE).len(), 4);
    eventually("the queue is found ready", async || readiness_of_queue(&app).await == "ok").await;

    for exchange in identity.queue.traffic().log() {
        assert_eq!(exchange.headers["authorization"], format!("Bearer {}", Identity::TOKEN).as_str(), "{exchange:?}");
    }
    let asked = identity.traffic.log();
    assert!(!asked.is_empty());
    for exchange in asked {
        assert!(asked_for_storage(&exchange.query), "{exchange:?}");
        assert!(!exchange.query.contains("client_id"), "{exchange:?}");
    }
    assert_nothing_leaked(program).await;
}

#[tokio::test]
async fn a_user_assigned_identity_is_asked_for_by_its_client_id() {
    let client_id = "22222222-3333-4444-8555-666666666666";
    let identity = Identity::start().await;
    let (app, _program) = service(&identity).set("PoolStorage__clientId", client_id).start_program().await;

    app.fill_pool().await;

    assert_eq!(identity.queue.messages(POOL_QUEUE).len(), 4);
    for exchange in identity.traffic.log() {
        assert!(exchange.query.contains(&format!("client_id={client_id}")), "{exchange:?}");
    }
}

#[tokio::test]
async fn without_a_token_the_queue_is_not_ready_and_rooms_are_made_directly() {
    let identity = Identity::start().await;
    let (app, program) = service(&identity).set("IDENTITY_HEADER", "another").start_program().await;

    assert_eq!(readiness_of_queue(&app).await, "failing");
    let answer = app.create_room().await;

    assert_eq!((answer.status.as_u16(), answer.header("room-source")), (200, "direct"), "{answer:?}");
    assert!(identity.queue.traffic().log().is_empty(), "no request is sent without a token");
    assert_nothing_leaked(program).await;
}

#[tokio::test]
async fn a_storage_account_with_an_untrusted_certificate_gets_no_token() {
    let identity = Identity::start().await;
    // A trusted certificate, but another one.
    identity.trusted.replace(SelfSigned::new().pem());
    let (app, _program) = service(&identity).start_program().await;

    assert_eq!(readiness_of_queue(&app).await, "failing");

    assert!(identity.queue.traffic().log().is_empty(), "no request came through");
}
