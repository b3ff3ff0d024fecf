//! `GET /health/live` and `GET /health/ready`: for load balancer, slot swap and smoke test. `GET /health`: for callers
//! of the older service.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::http::openapi::{Answer, Audience, Operation};
use crate::http::problem::{ApiError, Code, retry_after_header};
use crate::http::readiness::{Build, Check, Health, Readiness};
use crate::http::route::Route;
use crate::http::state::AppState;
use crate::outbound::DEFAULT_RETRY_AFTER;

const FUNCTION: &str = "function_health";

/// As Python's `isoformat` writes a time: without an offset.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");

pub(super) fn route() -> Route {
    Route::open("/health/{probe}", vec![live_operation(), ready_operation()], FUNCTION, handler)
}

pub(super) fn route_without_probe() -> Route {
    let (path, summary) = ("/health", "Is the process up, as the older service answers it?");
    let example = AliveAnswer { status: "alive", timestamp: "2026-03-04T22:32:11.234996".to_owned() };
    let operation = Operation::new("health", Audience::Operation, Method::GET, path, summary)
        .description("Calls nothing. For callers that know the answer of the older service.")
        .answer(Answer::json(StatusCode::OK, "The process is up.", &example));
    Route::open(path, vec![operation], FUNCTION, alive)
}

async fn alive(State(state): State<AppState>) -> Json<AliveAnswer> {
    let timestamp = state.clock.now_utc().format(TIMESTAMP).expect("a time has every component of the format");
    Json(AliveAnswer { status: "alive", timestamp })
}

fn live_operation() -> Operation {
    let example = HealthAnswer { status: Status::Live, checks: None, build: Build::example() };
    Operation::new("health_live", Audience::Operation, Method::GET, "/health/live", "Is the process up?")
        .description("Calls nothing. For the health check of the platform and for the warm-up of a slot.")
        .answer(Answer::json(StatusCode::OK, "The process is up.", &example))
}

fn ready_operation() -> Operation {
    let example = |status, pexip| {
        let checks = Some(Readiness { entra: Check::Ok, queue: Check::Ok, records: Check::Ok, pexip });
        HealthAnswer { status, checks, build: Build::example() }
    };
    let (ready, not_ready) = (example(Status::Ready, Check::Ok), example(Status::NotReady, Check::Failing));
    let not_ready = Answer::json(StatusCode::SERVICE_UNAVAILABLE, "A dependency is failing.", &not_ready);
    Operation::new("health_ready", Audience::Operation, Method::GET, "/health/ready", "Can the service do its work?")
        .description(
            "Checks Entra's keys, the queue, the room records and Pexip, at most every 5 s, and names which one fails. Its 503 has the \
            form of its 200 and is no problem document.",
        )
        .answer(Answer::json(StatusCode::OK, "Every dependency works, or is not meant to at this hour.", &ready))
        .answer(not_ready.header(retry_after_header()))
}

/// The answer names the failing dependency and not the cause, for the probes need no token. The log has the cause.
async fn handler(
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
        response.headers_mut().insert(RETRY_AFTER, DEFAULT_RETRY_AFTER.as_secs().into());
    }
    response
}

/// That the process is up, as the older service answers it.
#[derive(Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
struct AliveAnswer {
    #[schemars(extend("const" = "alive"))]
    status: &'static str,
    /// The service's clock in UTC, without an offset.
    timestamp: String,
}

/// The state of the service and its build.
#[derive(Serialize, JsonSchema)]
struct HealthAnswer {
    status: Status,
    /// Only of `/health/ready`: the state of each dependency, at most 5 s old.
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
    /// Every dependency works.
    Ready,
    /// At least one dependency is failing.
    NotReady,
}
