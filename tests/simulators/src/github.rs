//! GitHub's ID token endpoint for a running job: it issues a token about the job for a requested audience.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::entra::SigningKey;
use crate::identifier::random;
use crate::server::Server;
use crate::traffic::Traffic;

/// Issuer of the tokens, the same for all jobs.
pub const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Subject of the token: a repository and an environment.
pub const SUBJECT: &str = "repo:example/maxconf-api:environment:test";

const LIFETIME_SECONDS: i64 = 300;

/// One job's token endpoint on loopback.
#[derive(Debug)]
pub struct GitHubSimulator {
    request_token: String,
    traffic: Traffic,
    server: Server,
}

impl GitHubSimulator {
    /// A job with the permission `id-token: write`.
    pub async fn start() -> Self {
        let (request_token, traffic) = (BASE64_URL_SAFE_NO_PAD.encode(random::<32>()), Traffic::default());
        let expected: Arc<str> = format!("Bearer {request_token}").into();
        let router = Router::new().route("/idtoken/job", get(id_token)).with_state(expected);
        let server = Server::start(traffic.watch(router)).await;
        Self { request_token, traffic, server }
    }

    /// The job's environment variables.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}idtoken/job?api-version=2.0", self.server.url())),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", self.request_token.clone()),
        ]
    }

    /// Log and faults.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

/// An ID token for the job, for this audience, valid for this many seconds.
pub fn assertion(audience: &str, lifetime: i64) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let (key, encode) = (SigningKey::of_github(), |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": key.kid });
    let claims = json!({
        "iss": ISSUER, "sub": SUBJECT, "aud": audience,
        "iat": now, "nbf": now - 300, "exp": now + lifetime,
        "repository": "example/maxconf-api", "environment": "test", "ref": "refs/heads/main",
    });
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

async fn id_token(
    State(expected): State<Arc<str>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if headers.get(header::AUTHORIZATION).is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    // By default the audience is the repository's owner, which Entra does not accept.
    let audience = query.get("audience").map_or("https://github.com/example", String::as_str);
    Json(json!({ "count": 1, "value": assertion(audience, LIFETIME_SECONDS) })).into_response()
}
