//! The room that a path names.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde_json::json;

use super::room_answer::{EXAMPLE_NAME, ROOM_NAME};
use crate::domain::RoomName;
use crate::http::context::RequestContext;
use crate::http::openapi::Parameter;
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

impl FromRequestParts<AppState> for OurRoom {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        let name =
            path.and_then(|Path(name)| state.prefix.parse_name(&name)).ok_or(ApiError::new(Code::RoomNotFound))?;
        let Ok(context) = RequestContext::from_request_parts(parts, state).await;
        context.audit.set_room(&name);
        Ok(Self(name))
    }
}
