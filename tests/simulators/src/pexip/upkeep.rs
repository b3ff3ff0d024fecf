//! What administrators look at besides rooms: automatic participants, event sinks, nodes and alarms.
//!
//! The fields are those of the vendor's schemas; which alarm a stopped event sink raises is not documented, its name here
//! is made up.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::CONFERENCING_NODE;
use super::listing::{self, Listed};
use super::platform::Platform;
use super::refusal::Refusal;
use super::room::automatic_participant;

pub(super) const AUTOMATIC_PARTICIPANT_PATH: &str = "/api/admin/configuration/v1/automatic_participant/";
const EVENT_SINK_PATH: &str = "/api/admin/configuration/v1/event_sink/";
const WORKER_VM_PATH: &str = "/api/admin/status/v1/worker_vm/";
const ALARM_PATH: &str = "/api/admin/status/v1/alarm/";

type Page = Result<Json<Value>, Refusal>;

pub(super) fn router() -> Router<Arc<Platform>> {
    Router::new()
        .route(AUTOMATIC_PARTICIPANT_PATH, get(automatic_participants))
        .route(&format!("{AUTOMATIC_PARTICIPANT_PATH}{{id}}/"), get(one_automatic_participant))
        .route(EVENT_SINK_PATH, get(event_sinks))
        .route(WORKER_VM_PATH, get(worker_vms))
        .route(ALARM_PATH, get(alarms))
}

async fn automatic_participants(State(platform): State<Arc<Platform>>, Query(query): Query<listing::Query>) -> Page {
    let state = platform.state();
    let all = state.automatic_participants.iter().map(|(id, alias)| whole_automatic_participant(*id, alias)).collect();
    page(AUTOMATIC_PARTICIPANT_PATH, &query, all)
}

async fn one_automatic_participant(State(platform): State<Arc<Platform>>, Path(id): Path<String>) -> Page {
    let id = id.parse().map_err(|_| Refusal::NotFound)?;
    let state = platform.state();
    let alias = state.automatic_participants.get(&id).ok_or(Refusal::NotFound)?;
    Ok(Json(whole_automatic_participant(id, alias)))
}

async fn event_sinks(State(platform): State<Arc<Platform>>, Query(query): Query<listing::Query>) -> Page {
    let records = platform.state().live.sinks.records(EVENT_SINK_PATH);
    page(EVENT_SINK_PATH, &query, records)
}

async fn worker_vms(State(platform): State<Arc<Platform>>, Query(query): Query<listing::Query>) -> Page {
    let node = json!({
        "boot_time": "2024-01-15T09:00:00.000000", "configuration_id": 1, "deploy_status": "deploy_succeeded", "id": 1,
        "last_reported": "2024-01-15T09:00:00", "maintenance_mode": false, "media_load": 0, "name": CONFERENCING_NODE,
        "node_type": "CONFERENCING", "system_location": "Simulated", "upgrade_status": "IDLE",
        "version": platform.state().release, "resource_uri": format!("{WORKER_VM_PATH}1/"),
    });
    page(WORKER_VM_PATH, &query, vec![node])
}

/// One for each node whose publisher has given up.
async fn alarms(State(platform): State<Arc<Platform>>, Query(query): Query<listing::Query>) -> Page {
    let stopped = platform.state().live.sinks.stopped_nodes();
    let alarm = |(id, node): (usize, String)| {
        json!({
            "acknowledged": false, "details": "", "id": id, "identifier": id, "instance": "", "level": "error",
            "name": "eventsink_stopped", "node": node, "resource_uri": format!("{ALARM_PATH}{id}/"),
            "time_raised": "2024-01-15T09:00:00.000000",
        })
    };
    page(ALARM_PATH, &query, (1..).zip(stopped).map(alarm).collect())
}

fn whole_automatic_participant(id: u64, alias: &str) -> Value {
    let mut object = automatic_participant(id, alias);
    object["conference"] = json!([]);
    object["resource_uri"] = json!(format!("{AUTOMATIC_PARTICIPANT_PATH}{id}/"));
    object
}

#[expect(clippy::needless_pass_by_value, reason = "made for the page alone")]
fn page(path: &str, query: &listing::Query, objects: Vec<Value>) -> Page {
    Ok(Json(listing::page(path, query, objects.iter(), Value::clone)?))
}

/// Nothing here is asked for by anything but its place.
impl Listed for Value {
    const FILTERABLE: &'static [&'static str] = &[];
    const RELATED: &'static [&'static str] = &[];
    const ORDERABLE: &'static [&'static str] = &[];

    fn values(&self, _field: &str) -> Vec<String> {
        Vec::new()
    }
}
