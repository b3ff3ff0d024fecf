//! A website with a video call inside. Its server plays IDIM: it gets the Entra token, creates the rooms and deletes them.
//! The browser gets what it joins with: node, alias and guest PIN.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::pages::{self, CALL, CSS, File, HTML, JAVASCRIPT, SVG};

const FILES: [File; 4] = [
    ("/", HTML, include_str!("website/index.html")),
    ("/website.js", JAVASCRIPT, include_str!("website/website.js")),
    ("/website.css", CSS, include_str!("website/website.css")),
    ("/icon.svg", SVG, include_str!("website/icon.svg")),
];

/// Limit of a request to Entra or to the room service.
const LIMIT: Duration = Duration::from_secs(30);

/// How long before its end a token is replaced.
const TOKEN_MARGIN: Duration = Duration::from_secs(300);

/// Where the website's calls are held.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Address of the room service.
    pub(crate) api: Url,
    /// Address of a Conferencing Node.
    pub(crate) node: Url,
    pub(crate) registration: Registration,
}

/// The registration at Entra with which the server calls the room service.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) token_url: Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) scope: String,
}

/// The page and its server part.
pub(crate) fn router(website: Arc<Website>) -> Router {
    let node = website.settings.node.clone();
    let server = Router::new()
        .route("/calls", post(start))
        .route("/calls/{id}", get(find))
        .route("/calls/{id}/end", post(end))
        .with_state(website);
    pages::with_headers(pages::files(FILES.iter().chain(&CALL)).merge(server), &[&node])
}

pub(crate) struct Website {
    settings: Settings,
    http: Client,
    token: Mutex<Option<Token>>,
    /// Citizens' cases by the key of their request.
    cases: Mutex<HashMap<String, String>>,
    /// By the id in the shared link.
    calls: Mutex<HashMap<String, Call>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    renewed_at: Instant,
}

#[derive(Clone)]
struct Call {
    /// Only who started the call knows this.
    owner: String,
    room: Room,
    /// Before that, nodes do not know a room that was made for this call.
    joinable_at: Instant,
}

/// A room as guests join it.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) guest_pin: String,
    pub(crate) valid_from: Option<String>,
    pub(crate) valid_until: Option<String>,
}

/// The answer to the browser when a call cannot be started.
struct Failure {
    status: StatusCode,
    /// Seconds.
    retry_after: Option<u64>,
}

/// Makes a room. A repetition with the same key gets the same one.
async fn start(State(website): State<Arc<Website>>, Json(request): Json<Value>) -> Result<Response, Failure> {
    let is_key = |key: &&str| key.len() <= 64 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let key = request["key"].as_str().filter(is_key).ok_or(StatusCode::BAD_REQUEST)?;
    let call = website.create(key).await?;
    let owner = call.owner.clone();
    Ok((StatusCode::CREATED, Json(json!({ "linkId": website.add(call), "owner": owner }))).into_response())
}

/// What a browser joins with.
async fn find(State(website): State<Arc<Website>>, Path(id): Path<String>) -> Result<Response, Failure> {
    let call = website.calls.lock().get(&id).cloned().ok_or(StatusCode::NOT_FOUND)?;
    let wait = call.joinable_at.saturating_duration_since(Instant::now());
    Ok(Json(json!({
        "node": website.settings.node, "alias": call.room.alias, "pin": call.room.guest_pin,
        "joinIn": wait.as_secs_f64().ceil(), "validFrom": call.room.valid_from, "validUntil": call.room.valid_until,
    }))
    .into_response())
}

/// Deletes the room, for who started the call. Its conference ends for everybody.
async fn end(
    State(website): State<Arc<Website>>,
    Path(id): Path<String>,
    Json(request): Json<Value>,
) -> Result<Response, Failure> {
    let call = website.calls.lock().get(&id).cloned().ok_or(StatusCode::NOT_FOUND)?;
    if request["owner"] != call.owner {
        return Err(StatusCode::FORBIDDEN.into());
    }
    website.delete(&call.room.name).await?;
    website.calls.lock().remove(&id);
    Ok(Json(json!({})).into_response())
}

impl Website {
    pub(crate) fn new(settings: Settings) -> Self {
        let http = Client::builder().no_proxy().timeout(LIMIT).build().expect("a client without special settings");
        Self { settings, http, token: Mutex::default(), cases: Mutex::default(), calls: Mutex::default() }
    }

    /// Makes a link to a room that can be joined already. Nobody who has it can end the call. Returns the link's id.
    pub(crate) fn link_to(&self, room: Room) -> String {
        self.add(Call { owner: random_id(), room, joinable_at: Instant::now() })
    }

    /// Returns the id of the call in its link.
    fn add(&self, call: Call) -> String {
        let id = random_id();
        self.calls.lock().insert(id.clone(), call);
        id
    }

    async fn create(&self, key: &str) -> Result<Call, Failure> {
        // The case of a citizen whom the website has identified; here each key has one of its own.
        let case = self.cases.lock().entry(key.to_owned()).or_insert_with(random_id).clone();
        let uui_data = format!("{};encoding=hex", hex::encode(format!("id&{case}")));
        let mut address = self.settings.api.join("room/create").expect("a path");
        address.query_pairs_mut().append_pair("uuiData", &uui_data);
        let request = self.http.post(address).bearer_auth(self.token().await?).header("idempotency-key", key);
        let answer = send(request).await?;
        let headers = answer.headers().clone();
        if !answer.status().is_success() {
            return Err(Failure { status: answer.status(), retry_after: retry_after(&headers) });
        }
        let room: Value = answer.json().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        let field = |value: &Value| value.as_str().map(str::to_owned).ok_or(StatusCode::BAD_GATEWAY);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Call {
            owner: random_id(),
            room: Room {
                name: field(&room["name"])?,
                alias: field(&room["aliases"][0]["alias"])?,
                guest_pin: field(&room["guest_pin"])?,
                valid_from: header("room-valid-from"),
                valid_until: header("room-valid-until"),
            },
            joinable_at: Instant::now() + Duration::from_secs(retry_after(&headers).unwrap_or_default()),
        })
    }

    /// A room that is gone already is fine.
    async fn delete(&self, room: &str) -> Result<(), Failure> {
        let address = self.settings.api.join(&format!("room/{room}")).expect("a name is a path");
        let answer = send(self.http.delete(address).bearer_auth(self.token().await?)).await?;
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            status => Err(Failure { status, retry_after: retry_after(answer.headers()) }),
        }
    }

    /// The Entra token, which never leaves the server.
    async fn token(&self) -> Result<String, Failure> {
        let kept = self.token.lock().clone().filter(|token| token.renewed_at > Instant::now());
        if let Some(token) = kept {
            return Ok(token.text);
        }
        let Registration { token_url, client_id, client_secret, scope } = &self.settings.registration;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", client_id)
            .append_pair("client_secret", client_secret)
            .append_pair("scope", scope)
            .finish();
        let request = self.http.post(token_url.clone()).body(form);
        let answer = send(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")).await?;
        let answer: Value = answer.json().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        let text = answer["access_token"].as_str().ok_or(StatusCode::BAD_GATEWAY)?.to_owned();
        let lifetime = Duration::from_secs(answer["expires_in"].as_u64().unwrap_or_default());
        let renewed_at = Instant::now() + lifetime.saturating_sub(TOKEN_MARGIN);
        *self.token.lock() = Some(Token { text: text.clone(), renewed_at });
        Ok(text)
    }
}

#[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
async fn send(request: RequestBuilder) -> Result<reqwest::Response, Failure> {
    request.send().await.map_err(|error| {
        let status = if error.is_timeout() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::SERVICE_UNAVAILABLE };
        status.into()
    })
}

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// 128 random bits: whoever knows an id may join.
fn random_id() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())
}

impl From<StatusCode> for Failure {
    fn from(status: StatusCode) -> Self {
        Self { status, retry_after: None }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "retryAfter": self.retry_after }))).into_response()
    }
}
