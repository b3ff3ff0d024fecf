//! `GET /health/live` and `GET /health/ready`: for load balancer, slot swap and smoke test.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::problem::{ApiError, Code};
use crate::http::readiness::{Build, Health, Readiness};
use crate::http::state::AppState;

/// The answer names the failing dependency and not the cause, for the probes need no token. The log has the cause.
pub(super) async fn handler(
    State(state): State<AppState>,
    probe: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    match probe.as_ref().map(|Path(probe)| probe.as_str()) {
        Ok("live") => {
            let build = state.health.build();
            Ok(Json(HealthAnswer { status: Status::Live, checks: None, build }).into_response())
        }
        Ok("ready") => Ok(ready(&state.health).await),
        _ => Err(ApiError::new(Code::NotFound)),
    }
}

async fn ready(health: &Health) -> Response {
    let readiness = health.readiness().await;
    let status = if readiness.is_ready() { Status::Ready } else { Status::NotReady };
    let mut response = Json(HealthAnswer { status, checks: Some(readiness), build: health.build() }).into_response();
    if !readiness.is_ready() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// How the service is, and which build of it runs where.
#[derive(Serialize, JsonSchema)]
pub(super) struct HealthAnswer {
    status: Status,
    /// Only of `/health/ready`: what each dependency answers, not older than 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Readiness")]
    checks: Option<Readiness>,
    #[serde(flatten)]
    build: Build,
}

/// The state of the service.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// The process is up.
    Live,
    /// Every dependency is fine.
    Ready,
    /// At least one dependency is failing.
    NotReady,
}
