//! What is going on: `status/v1` and `command/v1`, and the people that tests put into rooms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::listing::{self, Listed};
use super::node::Node;
use super::refusal::Refusal;
use super::room::timestamp;
use crate::identifier::guid;

const CONFERENCE_PATH: &str = "/api/admin/status/v1/conference/";
const PARTICIPANT_PATH: &str = "/api/admin/status/v1/participant/";
const DISCONNECT_PATH: &str = "/api/admin/command/v1/conference/disconnect/";

/// A participant's role, in the words of the management API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A host.
    Chair,
    /// A guest.
    Guest,
}

/// Running conferences and everybody in them or on the way in.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// By the name of the room, the only thing that status and configuration share.
    conferences: BTreeMap<String, Conference>,
    participants: Vec<Participant>,
}

#[derive(Debug)]
struct Conference {
    /// Of this run of the conference, unrelated to the id of the room.
    id: String,
    name: String,
    start_time: String,
}

#[derive(Debug)]
struct Participant {
    id: String,
    conference: String,
    role: &'static str,
    call_direction: &'static str,
    protocol: &'static str,
    service_type: &'static str,
    connect_time: String,
}

impl Live {
    pub(super) fn join(&mut self, name: &str, role: Role) -> String {
        self.begin(name);
        let role = match role {
            Role::Chair => "chair",
            Role::Guest => "guest",
        };
        self.add(Participant::new(name, role, "conference"))
    }

    pub(super) fn wait_for_pin(&mut self, name: &str) -> String {
        self.add(Participant::new(name, "unknown", "ivr"))
    }

    pub(super) fn dial_out_leg(&mut self, name: &str) -> String {
        self.begin(name);
        self.add(Participant {
            call_direction: "out",
            protocol: "SIP",
            ..Participant::new(name, "guest", "conference")
        })
    }

    pub(super) fn end(&mut self, name: &str) {
        self.conferences.remove(name);
        self.participants.retain(|participant| participant.conference != name);
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        let mut participants = self.participants.iter();
        self.conferences.contains_key(name) || participants.any(|participant| participant.conference == name)
    }

    fn begin(&mut self, name: &str) {
        self.conferences.entry(name.to_owned()).or_insert_with(|| Conference {
            id: guid(),
            name: name.to_owned(),
            start_time: timestamp(OffsetDateTime::now_utc()),
        });
    }

    fn add(&mut self, participant: Participant) -> String {
        let id = participant.id.clone();
        self.participants.push(participant);
        id
    }
}

impl Conference {
    fn json(&self, tag: &str) -> Value {
        json!({
            "id": self.id, "name": self.name, "service_type": "conference", "is_locked": false,
            "is_started": true, "guests_muted": false, "start_time": self.start_time, "tag": tag,
            "resource_uri": format!("{CONFERENCE_PATH}{}/", self.id),
        })
    }
}

impl Listed for Conference {
    const FILTERABLE: &'static [&'static str] = &["name", "service_type", "start_time"];
    const RELATED: &'static [&'static str] = &[];
    const ORDERABLE: &'static [&'static str] = &["name", "start_time"];

    fn values(&self, field: &str) -> Vec<String> {
        match field {
            "name" => vec![self.name.clone()],
            "start_time" => vec![self.start_time.clone()],
            _ => vec!["conference".to_owned()],
        }
    }
}

impl Participant {
    fn new(conference: &str, role: &'static str, service_type: &'static str) -> Self {
        Self {
            id: guid(),
            conference: conference.to_owned(),
            role,
            call_direction: "in",
            protocol: "WebRTC",
            service_type,
            connect_time: timestamp(OffsetDateTime::now_utc()),
        }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "call_uuid": self.id, "conference": self.conference,
            "display_name": "", "role": self.role, "protocol": self.protocol,
            "call_direction": self.call_direction, "source_alias": "",
            "destination_alias": self.conference, "participant_alias": "",
            "service_type": self.service_type, "service_tag": "",
            "has_media": self.service_type == "conference", "connect_time": self.connect_time,
            "is_muted": false, "is_streaming": false, "call_quality": "1_good",
            "resource_uri": format!("{PARTICIPANT_PATH}{}/", self.id),
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
            "connect_time" => self.connect_time.clone(),
            "call_direction" => self.call_direction.to_owned(),
            "protocol" => self.protocol.to_owned(),
            "role" => self.role.to_owned(),
            _ => self.service_type.to_owned(),
        }]
    }
}

pub(super) fn router() -> Router<Arc<Node>> {
    Router::new()
        .route(CONFERENCE_PATH, get(conferences))
        .route(PARTICIPANT_PATH, get(participants))
        .route(DISCONNECT_PATH, post(disconnect))
}

async fn conferences(
    State(node): State<Arc<Node>>,
    Query(query): Query<listing::Query>,
) -> Result<Json<Value>, Refusal> {
    let state = node.state();
    let running = state.live.conferences.values();
    let page = listing::page(CONFERENCE_PATH, &query, running, |conference| {
        let room = state.room_named(&conference.name);
        conference.json(room.map_or("", |room| &room.tag))
    })?;
    Ok(Json(page))
}

async fn participants(
    State(node): State<Arc<Node>>,
    Query(query): Query<listing::Query>,
) -> Result<Json<Value>, Refusal> {
    let state = node.state();
    let present = state.live.participants.iter();
    let page = listing::page(PARTICIPANT_PATH, &query, present, Participant::json)?;
    Ok(Json(page))
}

/// A missing target is 400, not 404.
async fn disconnect(State(node): State<Arc<Node>>, body: String) -> Result<Response, Refusal> {
    let request: Value = serde_json::from_str(&body).map_err(|_| Refusal::Request("Invalid JSON.".to_owned()))?;
    let mut state = node.state();
    let name = state
        .live
        .conferences
        .values()
        .find(|conference| request["conference_id"] == conference.id.as_str())
        .map(|conference| conference.name.clone())
        .ok_or_else(|| Refusal::field("conference", "conference_id", "Failed to find conference."))?;
    state.live.end(&name);
    let status = StatusCode::from_u16(node.disconnect_status.load(Ordering::Relaxed))
        .expect("a test sets a status that HTTP knows");
    Ok((status, Json(json!({"status": "success", "data": null}))).into_response())
}
