//! The room that a path names: one of ours, or on the agent's route also a foreign one.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde_json::json;

use super::room_answer::{ANY_NAME, ROOM_NAME};
use crate::domain::{ForeignRoomName, RoomName};
use crate::http::context::RequestContext;
use crate::http::openapi::{EXAMPLE_NAME, Parameter};
use crate::http::problem::{ApiError, Code};
use crate::http::state::AppState;

/// The name in the path, if it has our prefix. Any other name is a room that does not exist, and Pexip is not asked.
///
/// A handler extracts its permit first, so that a request without credentials is 401 whatever the name.
pub(super) struct OurRoom(pub(super) RoomName);

impl OurRoom {
    pub(super) fn parameter() -> Parameter {
        let description = "The room's name, exactly as it was handed out.";
        Parameter::path("name", description, &json!({ "type": "string", "pattern": ROOM_NAME }), EXAMPLE_NAME)
    }
}

/// The name in the path of the agent's route: as [`OurRoom`], or one that starts with one of `PUBLIC_READ_PREFIXES`.
pub(super) enum ReadableRoom {
    Ours(RoomName),
    Foreign(ForeignRoomName),
}

impl ReadableRoom {
    pub(super) fn parameter() -> Parameter {
        let description = "The room's name, exactly as it was handed out, or a foreign room's that agents may read.";
        Parameter::path("name", description, &json!({ "type": "string", "pattern": ANY_NAME }), EXAMPLE_NAME)
    }
}

impl FromRequestParts<AppState> for OurRoom {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let name = name(parts, state).await.and_then(|name| ours(state, &name));
        let name = name.ok_or(ApiError::new(Code::RoomNotFound))?;
        audit(parts, state, &name).await;
        Ok(Self(name))
    }
}

impl FromRequestParts<AppState> for ReadableRoom {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let text = name(parts, state).await.ok_or(ApiError::new(Code::RoomNotFound))?;
        if let Some(name) = ours(state, &text) {
            audit(parts, state, &name).await;
            return Ok(Self::Ours(name));
        }
        let foreign = state.public_read_prefixes.iter().find_map(|prefix| prefix.parse_name(&text));
        let name = foreign.ok_or(ApiError::new(Code::RoomNotFound))?;
        audit(parts, state, &name).await;
        Ok(Self::Foreign(name))
    }
}

async fn name(parts: &mut Parts, state: &AppState) -> Option<String> {
    Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(name)| name)
}

/// The name, if it has a prefix of ours.
fn ours(state: &AppState, text: &str) -> Option<RoomName> {
    state.prefix.parse_name(text).or_else(|| state.instant_prefix.parse_name(text))
}

async fn audit(parts: &mut Parts, state: &AppState, name: &impl AsRef<str>) {
    let Ok(context) = RequestContext::from_request_parts(parts, state).await;
    context.audit.set_room(name);
}
