use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api_error::{ApiError, Code};
use crate::health::{Build, Health, Readiness};

/// `GET /health/live` and `GET /health/ready`: for load balancer, warm-up and smoke test. Without authentication, so
/// without a word on why something fails; the log has that.
pub(super) async fn handler(
    State(health): State<Health>,
    probe: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    match probe.as_ref().map(|Path(probe)| probe.as_str()) {
        Ok("live") => Ok(Json(HealthAnswer { status: "live", checks: None, build: health.build() }).into_response()),
        Ok("ready") => Ok(ready(&health).await),
        _ => Err(ApiError::new(Code::NotFound)),
    }
}

async fn ready(health: &Health) -> Response {
    let readiness = health.readiness().await;
    let status = if readiness.is_ready() { "ready" } else { "not_ready" };
    let mut response = Json(HealthAnswer { status, checks: Some(readiness), build: health.build() }).into_response();
    if !readiness.is_ready() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

#[derive(Serialize)]
struct HealthAnswer {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Readiness>,
    #[serde(flatten)]
    build: Build,
}
