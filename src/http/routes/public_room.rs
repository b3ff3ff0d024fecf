//! `GET /public/room/{name}`: what the agent's widget needs to join a room.

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::constrained_attributes::OnlyConstrained;
use super::named_room::ReadableRoom;
use super::room_answer::ConstrainedConference;
use crate::http::middleware::cors;
use crate::http::openapi::{Answer, Audience, EXAMPLE_NAME, Operation, Parameter};
use crate::http::permit::{Permit, ReadRoom};
use crate::http::problem::{ApiError, Code, PEXIP};
use crate::http::route::Route;
use crate::http::state::AppState;

const PATH: &str = "/public/room/{name}";

pub(super) fn route() -> Route {
    let operation = Operation::new("public_room", Audience::Widget, Method::GET, PATH, "See a room")
        .description(
            "What the agent needs to join, with both PINs. A room that was not handed out, a foreign name and an \
            unknown one are the same 404, and so is an instant room before and after its validity. The deployment may let agents read foreign rooms as well, such as those of \
            kiosks, by the start of their names (`PUBLIC_READ_PREFIXES`).",
        )
        .parameter(ReadableRoom::parameter())
        .parameter(OnlyConstrained::parameter())
        .answer(ConstrainedConference::answer("The room as it is now."))
        .problems(&[Code::RoomNotFound, Code::RecordsUnavailable])
        .problems(&PEXIP);
    let operation = cors::documented().into_iter().fold(operation, Operation::header_of_every_answer);
    Route::guarded(operation, "function_public_room", handler).document(preflight())
}

/// Answered by the CORS middleware.
fn preflight() -> Operation {
    let summary = "Ask as a browser whether a page may see a room";
    let answer = Answer::empty(StatusCode::OK, "Empty. The headers say what the page may do.");
    let answer = cors::documented_preflight().into_iter().fold(answer, Answer::header);
    Operation::new("public_room_preflight", Audience::Widget, Method::OPTIONS, PATH, summary)
        .description(
            "The CORS preflight. Browsers send it by themselves, without a token. The answer is the same for every \
            name.",
        )
        .parameter(Parameter::path("name", "Any.", &json!({}), EXAMPLE_NAME))
        .parameter(Parameter::header("Origin", "The page's origin.", "https://agent.example.org"))
        .parameter(Parameter::header("Access-Control-Request-Method", "The method that the page wants to use.", "GET"))
        .parameter(Parameter::header(
            "Access-Control-Request-Headers",
            "The headers that the page wants to send.",
            "x-auth-token",
        ))
        .answer(answer)
}

/// The room as it is stored now, so that the tag is the citizen's own.
async fn handler(
    permit: Permit<ReadRoom>,
    _: OnlyConstrained,
    room: ReadableRoom,
    State(state): State<AppState>,
) -> Result<Response, ApiError> {
    Ok(match room {
        ReadableRoom::Ours(name) => {
            Json(ConstrainedConference::from(&state.rooms.read(permit, name).await?)).into_response()
        }
        ReadableRoom::Foreign(name) => {
            Json(ConstrainedConference::from(&state.rooms.read_foreign(permit, name).await?)).into_response()
        }
    })
}
