//! `DELETE /room/{name}`: ends a room.

use axum::extract::State;
use axum::http::{Method, StatusCode};

use super::constrained_attributes::OnlyConstrained;
use super::named_room::OurRoom;
use crate::http::openapi::{Answer, Audience, Operation};
use crate::http::permit::{DeleteRoom, Permit};
use crate::http::problem::{ApiError, Code, PEXIP};
use crate::http::route::Route;
use crate::http::state::AppState;

const FUNCTION: &str = "function_room_delete";

pub(super) fn route() -> Route {
    let operation = Operation::new("room_delete", Audience::Idim, Method::DELETE, "/room/{name}", "End a room")
        .description(
            "Deletes the room and ends the conference in it. Nobody can join an instant room any more when this is \
            answered; its conference is disconnected right after that. Callers may treat 204 and 404 both as done, and may repeat \
            it. The token needs the app role `Room.Delete`, or the one that the deployment has instead, or none.",
        )
        .parameter(OurRoom::parameter())
        .parameter(OnlyConstrained::parameter())
        .answer(Answer::empty(StatusCode::NO_CONTENT, "The room is deleted, and nobody can join it any more."))
        .problems(&[Code::RoomNotFound, Code::RecordsUnavailable])
        .problems(&PEXIP);
    Route::guarded(operation, FUNCTION, handler)
}

/// `DELETE /room/create`: no room has this name, but the path exists and must not answer 405.
pub(super) fn route_of_create() -> Route {
    let (path, summary) = ("/room/create", "End a room that never exists");
    let operation = Operation::new("room_delete_create", Audience::Idim, Method::DELETE, path, summary)
        .description("What `room_delete` is for the name `create`, which no room has.")
        .without_success("There is no success, only problems.")
        .problems(&[Code::RoomNotFound]);
    Route::guarded(operation, FUNCTION, handler)
}

async fn handler(
    permit: Permit<DeleteRoom>,
    _: OnlyConstrained,
    OurRoom(name): OurRoom,
    State(state): State<AppState>,
) -> Result<StatusCode, ApiError> {
    state.rooms.delete(permit, name).await?;
    Ok(StatusCode::NO_CONTENT)
}
