use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Response};
use axum::response::IntoResponse;

use super::room_answer::ConstrainedConference;
use crate::api_error::ApiError;
use crate::auth::EntraCaller;
use crate::room::{InvalidUuiData, TagRule, UuiData};
use crate::room_pool::{RoomPool, RoomSource};

const ROOM_SOURCE: HeaderName = HeaderName::from_static("room-source");

/// `POST /room/create?uuiData=…`: a room that carries the citizen's tag.
pub(super) async fn handler(
    _caller: EntraCaller,
    State(tag_rule): State<TagRule>,
    State(pool): State<RoomPool>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, ApiError> {
    // Nothing is taken from the pool before this holds.
    let tag = tag_rule.tag(&uui_data(query.as_deref())?)?;
    let room = pool.take(tag).await?.deliver();
    let mut response = Json(ConstrainedConference::from(&room.conference)).into_response();
    let headers = response.headers_mut();
    match room.source {
        RoomSource::Pool => drop(headers.insert(ROOM_SOURCE, HeaderValue::from_static("pool"))),
        RoomSource::Direct { joinable_after } => {
            headers.insert(ROOM_SOURCE, HeaderValue::from_static("direct"));
            headers.insert(RETRY_AFTER, HeaderValue::from(joinable_after.as_secs()));
        }
    }
    Ok(response)
}

/// Read by hand: a repeated parameter is an error here, and where the Functions host has joined the two with a comma
/// it is not hexadecimal.
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
