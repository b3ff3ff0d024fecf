//! `conference_alias`: the aliases of all rooms as objects of their own.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::configuration::{number, object};
use super::listing::{self, Listed};
use super::platform::{self, Platform};
use super::refusal::Refusal;
use super::room::{CONFERENCE_PATH, StoredAlias, StoredRoom, timestamp};
use super::validation;

const ALIAS_PATH: &str = "/api/admin/configuration/v1/conference_alias/";
const RESOURCE: &str = "conference_alias";

/// An alias with its room.
struct Entry {
    room: StoredRoom,
    alias: StoredAlias,
}

pub(super) fn router() -> Router<Arc<Platform>> {
    Router::new()
        .route(ALIAS_PATH, get(list).post(create))
        .route(&format!("{ALIAS_PATH}{{id}}/"), get(read).patch(change).put(replace).delete(delete))
}

async fn list(
    State(platform): State<Arc<Platform>>,
    Query(query): Query<listing::Query>,
) -> Result<Json<Value>, Refusal> {
    let state = platform.state();
    Ok(Json(listing::page(ALIAS_PATH, &query, state.filter_rules, entries(&state).iter(), Entry::json)?))
}

async fn read(State(platform): State<Arc<Platform>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(Json(find(&platform.state(), &id)?.json()))
}

async fn create(State(platform): State<Arc<Platform>>, body: String) -> Result<Response, Refusal> {
    let request = object(&body)?;
    let mut state = platform.state();
    let mut room = room_of(&state, &request)?.ok_or_else(|| required("conference"))?;
    room.aliases.push(written(StoredAlias { id: 0, alias: String::new(), description: String::new() }, &request)?);
    let room = store(&mut state, room)?;
    let id = state.rooms.get(room).and_then(|room| room.aliases.last()).map_or(0, |alias| alias.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("{ALIAS_PATH}{id}/"))]).into_response())
}

async fn change(
    State(platform): State<Arc<Platform>>,
    Path(id): Path<String>,
    body: String,
) -> Result<StatusCode, Refusal> {
    overwrite(&platform, &id, &object(&body)?)?;
    Ok(StatusCode::ACCEPTED)
}

/// Requires every field that a create requires.
async fn replace(
    State(platform): State<Arc<Platform>>,
    Path(id): Path<String>,
    body: String,
) -> Result<StatusCode, Refusal> {
    let request = object(&body)?;
    if let Some(missing) = ["alias", "conference"].into_iter().find(|field| !request.contains_key(*field)) {
        return Err(required(missing));
    }
    overwrite(&platform, &id, &request)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(State(platform): State<Arc<Platform>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let mut state = platform.state();
    let Entry { mut room, alias } = find(&state, &id)?;
    room.aliases.retain(|other| other.id != alias.id);
    state.rooms.store(room);
    Ok(StatusCode::NO_CONTENT)
}

/// Changes an alias; another `conference` moves it to that room.
fn overwrite(platform: &Platform, id: &str, request: &Map<String, Value>) -> Result<(), Refusal> {
    let mut state = platform.state();
    let Entry { mut room, alias } = find(&state, id)?;
    let changed = written(alias, request)?;
    let target = room_of(&state, request)?.unwrap_or_else(|| room.clone());
    room.aliases.retain(|other| other.id != changed.id);
    let mut target = if target.id == room.id { room.clone() } else { target };
    target.aliases.push(changed);
    target.aliases.sort_by_key(|alias| alias.id);
    check_unique(&state, &target)?;
    state.rooms.store(room);
    state.rooms.store(target);
    Ok(())
}

fn store(state: &mut platform::State, room: StoredRoom) -> Result<u64, Refusal> {
    check_unique(state, &room)?;
    Ok(state.rooms.store(room))
}

fn check_unique(state: &platform::State, room: &StoredRoom) -> Result<(), Refusal> {
    if validation::has_taken_alias(state, room) {
        return Err(Refusal::field(RESOURCE, "alias", "Alias with this Alias already exists."));
    }
    Ok(())
}

fn entries(state: &platform::State) -> Vec<Entry> {
    let of_room = |room: &StoredRoom| {
        let aliases = room.aliases.clone().into_iter();
        aliases.map(|alias| Entry { room: room.clone(), alias }).collect::<Vec<_>>()
    };
    let mut entries: Vec<_> = state.rooms.values().flat_map(of_room).collect();
    entries.sort_by_key(|entry| entry.alias.id);
    entries
}

fn find(state: &platform::State, id: &str) -> Result<Entry, Refusal> {
    let id = number(id)?;
    entries(state).into_iter().find(|entry| entry.alias.id == id).ok_or(Refusal::NotFound)
}

/// The room whose URI the request names; `None` if it names none.
fn room_of(state: &platform::State, request: &Map<String, Value>) -> Result<Option<StoredRoom>, Refusal> {
    let Some(uri) = request.get("conference").and_then(Value::as_str) else {
        return Ok(None);
    };
    let id = uri.strip_prefix(CONFERENCE_PATH).and_then(|rest| rest.strip_suffix('/')?.parse().ok());
    let room = id.and_then(|id| state.rooms.get(id)).cloned();
    room.map(Some).ok_or_else(|| Refusal::no_object(uri))
}

fn written(mut alias: StoredAlias, request: &Map<String, Value>) -> Result<StoredAlias, Refusal> {
    let text = |field| request.get(field).and_then(Value::as_str).map(str::to_owned);
    alias.alias = text("alias").unwrap_or(alias.alias);
    alias.description = text("description").unwrap_or(alias.description);
    if alias.alias.is_empty() {
        return Err(required("alias"));
    }
    Ok(alias)
}

fn required(field: &'static str) -> Refusal {
    Refusal::field(RESOURCE, field, "This field is required.")
}

impl Entry {
    fn json(&self) -> Value {
        json!({
            "alias": self.alias.alias, "conference": self.room.uri(),
            "creation_time": timestamp(self.room.creation_time), "description": self.alias.description,
            "id": self.alias.id, "resource_uri": format!("{ALIAS_PATH}{}/", self.alias.id),
        })
    }
}

impl Listed for Entry {
    const FILTERABLE: &'static [&'static str] = &["alias", "conference", "creation_time", "description"];
    const RELATED: &'static [&'static str] = &["conference"];
    const ORDERABLE: &'static [&'static str] = &["alias", "description", "creation_time"];

    fn values(&self, field: &str) -> Vec<String> {
        vec![match field {
            "alias" => self.alias.alias.clone(),
            "description" => self.alias.description.clone(),
            "creation_time" => timestamp(self.room.creation_time),
            "conference__name" => self.room.name.clone(),
            _ => self.room.id.to_string(),
        }]
    }
}
