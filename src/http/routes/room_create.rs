//! `POST /room/create?uuiData=…`: hands out a room that carries the citizen's tag.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderValue;
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use super::room_answer::ConstrainedConference;
use crate::domain::{InvalidUuiData, UuiData};
use crate::http::permit::{CreateRoom, Permit};
use crate::http::problem::ApiError;
use crate::http::state::AppState;
use crate::rooms::HandedOut;

const ROOM_SOURCE: HeaderName = HeaderName::from_static("room-source");

pub(super) async fn handler(
    permit: Permit<CreateRoom>,
    RawQuery(query): RawQuery,
    State(state): State<AppState>,
) -> Result<Response, ApiError> {
    let HandedOut { conference, source, joinable_after } =
        state.rooms.create(permit, uui_data(query.as_deref())).await?;
    let mut response = Json(ConstrainedConference::from(&conference)).into_response();
    let headers = response.headers_mut();
    headers.insert(ROOM_SOURCE, HeaderValue::from_static(source.as_str()));
    if let Some(wait) = joinable_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    Ok(response)
}

/// Read by hand: a repeated parameter is an error. If the Functions host has joined two with a comma, the value is not
/// hexadecimal.
fn uui_data(query: Option<&str>) -> Result<UuiData, InvalidUuiData> {
    let mut values = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "uuiData")
        .map(|(_, value)| value);
    let value = values.next().ok_or(InvalidUuiData::Missing)?;
    if values.next().is_some() {
        return Err(InvalidUuiData::Repeated);
    }
    UuiData::parse(&value)
}
