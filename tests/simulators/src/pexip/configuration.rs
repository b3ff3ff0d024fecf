//! `configuration/v1`: rooms and the platform's global settings.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::listing;
use super::live::{GUESTS_ONLY_TIMEOUT, WAITING_FOR_HOST_TIMEOUT};
use super::platform::Platform;
use super::refusal::Refusal;
use super::room::{CONFERENCE_PATH, StoredRoom};
use super::validation;

const GLOBAL_PATH: &str = "/api/admin/configuration/v1/global/";

pub(super) fn router() -> Router<Arc<Platform>> {
    Router::new()
        .route(CONFERENCE_PATH, get(list).post(create).put(replace_all).delete(delete_all))
        .route(&format!("{CONFERENCE_PATH}{{id}}/"), get(read).patch(change).put(replace).delete(delete))
        .route(GLOBAL_PATH, get(global_list))
        .route(&format!("{GLOBAL_PATH}1/"), get(global))
}

async fn list(
    State(platform): State<Arc<Platform>>,
    Query(query): Query<listing::Query>,
) -> Result<Json<Value>, Refusal> {
    let state = platform.state();
    let show = |room: &StoredRoom| shown(&platform, room.json(&state.automatic_participants));
    let rules = state.filter_rules;
    let page = match listing::names(&query, rules) {
        Some(names) => listing::page(CONFERENCE_PATH, &query, rules, state.rooms.all_named(names), show),
        None => listing::page(CONFERENCE_PATH, &query, rules, state.rooms.values(), show),
    };
    Ok(Json(page?))
}

async fn create(State(platform): State<Arc<Platform>>, headers: HeaderMap, body: String) -> Result<Response, Refusal> {
    let uri = make(&platform, &object(&body)?)?;
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|_| platform.absolute_location.load(Ordering::Relaxed));
    let location = match host {
        Some(host) => format!("http://{host}{uri}"),
        None => uri,
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

async fn read(State(platform): State<Arc<Platform>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let state = platform.state();
    let room = state.rooms.get(number(&id)?).ok_or(Refusal::NotFound)?;
    Ok(Json(shown(&platform, room.json(&state.automatic_participants))))
}

/// What the account may see of a room.
fn shown(platform: &Platform, mut room: Value) -> Value {
    if platform.hides_pins.load(Ordering::Relaxed) {
        room.as_object_mut().expect("a room is an object").retain(|field, _| field != "pin" && field != "guest_pin");
    }
    room
}

/// The write is complete when 202 is answered.
async fn change(
    State(platform): State<Arc<Platform>>,
    Path(id): Path<String>,
    body: String,
) -> Result<StatusCode, Refusal> {
    overwrite(&platform, &id, &body, StoredRoom::clone)?;
    Ok(StatusCode::ACCEPTED)
}

/// Resets fields that the request leaves out to their defaults.
async fn replace(
    State(platform): State<Arc<Platform>>,
    Path(id): Path<String>,
    body: String,
) -> Result<StatusCode, Refusal> {
    overwrite(&platform, &id, &body, |room| StoredRoom::named("").with_id(room.id))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(State(platform): State<Arc<Platform>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    platform.state().rooms.remove(number(&id)?).ok_or(Refusal::NotFound)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces all rooms with the objects of the request, as on the real node.
async fn replace_all(State(platform): State<Arc<Platform>>, body: String) -> Result<StatusCode, Refusal> {
    let request = object(&body)?;
    let objects = request
        .get("objects")
        .and_then(Value::as_array)
        .ok_or_else(|| Refusal::Request("Invalid data sent.".to_owned()))?;
    platform.state().rooms.clear();
    for room in objects {
        let room = room.as_object().ok_or_else(|| Refusal::Request("Invalid data sent.".to_owned()))?;
        make(&platform, room)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes all rooms, as on the real node: an address with an empty id must never be sent.
async fn delete_all(State(platform): State<Arc<Platform>>) -> StatusCode {
    platform.state().rooms.clear();
    StatusCode::NO_CONTENT
}

async fn global_list(State(platform): State<Arc<Platform>>) -> Json<Value> {
    let meta = json!({"limit": 20, "next": null, "offset": 0, "previous": null, "total_count": 1});
    Json(json!({"meta": meta, "objects": [settings(&platform)]}))
}

async fn global(State(platform): State<Arc<Platform>>) -> Json<Value> {
    Json(settings(&platform))
}

fn settings(platform: &Platform) -> Value {
    json!({
        "id": 1,
        "min_pin_length": platform.state().min_pin_length,
        "es_connection_timeout": 7,
        "es_initial_retry_backoff": 1,
        "es_maximum_retry_backoff": 1_800,
        "guests_only_timeout": GUESTS_ONLY_TIMEOUT.as_secs(),
        "waiting_for_chair_timeout": WAITING_FOR_HOST_TIMEOUT.as_secs(),
        "resource_uri": format!("{GLOBAL_PATH}1/"),
    })
}

fn make(platform: &Platform, request: &Map<String, Value>) -> Result<String, Refusal> {
    let mut state = platform.state();
    let room = validation::write(&state, StoredRoom::named(""), request)?;
    state.remember_tag(&room.name, &room.tag);
    let id = state.rooms.store(room);
    Ok(format!("{CONFERENCE_PATH}{id}/"))
}

fn overwrite(
    platform: &Platform,
    id: &str,
    body: &str,
    base: impl Fn(&StoredRoom) -> StoredRoom,
) -> Result<(), Refusal> {
    let request = object(body)?;
    let mut state = platform.state();
    let room = state.rooms.get(number(id)?).ok_or(Refusal::NotFound)?;
    let room = validation::write(&state, base(room), &request)?;
    if request.contains_key("tag") {
        state.remember_tag(&room.name, &room.tag);
    }
    state.rooms.store(room);
    Ok(())
}

/// The id in a path; other text than a number finds nothing.
pub(super) fn number(id: &str) -> Result<u64, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound)
}

pub(super) fn object(body: &str) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_str(body).map_err(|_| Refusal::Request("Invalid JSON: the request is not an object.".to_owned()))
}
