//! `tokens/me` and `users/me`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::{GenesysToken, Issued, Region};
use crate::identifier::guid;

/// Query parameters in the order of the request.
type Parameters = Query<Vec<(String, String)>>;

pub(super) fn router(region: Arc<Region>) -> Router {
    Router::new().route("/api/v2/tokens/me", get(token_info)).route("/api/v2/users/me", get(user)).with_state(region)
}

async fn token_info(
    State(region): State<Arc<Region>>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let preserves = query.iter().any(|(name, value)| name == "preserveIdleTTL" && value == "true");
    let mut tokens = region.tokens();
    let issued = tokens.get_mut(bearer(&headers)?).ok_or(Refusal::BAD_CREDENTIALS)?;
    issued.check_idle_time()?;
    if !preserves {
        issued.used_at = Instant::now();
        issued.idle_timer_resets += 1;
    }
    Ok(answer(issued.token_info(), &issued.token))
}

async fn user(
    State(region): State<Arc<Region>>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let expands =
        query.iter().any(|(name, value)| name == "expand" && value.split(',').any(|one| one == "authorization"));
    let tokens = region.tokens();
    let issued = tokens.get(bearer(&headers)?).ok_or(Refusal::BAD_CREDENTIALS)?;
    issued.check_idle_time()?;
    if issued.token.client_credentials {
        return Err(Refusal::NO_USER);
    }
    Ok(answer(issued.token.user(expands), &issued.token))
}

impl Issued {
    fn check_idle_time(&self) -> Result<(), Refusal> {
        match self.token.idles_in {
            Some(idles_in) if self.used_at.elapsed() >= idles_in => Err(Refusal::EXPIRED),
            _ => Ok(()),
        }
    }

    fn token_info(&self) -> Value {
        let token = &self.token;
        let home = token.home_organization_id.as_ref();
        let mut info = json!({
            "organization": organization(&token.organization_id),
            "homeOrganization": organization(home.unwrap_or(&token.organization_id)),
            "authorizedScope": ["user-basic-info"],
        });
        if let Some(id) = &token.oauth_client_id {
            info["OAuthClient"] = json!({
                "id": id, "name": "Room widget",
                "authorizedGrantType": if token.client_credentials { "CLIENT-CREDENTIALS" } else { "CODE" },
                "scope": ["user-basic-info"], "state": "active",
                "organization": organization(&token.organization_id),
            });
        }
        if token.cloned_user {
            let home = organization(home.unwrap_or(&token.organization_id));
            info["clonedUser"] = json!({"id": guid(), "organization": home});
        }
        if let Some(idles_in) = token.idles_in {
            let left = idles_in.saturating_sub(self.used_at.elapsed());
            info["dateTokenIdles"] = json!(timestamp(OffsetDateTime::now_utc() + left));
        }
        info
    }
}

impl GenesysToken {
    fn user(&self, with_authorization: bool) -> Value {
        let mut user = json!({
            "id": self.user_id,
            "name": "Agent Example",
            "division": {
                "id": self.division_id,
                "name": "Home",
                "selfUri": format!("/api/v2/authorization/divisions/{}", self.division_id),
            },
            "email": "agent@example.org",
            "username": "agent@example.org",
            "state": self.state,
            "version": 12,
            "selfUri": format!("/api/v2/users/{}", self.user_id),
        });
        if with_authorization {
            user["authorization"] = json!({
                "roles": [{"id": "a5e6ce4b-a1a1-4b8c-9e0f-3a7a0c5c1f66", "name": "Agent"}],
                "unusedRoles": [],
                "permissions": ["routing:queue:view"],
                "permissionPolicies": [],
            });
        }
        user
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or(Refusal::NO_TOKEN)
}

fn organization(id: &str) -> Value {
    json!({"id": id, "name": "maximuscanada"})
}

/// Removes the members that the token omits, at the top level or below.
fn answer(mut body: Value, token: &GenesysToken) -> Response {
    for member in &token.omit {
        let (parent, name) = match member.rsplit_once('.') {
            Some((parent, name)) => (format!("/{}", parent.replace('.', "/")), name),
            None => (String::new(), *member),
        };
        if let Some(Value::Object(members)) = body.pointer_mut(&parent) {
            members.remove(name);
        }
    }
    ([("inin-correlation-id", guid())], Json(body)).into_response()
}

fn timestamp(at: OffsetDateTime) -> String {
    at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .expect("every part of the format is there")
}

/// A refusal in the form of the platform API.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
}

impl Refusal {
    const BAD_CREDENTIALS: Self = Self::unauthorized("bad.credentials", "Invalid login credentials.");
    const EXPIRED: Self =
        Self::unauthorized("credentials.expired", "The supplied credentials are expired and cannot be used.");
    const NO_TOKEN: Self = Self::unauthorized(
        "authentication.required",
        "No authentication bearer token specified in authorization header.",
    );
    const NO_USER: Self = Self {
        status: StatusCode::BAD_REQUEST,
        code: "bad.request",
        message: "This request requires a user context. Client credentials cannot be used for requests to this resource.",
    };

    const fn unauthorized(code: &'static str, message: &'static str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code, message }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let correlation_id = guid();
        let body = json!({
            "message": self.message, "code": self.code, "status": self.status.as_u16(),
            "contextId": correlation_id, "details": [], "errors": [],
        });
        (self.status, [("inin-correlation-id", correlation_id)], Json(body)).into_response()
    }
}
