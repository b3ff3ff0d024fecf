//! `status/v1`: running conferences and participants; `command/v1`: disconnecting them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::listing::{self, Listed};
use super::live::{Conference, Participant};
use super::platform::Platform;
use super::policy::PolicyVariant;
use super::refusal::Refusal;
use super::room::timestamp;

const CONFERENCE_PATH: &str = "/api/admin/status/v1/conference/";
const PARTICIPANT_PATH: &str = "/api/admin/status/v1/participant/";
const DISCONNECT_CONFERENCE_PATH: &str = "/api/admin/command/v1/conference/disconnect/";
const DISCONNECT_PARTICIPANT_PATH: &str = "/api/admin/command/v1/participant/disconnect/";

pub(super) fn router() -> Router<Arc<Platform>> {
    Router::new()
        .route(CONFERENCE_PATH, get(conferences))
        .route(PARTICIPANT_PATH, get(participants))
        .route(DISCONNECT_CONFERENCE_PATH, post(disconnect_conference))
        .route(DISCONNECT_PARTICIPANT_PATH, post(disconnect_participant))
}

async fn conferences(
    State(platform): State<Arc<Platform>>,
    Query(query): Query<listing::Query>,
) -> Result<Json<Value>, Refusal> {
    let (page, viewed) = {
        let state = platform.state();
        let page =
            listing::page(CONFERENCE_PATH, &query, state.filter_rules, state.live.conferences(), Conference::json)?;
        (page, state.policy.has(PolicyVariant::StatusViews))
    };
    let listed = page["objects"].as_array().into_iter().flatten().filter(|_| viewed);
    join_all(listed.filter_map(|conference| Some(platform.look_up_viewed(conference["name"].as_str()?)))).await;
    Ok(Json(page))
}

async fn participants(
    State(platform): State<Arc<Platform>>,
    Query(query): Query<listing::Query>,
) -> Result<Json<Value>, Refusal> {
    let state = platform.state();
    Ok(Json(listing::page(PARTICIPANT_PATH, &query, state.filter_rules, state.live.participants(), Participant::json)?))
}

/// A target that does not exist is 400, not 404.
async fn disconnect_conference(State(platform): State<Arc<Platform>>, body: String) -> Result<Response, Refusal> {
    let id = target(&body, "conference_id")?;
    let mut state = platform.state();
    let running = state.live.conferences().find(|conference| conference.id == id);
    let name = running
        .map(|conference| conference.service.name.clone())
        .ok_or_else(|| Refusal::field("conference", "conference_id", "Failed to find conference."))?;
    state.live.end(&name, "Conference terminated by an administrator");
    Ok(disconnected(&platform))
}

async fn disconnect_participant(State(platform): State<Arc<Platform>>, body: String) -> Result<Response, Refusal> {
    let id = target(&body, "participant_id")?;
    let mut state = platform.state();
    if state.live.participant(&id).is_none() {
        return Err(Refusal::field("participant", "participant_id", "Failed to find participant."));
    }
    state.live.remove(&id, "Disconnected by an administrator");
    Ok(disconnected(&platform))
}

fn target(body: &str, field: &str) -> Result<String, Refusal> {
    let request: Value = serde_json::from_str(body).map_err(|_| Refusal::Request("Invalid JSON.".to_owned()))?;
    Ok(request[field].as_str().unwrap_or_default().to_owned())
}

fn disconnected(platform: &Platform) -> Response {
    let status = StatusCode::from_u16(platform.disconnect_status.load(Ordering::Relaxed))
        .expect("a test sets a valid HTTP status");
    (status, Json(json!({"status": "success", "data": null}))).into_response()
}

impl Conference {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.service.name, "service_type": "conference", "is_locked": false,
            "is_started": self.is_started, "guests_muted": false, "start_time": timestamp(self.start_time),
            "tag": self.service.tag, "resource_uri": format!("{CONFERENCE_PATH}{}/", self.id),
        })
    }
}

impl Listed for Conference {
    const FILTERABLE: &'static [&'static str] = &["name", "service_type", "start_time", "tag"];
    const RELATED: &'static [&'static str] = &[];
    const ORDERABLE: &'static [&'static str] = &["name", "start_time"];

    fn values(&self, field: &str) -> Vec<String> {
        vec![match field {
            "name" => self.service.name.clone(),
            "start_time" => timestamp(self.start_time),
            "tag" => self.service.tag.clone(),
            _ => "conference".to_owned(),
        }]
    }
}

impl Participant {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "call_uuid": self.id, "conference": self.conference,
            "display_name": self.display_name, "role": self.role_name(), "protocol": self.protocol,
            "call_direction": self.call_direction, "source_alias": self.source_alias,
            "destination_alias": self.destination_alias, "participant_alias": "",
            "service_type": self.service_type, "service_tag": self.service_tag, "has_media": self.has_media,
            "connect_time": timestamp(self.connect_time), "media_node": self.node,
            "signalling_node": self.node, "proxy_node": "", "is_muted": false, "is_streaming": false,
            "call_quality": "1_good", "resource_uri": format!("{PARTICIPANT_PATH}{}/", self.id),
        })
    }
}

impl Listed for Participant {
    const FILTERABLE: &'static [&'static str] =
        &["call_direction", "conference", "connect_time", "protocol", "role", "service_type"];
    const RELATED: &'static [&'static str] = &[];
    const ORDERABLE: &'static [&'static str] = &["conference", "connect_time"];

    fn values(&self, field: &str) -> Vec<String> {
        vec![match field {
            "conference" => self.conference.clone(),
            "connect_time" => timestamp(self.connect_time),
            "call_direction" => self.call_direction.to_owned(),
            "protocol" => self.protocol.to_owned(),
            "role" => self.role_name().to_owned(),
            _ => self.service_type.to_owned(),
        }]
    }
}
