//! What administrators configure and read besides rooms: automatic participants, event sinks, locations, policy servers,
//! themes, authentication, nodes and alarms.
//!
//! The fields are those of the vendor's schemas. The vendor does not document the name of the alarm that a stopped event
//! sink raises; the one here is invented.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::CONFERENCING_NODE;
use super::listing::{self, FilterRules, Listed};
use super::live::AutomaticParticipant;
use super::platform::{self, Platform};
use super::refusal::Refusal;
use super::room::{automatic_participant, timestamp};

pub(super) const AUTOMATIC_PARTICIPANT_PATH: &str = "/api/admin/configuration/v1/automatic_participant/";
pub(super) const IVR_THEME_PATH: &str = "/api/admin/configuration/v1/ivr_theme/";
pub(super) const SYSTEM_LOCATION_PATH: &str = "/api/admin/configuration/v1/system_location/";
const EVENT_SINK_PATH: &str = "/api/admin/configuration/v1/event_sink/";
const POLICY_SERVER_PATH: &str = "/api/admin/configuration/v1/policy_server/";
const AUTHENTICATION_PATH: &str = "/api/admin/configuration/v1/authentication/";
const OAUTH2_CLIENT_PATH: &str = "/api/admin/configuration/v1/oauth2_client/";
const WORKER_VM_PATH: &str = "/api/admin/status/v1/worker_vm/";
const ALARM_PATH: &str = "/api/admin/status/v1/alarm/";

/// The location of all Conferencing Nodes.
pub(super) const LOCATION: &str = "Simulated";

/// Name of the only theme.
pub(super) const IVR_THEME: &str = "Simulated theme";

type Answer = Result<Json<Value>, Refusal>;

/// The objects of a resource.
type Objects = fn(&platform::State) -> Vec<Value>;

pub(super) fn router() -> Router<Arc<Platform>> {
    let resources: [(&'static str, Objects); 9] = [
        (AUTOMATIC_PARTICIPANT_PATH, automatic_participants),
        (EVENT_SINK_PATH, event_sinks),
        (SYSTEM_LOCATION_PATH, system_locations),
        (POLICY_SERVER_PATH, policy_servers),
        (IVR_THEME_PATH, ivr_themes),
        (AUTHENTICATION_PATH, authentication),
        (OAUTH2_CLIENT_PATH, oauth2_clients),
        (WORKER_VM_PATH, worker_vms),
        (ALARM_PATH, alarms),
    ];
    let mut router = Router::new();
    for (path, objects) in resources {
        let list = async move |State(platform): State<Arc<Platform>>, Query(query): Query<listing::Query>| -> Answer {
            let state = platform.state();
            page(path, &query, state.filter_rules, &objects(&state))
        };
        let one = async move |State(platform): State<Arc<Platform>>, Path(id): Path<String>| -> Answer {
            let uri = format!("{path}{id}/");
            let found = objects(&platform.state()).into_iter().find(|object| object["resource_uri"] == uri);
            found.map(Json).ok_or(Refusal::NotFound)
        };
        router = router.route(path, get(list)).route(&format!("{path}{{id}}/"), get(one));
    }
    router
}

fn automatic_participants(state: &platform::State) -> Vec<Value> {
    let whole = |(id, participant): (&u64, &AutomaticParticipant)| {
        let mut object = automatic_participant(*id, participant);
        object["conference"] = json!([]);
        object["resource_uri"] = json!(format!("{AUTOMATIC_PARTICIPANT_PATH}{id}/"));
        object
    };
    state.automatic_participants.iter().map(whole).collect()
}

fn event_sinks(state: &platform::State) -> Vec<Value> {
    state.live.sinks.records(EVENT_SINK_PATH)
}

/// One location, with all Conferencing Nodes. Nodes use a sink or a policy server only if their location lists it.
fn system_locations(state: &platform::State) -> Vec<Value> {
    let sinks = event_sinks(state).into_iter().map(|sink| sink["resource_uri"].clone());
    let selects = state.location_selects_services;
    let policy_server = selects && !state.policy_servers.is_empty();
    vec![json!({
        "description": "",
        "event_sinks": if selects { sinks.collect() } else { vec![] },
        "id": 1,
        "name": LOCATION,
        "policy_server": policy_server.then(|| format!("{POLICY_SERVER_PATH}{}/", state.policy_servers.len())),
        "resource_uri": format!("{SYSTEM_LOCATION_PATH}1/"),
    })]
}

fn policy_servers(state: &platform::State) -> Vec<Value> {
    (1..).zip(&state.policy_servers).map(|(id, server)| server.record(id, POLICY_SERVER_PATH)).collect()
}

fn ivr_themes(_: &platform::State) -> Vec<Value> {
    vec![json!({
        "id": 1, "name": IVR_THEME, "resource_uri": format!("{IVR_THEME_PATH}1/"),
        "uuid": "8f1f0f2c-6d0c-4a51-9a53-2e0f6a4c5b11",
    })]
}

fn authentication(state: &platform::State) -> Vec<Value> {
    vec![json!({
        "api_oauth2_allow_all_perms": false,
        "api_oauth2_disable_basic": !state.accepts_basic,
        "api_oauth2_expiration": state.oauth2.token_lifetime.as_secs(),
        "client_certificate": if state.demands_client_certificate { "REQUIRED" } else { "NO" },
        "id": 1,
        "resource_uri": format!("{AUTHENTICATION_PATH}1/"),
        "source": "LOCAL",
    })]
}

/// The private key is returned only on creation, which has no route here: tests get it from the simulator.
fn oauth2_clients(state: &platform::State) -> Vec<Value> {
    let record = |(id, client_id): (usize, &str)| {
        json!({
            "client_id": client_id, "client_name": format!("Client {id}"), "id": id, "private_key_jwt": "",
            "resource_uri": format!("{OAUTH2_CLIENT_PATH}{id}/"), "role": null,
        })
    };
    (1..).zip(state.oauth2.client_ids()).map(record).collect()
}

fn worker_vms(state: &platform::State) -> Vec<Value> {
    let now = timestamp(state.clock.now());
    vec![json!({
        "boot_time": "2024-01-15T09:00:00.000000", "configuration_id": 1, "deploy_status": "deploy_succeeded", "id": 1,
        "last_attempted_contact": now, "last_updated": now, "maintenance_mode": state.maintenance.is_some(),
        "maintenance_mode_reason": state.maintenance.as_deref().unwrap_or_default(), "media_load": 0,
        "name": CONFERENCING_NODE, "node_type": "CONFERENCING", "resource_uri": format!("{WORKER_VM_PATH}1/"),
        "sync_status": "SYNCED", "system_location": LOCATION, "upgrade_status": "IDLE", "version": state.release,
    })]
}

/// One for each node whose event publisher has stopped.
fn alarms(state: &platform::State) -> Vec<Value> {
    let alarm = |(id, node): (usize, String)| {
        json!({
            "acknowledged": false, "details": "", "id": id, "identifier": id, "instance": "", "level": "error",
            "name": "eventsink_stopped", "node": node, "resource_uri": format!("{ALARM_PATH}{id}/"),
            "time_raised": "2024-01-15T09:00:00.000000",
        })
    };
    (1..).zip(state.live.sinks.stopped_nodes()).map(alarm).collect()
}

fn page(path: &str, query: &listing::Query, rules: FilterRules, objects: &[Value]) -> Answer {
    Ok(Json(listing::page(path, query, rules, objects.iter(), Value::clone)?))
}

/// Filters by the fields that the vendor's own clients look these objects up with.
impl Listed for Value {
    const FILTERABLE: &'static [&'static str] = &["alias", "client_id", "client_name", "name", "url", "username"];
    const RELATED: &'static [&'static str] = &[];
    const ORDERABLE: &'static [&'static str] = &["name"];

    fn values(&self, field: &str) -> Vec<String> {
        self[field].as_str().map(str::to_owned).into_iter().collect()
    }
}
