//! `GET /public/room/{name}`: what the agent's widget needs to join a room.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::our_room::OurRoom;
use super::room_answer::ConstrainedConference;
use crate::http::permit::{Permit, ReadRoom};
use crate::http::problem::ApiError;
use crate::http::state::AppState;

/// The room as Pexip has it now, so that the tag is the citizen's own.
pub(super) async fn handler(
    permit: Permit<ReadRoom>,
    OurRoom(name): OurRoom,
    State(state): State<AppState>,
) -> Result<Response, ApiError> {
    let conference = state.rooms.read(permit, name).await?;
    Ok(Json(ConstrainedConference::from(&conference)).into_response())
}
