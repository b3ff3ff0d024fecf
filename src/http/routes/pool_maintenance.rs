//! `POST /function_pool_maintenance`: the timer of the Functions host starts a maintenance run.

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use serde_json::{Value, json};

use crate::http::openapi::Audience;
use crate::http::route::Route;
use crate::http::state::AppState;
use crate::rooms::MaintenanceReport;

/// The folder of the timer; the Functions host calls the path of this name.
const FUNCTION: &str = "function_pool_maintenance";

pub(super) fn route() -> Route {
    let path = "/function_pool_maintenance";
    Route::undocumented(Audience::Operation, Method::POST, path, Some(FUNCTION), handler)
}

/// The timer's body is not read: nothing in it is needed.
///
/// Always answers 200 with an object: after any other status the host repeats the run, and after an empty body it waits
/// until its own limit and then kills the process. Any caller may start a run: it only brings the pool to its target.
async fn handler(State(state): State<AppState>) -> Json<Value> {
    let line = match state.rooms.maintain().await {
        MaintenanceReport::Busy => "another run is under way".to_owned(),
        MaintenanceReport::Done { census, made, failed, swept } => {
            let swept = swept.map_or_else(|| "failed".to_owned(), |swept| swept.to_string());
            format!("in pool {}, made {made}, failed {failed}, swept {swept}", census.in_pool())
        }
        // Without the cause, which any caller could read: the log has it.
        MaintenanceReport::Failed => "failed".to_owned(),
    };
    Json(json!({ "Outputs": {}, "Logs": [line], "ReturnValue": null }))
}
