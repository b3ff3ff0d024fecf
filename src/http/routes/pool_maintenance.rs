use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::rooms::{MaintenanceReport, RoomPool};

/// `POST /function_pool_maintenance`: the timer, from the Functions host only. What it sends says nothing that
/// matters here, so the body is not read.
///
/// Always 200 with an object: after anything else the host repeats the run or, with an empty body, waits until it
/// kills the process. Whoever reaches it besides the host can bring the pool to its target, which is where it should be.
pub(super) async fn handler(State(pool): State<RoomPool>) -> Json<Value> {
    let line = match pool.maintain().await {
        MaintenanceReport::Busy => "another run is under way".to_owned(),
        MaintenanceReport::Done { census, made, failed, swept } => {
            let swept = swept.map_or_else(|cause| format!("failed: {cause}"), |swept| swept.to_string());
            format!("in pool {}, made {made}, failed {failed}, swept {swept}", census.in_pool())
        }
        MaintenanceReport::Failed(cause) => format!("failed: {cause}"),
    };
    Json(json!({ "Outputs": {}, "Logs": [line], "ReturnValue": null }))
}
