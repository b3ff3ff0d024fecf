//! `POST /room/create?uuiData=…`: hands out a room that carries the citizen's tag.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::constrained_attributes::OnlyConstrained;
use super::room_answer::ConstrainedConference;
use crate::domain::{GivenValidity, IdempotencyKey, InvalidIdempotencyKey, InvalidUuiData, InvalidValidity, UuiData};
use crate::http::openapi::{Audience, Header, Operation, Parameter};
use crate::http::permit::{CreateRoom, Permit};
use crate::http::problem::{ApiError, Code, PEXIP};
use crate::http::route::Route;
use crate::http::state::AppState;
use crate::rooms::{HandedOut, Room};

const ROOM_SOURCE: HeaderName = HeaderName::from_static("room-source");
const ROOM_VALID_FROM: HeaderName = HeaderName::from_static("room-valid-from");
const ROOM_VALID_UNTIL: HeaderName = HeaderName::from_static("room-valid-until");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const EXAMPLE_FROM: &str = "2026-03-04T22:32:11Z";
const EXAMPLE_UNTIL: &str = "2026-03-05T02:32:11Z";

pub(super) fn route() -> Route {
    let source = "`pool`: the room was ready. `direct`: it was made for this request and can be joined once Pexip has \
        replicated it. `instant`: Pexip asks for it when somebody dials, so it can be joined while it is valid.";
    let time = json!({ "type": "string", "format": "date-time" });
    let from = "Only with `Room-Source: instant`: when the room can be joined first.";
    let until = "Only with `Room-Source: instant`: when its validity is over and its conference is disconnected.";
    let wait = "Only with `Room-Source: direct`: seconds to wait before the room is joined.";
    let replayed = "Only if an earlier request with the same `Idempotency-Key` got this room.";
    let replayed = Header::optional("Idempotency-Replayed", replayed, &json!({ "type": "string", "const": "true" }));
    let wait =
        Header::optional("Retry-After", wait, &json!({ "type": "integer", "minimum": 0 })).component("Joinable-After");
    let answer = ConstrainedConference::answer("The room. It carries its tag.")
        .header(Header::required(
            "Room-Source",
            source,
            &json!({ "type": "string", "enum": ["pool", "direct", "instant"] }),
        ))
        .header(Header::optional("Room-Valid-From", from, &time).example(EXAMPLE_FROM))
        .header(Header::optional("Room-Valid-Until", until, &time).example(EXAMPLE_UNTIL))
        .header(wait.example(120))
        .header(replayed)
        .link("endRoom", "room_delete", "Ends the room.")
        .link("readRoom", "room_read", "Reads the room.")
        .link("seeRoom", "public_room", "What the agent's widget sees of the room.");
    let path = "/room/create";
    let pattern = "^([0-9A-Fa-f]{2}){1,128}(;[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]=[Hh][Ee][Xx])?$";
    let operation = Operation::new("room_create", Audience::Idim, Method::POST, path, "Get a room for a citizen")
        .description(
            "Hands out a room that was made in advance, or makes one, and writes the citizen's case into its tag. The \
            token needs the app role `Room.Create`, or the one that the deployment has instead, or none. No room is taken before \
            token and `uuiData` are valid. Without an `Idempotency-Key` each 200 is another room. With one, a repetition \
            gets the same room as it is now, and only failures are tried again: on 409 repeat it after `Retry-After`; on \
            410 the room has ended, take a new key; on 422 the key was used for another case, which is a mistake of the \
            caller.",
        )
        .parameter(Parameter::query(
            "uuiData",
            "The citizen's case, in hexadecimal digits of either case, with or without `;encoding=hex` after them: \
            1-128 bytes once decoded. With `UUI_DATA_FORMAT=host-and-id` it is `host&id`: a host on the deployment's \
            list, which becomes part of the tag's host name, and an id of `A-Z a-z 0-9 - _`, which ends the tag. With \
            `bytes`, its bytes in base64url end the tag. With `segment` it is the text of that end, of the characters \
            of an id. Given once.",
            &json!({ "type": "string", "pattern": pattern }),
            "6964264d54497a4e4455324c4463324e54517a4d67;encoding=hex",
        ))
        .parameter(Parameter::optional_header(
            "Idempotency-Key",
            "Your name for the one room that you want, a UUID for example, with or without double quotes around it. The \
            same key of the same client within the deployment's window (24 hours by default) is the same room, whatever \
            is lost, repeated or sent twice at once. Never use a key for another citizen or for a second room.",
            &json!({ "type": "string", "pattern": IdempotencyKey::PATTERN }),
            "8e03978e-40d5-43dd-bc93-6894a57f9324",
        ))
        .parameter(validity_parameter("validFrom", "When an instant room can be joined first", EXAMPLE_FROM))
        .parameter(validity_parameter("validUntil", "When it cannot be joined any more", EXAMPLE_UNTIL))
        .parameter(OnlyConstrained::parameter())
        .answer(answer)
        .problems(&[Code::UuiDataMissing, Code::UuiDataInvalid, Code::UuiDataTooLong, Code::NoRoom])
        .problems(&[Code::ValidityInvalid, Code::ValidityUnsupported])
        .problems(&[Code::IdempotencyKeyInvalid, Code::IdempotencyKeyReused, Code::RequestInProgress])
        .problems(&[Code::RoomEnded, Code::RecordsUnavailable])
        .problems(&PEXIP);
    Route::guarded(operation, "function_room_create", handler)
}

async fn handler(
    permit: Permit<CreateRoom>,
    _: OnlyConstrained,
    CreateInput { uui_data, validity, key }: CreateInput,
    State(state): State<AppState>,
) -> Result<Response, ApiError> {
    let HandedOut { room, source, joinable_after, is_replay } =
        state.rooms.create(permit, uui_data, validity, key).await?;
    let answer = ConstrainedConference::from(&room);
    let answer = if state.create_shows_host_pin { answer } else { answer.without_host_pin() };
    let mut response = Json(answer).into_response();
    let headers = response.headers_mut();
    if let Room::Instant(room) = &room {
        headers.insert(ROOM_VALID_FROM, time_value(room.valid_from));
        headers.insert(ROOM_VALID_UNTIL, time_value(room.valid_until));
    }
    headers.insert(ROOM_SOURCE, HeaderValue::from_static(source.as_str()));
    if let Some(wait) = joinable_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    if is_replay {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What a create is sent with. Its faults are reported after those of the caller's token.
struct CreateInput {
    uui_data: Result<UuiData, InvalidUuiData>,
    validity: Result<GivenValidity, InvalidValidity>,
    key: Result<Option<IdempotencyKey>, InvalidIdempotencyKey>,
}

impl<S: Sync> FromRequestParts<S> for CreateInput {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self { uui_data: uui_data(query), validity: validity(query), key: idempotency_key(&parts.headers) })
    }
}

fn validity_parameter(name: &str, meaning: &str, example: &str) -> Parameter {
    let description = format!(
        "{meaning}: an RFC 3339 time in UTC that ends in `Z`, given once. Only where every room is an instant room."
    );
    Parameter::query(name, &description, &json!({ "type": "string", "format": "date-time" }), example).optional()
}

/// A time as callers give them.
fn time_value(time: OffsetDateTime) -> HeaderValue {
    let text = time.to_offset(UtcOffset::UTC).format(&Rfc3339).ok();
    let value = text.and_then(|text| HeaderValue::from_str(&text).ok());
    value.expect("a time of this era has a text of digits and signs")
}

fn validity(query: &str) -> Result<GivenValidity, InvalidValidity> {
    let time = |name| {
        let mut values = values(query, name);
        let value = values.next().map(Cow::into_owned);
        if values.next().is_some() { Err(InvalidValidity::Repeated) } else { Ok(value) }
    };
    Ok(GivenValidity { from: time("validFrom")?, until: time("validUntil")? })
}

/// The values of a parameter.
fn values<'a>(query: &'a str, parameter: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let parameters = url::form_urlencoded::parse(query.as_bytes());
    parameters.filter(move |(name, _)| name == parameter).map(|(_, value)| value)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, InvalidIdempotencyKey> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(InvalidIdempotencyKey);
    }
    IdempotencyKey::parse(value.to_str().map_err(|_| InvalidIdempotencyKey)?).map(Some)
}

/// Read by hand. A repeated parameter is an error. If the Functions host has joined two with a comma, the value is not
/// hexadecimal, so that is an error too. Only `&` separates parameters, so `;encoding=hex` is part of the value. An
/// intermediary that also splits at `;` removes only that suffix.
fn uui_data(query: &str) -> Result<UuiData, InvalidUuiData> {
    let mut values = values(query, "uuiData");
    let value = values.next().ok_or(InvalidUuiData::Missing)?;
    if values.next().is_some() {
        return Err(InvalidUuiData::Repeated);
    }
    UuiData::parse(&value)
}
