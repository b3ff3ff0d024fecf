//! The queue by managed identity. By the real program: the identity's endpoint stands in the environment, which the
//! process shares.

use std::path::PathBuf;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use maxconf_simulators::{QueueSimulator, SelfSigned, Server, Traffic};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{POOL_QUEUE, Program, Secrets, TestApp, TestAppBuilder, eventually};

/// What App Service gives to an app beside its endpoint, lest a request of the app's that others can steer gets a token.
const IDENTITY_HEADER: &str = "header-of-this-instance";
const TOKEN: &str = "token-of-the-managed-identity";

/// A storage account that takes tokens, and the endpoint that gives them out, as App Service has it.
/// Source: App Service, "REST endpoint reference" of managed identities.
struct Identity {
    queue: QueueSimulator,
    endpoint: Server,
    traffic: Traffic,
    certificate: PathBuf,
    _folder: TempDir,
}

impl Identity {
    async fn start() -> Self {
        let certificate = SelfSigned::new();
        let queue = QueueSimulator::start_tls(&certificate).await;
        queue.accept_bearer_tokens(true);
        let traffic = Traffic::default();
        let endpoint = Server::start(traffic.watch(Router::new().fallback(give_token))).await;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, certificate.pem()).expect("a file");
        Self { queue, endpoint, traffic, certificate: path, _folder: folder }
    }

    /// A service that has this identity and no connection string.
    fn service(&self) -> TestAppBuilder {
        TestApp::with()
            .set("PoolStorage", "")
            .set("PoolStorage__queueServiceUri", self.queue.url())
            .set("IDENTITY_ENDPOINT", format!("{}msi/token", self.endpoint.url()))
            .set("IDENTITY_HEADER", IDENTITY_HEADER)
            .set("SSL_CERT_FILE", self.certificate.display())
    }
}

async fn give_token(request: Request) -> Response {
    let known = request.headers().get("x-identity-header").is_some_and(|header| header == IDENTITY_HEADER);
    if !known || request.uri().path() != "/msi/token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let expires = time::OffsetDateTime::now_utc().unix_timestamp() + 86_400;
    let answer = json!({
        "access_token": TOKEN, "expires_on": expires.to_string(),
        "resource": "https://storage.azure.com", "token_type": "Bearer",
    });
    Json(answer).into_response()
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
    let mut secrets = Secrets::default();
    secrets.plant("the identity's token", TOKEN);
    secrets.plant("the instance's header", IDENTITY_HEADER);
    secrets.assert_not_in("the program", &[ended.stdout, ended.stderr].concat().join("\n"));
}

#[tokio::test]
async fn the_queue_is_used_by_the_apps_own_identity() {
    let identity = Identity::start().await;
    let (app, program) = identity.service().set("LOG_LEVEL", "trace").start_program().await;

    app.fill_pool().await;
    assert_eq!(identity.queue.messages(POOL_QUEUE).len(), 4);
    eventually("the queue is found ready", async || readiness_of_queue(&app).await == "ok").await;

    for exchange in identity.queue.traffic().log() {
        assert_eq!(exchange.headers["authorization"], format!("Bearer {TOKEN}").as_str(), "{exchange:?}");
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
    let (app, _program) = identity.service().set("PoolStorage__clientId", client_id).start_program().await;

    app.fill_pool().await;

    assert_eq!(identity.queue.messages(POOL_QUEUE).len(), 4);
    for exchange in identity.traffic.log() {
        assert!(exchange.query.contains(&format!("client_id={client_id}")), "{exchange:?}");
    }
}

#[tokio::test]
async fn without_a_token_the_queue_is_not_ready_and_rooms_are_made_directly() {
    let identity = Identity::start().await;
    let (app, program) = identity.service().set("IDENTITY_HEADER", "another").start_program().await;

    assert_eq!(readiness_of_queue(&app).await, "failing");
    let answer = app.create_room().await;

    assert_eq!((answer.status.as_u16(), answer.header("room-source")), (200, "direct"), "{answer:?}");
    assert!(identity.queue.traffic().log().is_empty(), "nothing is asked without a token");
    assert_nothing_leaked(program).await;
}

#[tokio::test]
async fn a_storage_account_that_nobody_vouches_for_gets_no_token() {
    let identity = Identity::start().await;
    // A trusted certificate, but another one.
    std::fs::write(&identity.certificate, SelfSigned::new().pem()).expect("a file");
    let (app, _program) = identity.service().start_program().await;

    assert_eq!(readiness_of_queue(&app).await, "failing");

    assert!(identity.queue.traffic().log().is_empty(), "no request came through");
}
