//! `DELETE /room/{name}`: ends a room.

use axum::extract::State;
use axum::http::StatusCode;

use super::our_room::OurRoom;
use crate::http::permit::{DeleteRoom, Permit};
use crate::http::problem::ApiError;
use crate::http::state::AppState;

pub(super) async fn handler(
    permit: Permit<DeleteRoom>,
    OurRoom(name): OurRoom,
    State(state): State<AppState>,
) -> Result<StatusCode, ApiError> {
    state.rooms.delete(permit, name).await?;
    Ok(StatusCode::NO_CONTENT)
}
