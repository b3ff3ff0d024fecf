use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Response};
use axum::response::IntoResponse;
use axum::{Extension, Json};

use super::room_answer::ConstrainedConference;
use crate::auth::EntraCaller;
use crate::domain::{InvalidUuiData, TagRule, UuiData};
use crate::http::problem::ApiError;
use crate::rooms::{HandedOut, RoomPool, TakeRoomError};
use crate::telemetry::audit::AuditContext;
use crate::telemetry::metrics::{HANDED_OUT, REFUSALS};

const ROOM_SOURCE: HeaderName = HeaderName::from_static("room-source");

/// `POST /room/create?uuiData=…`: a room that carries the citizen's tag.
pub(super) async fn handler(
    _caller: EntraCaller,
    Extension(audit): Extension<AuditContext>,
    State(tag_rule): State<TagRule>,
    State(pool): State<RoomPool>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, ApiError> {
    // Nothing is taken from the pool before this holds.
    let uui_data = uui_data(query.as_deref())?;
    audit.set_case_hash(&uui_data);
    let tag = tag_rule.tag(&uui_data)?;
    let HandedOut { conference, source, joinable_after } = pool.take(tag).await.map_err(refused)?.deliver();
    let source = source.as_str();
    audit.room_handed_out(&conference.name, source);
    HANDED_OUT.count([source.into()]);
    let mut response = Json(ConstrainedConference::from(&conference)).into_response();
    let headers = response.headers_mut();
    headers.insert(ROOM_SOURCE, HeaderValue::from_static(source));
    if let Some(wait) = joinable_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    Ok(response)
}

/// A citizen whom nobody could be given a room for is counted.
fn refused(error: TakeRoomError) -> ApiError {
    let error = ApiError::from(error);
    REFUSALS.count([error.code().as_str().into()]);
    error
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
