//! Discovery documents, key sets and the token endpoint.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use url::form_urlencoded;

use super::federation::{self, is_trusted};
use super::token::LIFETIME_SECONDS;
use super::{API_CLIENT_ID, APP_ID_URI, Client, RESOURCE_MANAGER, TENANT_ID, Tenant, TokenBuilder, Version};
use crate::identifier::guid;

pub(super) fn router(tenant: Arc<Tenant>) -> Router {
    Router::new()
        .route("/{tenant}/.well-known/openid-configuration", get(v1_metadata))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(v2_metadata))
        .route("/{tenant}/discovery/keys", get(v1_keys))
        .route("/{tenant}/discovery/v2.0/keys", get(v2_keys))
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .with_state(tenant)
}

async fn v1_metadata(State(tenant): State<Arc<Tenant>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let issuer = format!("https://sts.windows.net/{TENANT_ID}/");
    metadata(&tenant, &id, &issuer, "oauth2", "discovery/keys")
}

async fn v2_metadata(State(tenant): State<Arc<Tenant>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let issuer = format!("{}/{TENANT_ID}/v2.0", tenant.authority());
    metadata(&tenant, &id, &issuer, "oauth2/v2.0", "discovery/v2.0/keys")
}

async fn v1_keys(State(tenant): State<Arc<Tenant>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    key_set(&tenant, &id, None)
}

async fn v2_keys(State(tenant): State<Arc<Tenant>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    key_set(&tenant, &id, Some(&tenant.issuer_template()))
}

/// Client credentials with a secret or an assertion in the form.
async fn token(State(tenant): State<Arc<Tenant>>, Path(id): Path<String>, body: String) -> Result<Response, Refusal> {
    check_tenant(&id)?;
    let form: HashMap<_, _> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("grant_type") != "client_credentials" {
        return Err(Refusal::UNSUPPORTED_GRANT_TYPE);
    }
    let client = match (field("client_assertion"), field("client_assertion_type")) {
        ("", _) => authenticate(&tenant, field("client_id"), field("client_secret"))?,
        (assertion, federation::JWT_BEARER) => authenticate_by_word(&tenant, field("client_id"), assertion)?,
        _ => return Err(Refusal::WRONG_ASSERTION_TYPE),
    };
    let resource = field("scope").strip_suffix("/.default").ok_or(Refusal::INVALID_SCOPE)?;
    // A client can ask for a token for its own registration.
    let is_own = resource == client.id || resource.strip_prefix("api://") == Some(&client.id);
    if !is_own && ![API_CLIENT_ID, APP_ID_URI, RESOURCE_MANAGER].contains(&resource) {
        return Err(Refusal::INVALID_RESOURCE);
    }

    let version = tenant.directory().version;
    let token = TokenBuilder::new(tenant.authority(), &client, tenant.newest_key());
    let token = if is_own { token.own(&client.id) } else { token };
    let token = match version {
        Version::V2 if resource != RESOURCE_MANAGER => token,
        Version::V1 | Version::V2 => token.v1().audience(resource),
    };
    let body = json!({
        "token_type": "Bearer",
        "expires_in": LIFETIME_SECONDS - 1,
        "ext_expires_in": LIFETIME_SECONDS - 1,
        "access_token": token.build(),
    });
    Ok(([(header::CACHE_CONTROL, "no-store, no-cache")], Json(body)).into_response())
}

fn metadata(tenant: &Tenant, id: &str, issuer: &str, oauth: &str, keys: &str) -> Result<Response, Refusal> {
    check_tenant(id)?;
    let base = format!("{}/{TENANT_ID}", tenant.authority());
    Ok(cacheable(&json!({
        "token_endpoint": format!("{base}/{oauth}/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "jwks_uri": format!("{base}/{keys}"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": issuer,
        "authorization_endpoint": format!("{base}/{oauth}/authorize"),
        "tenant_region_scope": "NA",
        "cloud_instance_name": "microsoftonline.com",
    })))
}

fn key_set(tenant: &Tenant, id: &str, issuer: Option<&str>) -> Result<Response, Refusal> {
    check_tenant(id)?;
    let directory = tenant.directory();
    if let Some(raw) = &directory.raw_jwks {
        return Ok(([(header::CONTENT_TYPE, "application/json")], raw.clone()).into_response());
    }
    let keys: Vec<_> = directory.keys.iter().map(|key| key.jwk(issuer)).collect();
    Ok(cacheable(&json!({ "keys": keys })))
}

fn client(tenant: &Tenant, id: &str) -> Result<Client, Refusal> {
    tenant.directory().clients.iter().find(|client| client.id == id).cloned().ok_or(Refusal::UNKNOWN_CLIENT)
}

fn authenticate_by_word(tenant: &Tenant, id: &str, assertion: &str) -> Result<Client, Refusal> {
    let client = client(tenant, id)?;
    let is_trusted = client.trusted_subject.as_deref().is_some_and(|subject| is_trusted(assertion, subject));
    if is_trusted { Ok(client) } else { Err(Refusal::NO_FEDERATION) }
}

fn authenticate(tenant: &Tenant, id: &str, secret: &str) -> Result<Client, Refusal> {
    let client = client(tenant, id)?;
    if secret.is_empty() {
        return Err(Refusal::MISSING_SECRET);
    }
    if client.secret != secret {
        return Err(Refusal::WRONG_SECRET);
    }
    Ok(client)
}

fn check_tenant(id: &str) -> Result<(), Refusal> {
    if id.eq_ignore_ascii_case(TENANT_ID) { Ok(()) } else { Err(Refusal::UNKNOWN_TENANT) }
}

fn cacheable(body: &Value) -> Response {
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400, private"));
    response
}

/// An OAuth error in Entra's form.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    description: &'static str,
}

impl Refusal {
    const UNKNOWN_TENANT: Self = Self::bad_request(
        "invalid_tenant",
        90002,
        "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
    );
    const UNSUPPORTED_GRANT_TYPE: Self =
        Self::bad_request("unsupported_grant_type", 70003, "The app requested an unsupported grant type.");
    const UNKNOWN_CLIENT: Self = Self::bad_request(
        "unauthorized_client",
        700_016,
        "Application with this identifier was not found in the directory.",
    );
    const INVALID_SCOPE: Self = Self::bad_request(
        "invalid_scope",
        1_002_012,
        "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
    );
    const INVALID_RESOURCE: Self =
        Self::bad_request("invalid_resource", 500_011, "The resource principal was not found in the tenant.");
    const MISSING_SECRET: Self = Self::unauthorized(
        7_000_216,
        "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
    );
    const WRONG_ASSERTION_TYPE: Self =
        Self::bad_request("invalid_request", 900_023, "The client assertion type is not supported.");
    const NO_FEDERATION: Self =
        Self::unauthorized(700_213, "No matching federated identity record found for presented assertion.");
    const WRONG_SECRET: Self = Self::unauthorized(7_000_215, "Invalid client secret provided.");

    const fn bad_request(error: &'static str, code: u32, description: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, code, description }
    }

    const fn unauthorized(code: u32, description: &'static str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, error: "invalid_client", code, description }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let timestamp = OffsetDateTime::now_utc()
            .format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z"))
            .expect("every part of the format is there");
        let body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{}: {}", self.code, self.description),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": guid(),
            "correlation_id": guid(),
        });
        (self.status, Json(body)).into_response()
    }
}
