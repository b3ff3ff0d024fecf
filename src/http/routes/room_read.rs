//! `GET /room/{name}`: what IDIM's server sees of a room.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::constrained_attributes::ConstrainedAttributes;
use super::named_room::OurRoom;
use super::room_answer::ConstrainedConference;
use crate::http::openapi::{Audience, Operation};
use crate::http::permit::{Permit, ReadRoomAsServer};
use crate::http::problem::{ApiError, Code, PEXIP};
use crate::http::route::Route;
use crate::http::state::AppState;

/// The function of `DELETE /room/{name}`: the Functions host needs one for each path.
const FUNCTION: &str = "function_room_delete";

pub(super) fn route() -> Route {
    let answer = ConstrainedConference::answer_or_object("The room as it is now.");
    let operation = Operation::new("room_read", Audience::Idim, Method::GET, "/room/{name}", "Read a room")
        .description(
            "The room with both PINs and its tag. A room that was not handed out, a foreign name and an unknown one are \
            the same 404. So is an instant room before and after its validity. The token needs the app role `Room.Read`, or the one that the deployment has instead, or none.",
        )
        .parameter(OurRoom::parameter())
        .parameter(ConstrainedAttributes::parameter())
        .answer(answer)
        .problems(&[Code::RoomNotFound, Code::RecordsUnavailable])
        .problems(&PEXIP);
    Route::guarded(operation, FUNCTION, handler)
}

async fn handler(
    permit: Permit<ReadRoomAsServer>,
    ConstrainedAttributes(constrained): ConstrainedAttributes,
    OurRoom(name): OurRoom,
    State(state): State<AppState>,
) -> Result<Response, ApiError> {
    if constrained {
        let room = state.rooms.read_as_server(permit, name).await?;
        return Ok(Json(ConstrainedConference::from(&room)).into_response());
    }
    let object = state.rooms.read_object(permit, name).await?;
    Ok((StatusCode::OK, [(CONTENT_TYPE, "application/json")], object.get().to_owned()).into_response())
}
