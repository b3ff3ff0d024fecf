//! IDIM's Video API as far as it matters here: citizens' apps ask it for a session, and it asks for a room, with tokens
//! that no app ever sees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use maxconf_simulators::entra::{CLIENT_ID, CLIENT_SECRET};
use maxconf_simulators::{Server, Traffic};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard;

// The website's server does nearly the same with code of its own: it is an example to be copied as a whole.

/// How long a token is used: less than it is valid.
const TOKEN_USE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Idim {
    server: Server,
    traffic: Traffic,
}

#[derive(Debug)]
struct Upstream {
    http: Client,
    service: Url,
    token_url: Url,
    scope: String,
    token: tokio::sync::Mutex<Option<(String, Instant)>>,
}

/// What a citizen's app asks for.
#[derive(Debug, Deserialize)]
struct Wanted {
    case: String,
    key: Option<String>,
    valid_from: Option<String>,
    valid_until: Option<String>,
}

impl Idim {
    pub(super) async fn start(http: Client, service: Url, token_url: Url, scope: String) -> Self {
        let upstream = Upstream { http, service, token_url, scope, token: tokio::sync::Mutex::default() };
        let router = Router::new()
            .route("/video/v2/sessions", post(open))
            .route("/video/v2/sessions/{name}", delete(close))
            .with_state(Arc::new(upstream));
        let traffic = Traffic::default();
        let router = traffic.watch(router).layer(middleware::from_fn(guard::refuse_other_hosts));
        let server = Server::start(router).await;
        Self { server, traffic }
    }

    pub(super) fn url(&self) -> Url {
        self.server.url()
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl Upstream {
    #[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
    async fn token(&self) -> Result<String, reqwest::Error> {
        let mut held = self.token.lock().await;
        if let Some((token, since)) = &*held
            && since.elapsed() < TOKEN_USE
        {
            return Ok(token.clone());
        }
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("client_secret", CLIENT_SECRET)
            .append_pair("scope", &self.scope)
            .finish();
        let request = self.http.post(self.token_url.clone()).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = request.send().await?.error_for_status()?.json().await?;
        let token = answer["access_token"].as_str().unwrap_or_default().to_owned();
        *held = Some((token.clone(), Instant::now()));
        Ok(token)
    }

    fn address(&self, path: &str) -> Url {
        self.service.join(path).expect("a path")
    }
}

/// The app gets the room's name and the guests' PIN.
#[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
async fn open(State(upstream): State<Arc<Upstream>>, Json(wanted): Json<Wanted>) -> Response {
    let Ok(token) = upstream.token().await else { return no_answer("Entra") };
    let mut url = upstream.address("room/create");
    url.query_pairs_mut().append_pair("uuiData", &hex::encode(format!("id&{}", wanted.case)));
    for (name, value) in [("validFrom", &wanted.valid_from), ("validUntil", &wanted.valid_until)] {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    let mut request = upstream.http.post(url).bearer_auth(token);
    if let Some(key) = &wanted.key {
        request = request.header("idempotency-key", key);
    }
    let Ok(answer) = request.send().await else { return no_answer("the API") };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body: Value = answer.json().await.unwrap_or_default();
    if !status.is_success() {
        return (status, Json(body)).into_response();
    }
    let session = json!({
        "name": body["name"], "pin": body["guest_pin"],
        "source": text(&headers, "room-source"), "is_replayed": text(&headers, "idempotency-replayed").is_some(),
        "valid_from": text(&headers, "room-valid-from"), "valid_until": text(&headers, "room-valid-until"),
        "instance": text(&headers, super::gateway::INSTANCE),
    });
    (StatusCode::CREATED, Json(session)).into_response()
}

#[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
async fn close(State(upstream): State<Arc<Upstream>>, Path(name): Path<String>) -> Response {
    let Ok(token) = upstream.token().await else { return no_answer("Entra") };
    let request = upstream.http.delete(upstream.address(&format!("room/{name}"))).bearer_auth(token);
    let Ok(answer) = request.send().await else { return no_answer("the API") };
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    if status == StatusCode::NO_CONTENT { status.into_response() } else { (status, Json(body)).into_response() }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn no_answer(of: &str) -> Response {
    (StatusCode::BAD_GATEWAY, Json(json!({ "code": "no_answer", "detail": format!("no answer of {of}") })))
        .into_response()
}
