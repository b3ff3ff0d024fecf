//! A room, as callers see it.

use axum::http::StatusCode;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::domain::{LONGEST_TAG, Tag};
use crate::http::openapi::{Answer, EXAMPLE_NAME};
use crate::pexip::{self, Conference};
use crate::rooms::{InstantRoom, Room};

/// A room's name: the deployment's prefix and a lower-case ULID.
pub(super) const ROOM_NAME: &str = "^[a-z0-9-]{1,20}[0-9a-hjkmnp-tv-z]{26}$";

/// The same, or a foreign room's name.
pub(super) const ANY_NAME: &str = "^[A-Za-z0-9._~-]{4,250}$";

/// A PIN; a foreign room may have none, or one that ends in `#`.
const PIN: &str = "^[0-9]*#?$";

/// An instant room's name, for examples.
pub(super) const EXAMPLE_INSTANT_NAME: &str = "vbi-01jd5p3xk8qqqqqqqqqqqqqqqq";

/// What callers see of a room, exactly these fields. Holds both PINs and the citizen's tag.
#[derive(Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct ConstrainedConference<'a> {
    /// Number of the conference on Pexip. An instant room, which Pexip does not have, has one of 2^52 or more.
    #[schemars(range(min = 1), example = 41)]
    id: u64,
    /// The room's name. One of this service says nothing about the citizen and is never used twice.
    #[schemars(regex(pattern = ANY_NAME), example = EXAMPLE_NAME)]
    name: &'a str,
    /// Pexip's kind of conference; `conference` for each room that this service makes.
    #[schemars(example = &"conference")]
    service_type: &'a str,
    /// Whether guests may join with `guest_pin`.
    #[schemars(example = true)]
    allow_guests: bool,
    /// The agent's PIN: hosts join with it. Missing from the answer to a create with `CREATE_SHOWS_HOST_PIN=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "&str", regex(pattern = PIN), example = "193604")]
    pin: Option<&'a str>,
    /// The citizen's PIN: guests join with it.
    #[schemars(regex(pattern = PIN), example = "852117")]
    guest_pin: &'a str,
    /// The URL under which the agent sees the citizen's case: a fixed start and the case from `uuiData`.
    #[schemars(length(max = LONGEST_TAG), example = "https://id.gov.bc.ca/idcheck/protected/video/MTIzNDU2LDc2NTQzMg")]
    tag: &'a str,
    /// What can be dialled to join. The first one is the room's name.
    aliases: Vec<Alias<'a>>,
}

/// A dial string of a conference.
#[derive(Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
#[expect(clippy::struct_field_names, reason = "the name on the wire")]
struct Alias<'a> {
    /// What is dialled.
    #[schemars(example = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq")]
    alias: &'a str,
    /// The room's path on Pexip's management node. An instant room has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = "/api/admin/configuration/v1/conference/41/")]
    conference: Option<String>,
    /// When it was made, in UTC and without an offset: by Pexip's clock, or of an instant room by ours.
    #[schemars(default, example = "2026-03-04T22:32:11.234996")]
    creation_time: &'a str,
    /// Its description on Pexip, usually empty.
    #[schemars(default, example = "")]
    description: &'a str,
    /// Its number on Pexip. Of an instant room, the room's.
    #[schemars(example = 111)]
    id: u64,
}

impl<'a> Alias<'a> {
    fn new(alias: &'a pexip::Alias, conference: String) -> Self {
        let pexip::Alias { alias, creation_time, description, id } = alias;
        Self { alias, conference: Some(conference), creation_time, description, id: *id }
    }
}

impl ConstrainedConference<'static> {
    /// The answer that holds a room, in the document.
    pub(super) fn answer(description: &'static str) -> Answer {
        Answer::json(StatusCode::OK, description, &Self::example())
    }

    /// The same, or the conference object of the management node.
    pub(super) fn answer_or_object(description: &'static str) -> Answer {
        Answer::json_or_object(StatusCode::OK, description, &Self::example())
    }

    fn example() -> Self {
        let alias = Alias {
            alias: EXAMPLE_NAME,
            conference: Some("/api/admin/configuration/v1/conference/41/".to_owned()),
            creation_time: "2026-03-04T22:32:11.234996",
            description: "",
            id: 111,
        };
        Self {
            id: 41,
            name: EXAMPLE_NAME,
            service_type: "conference",
            allow_guests: true,
            pin: Some("193604"),
            guest_pin: "852117",
            tag: "https://id.gov.bc.ca/idcheck/protected/video/MTIzNDU2LDc2NTQzMg",
            aliases: vec![alias],
        }
    }
}

impl ConstrainedConference<'_> {
    pub(super) fn without_host_pin(self) -> Self {
        Self { pin: None, ..self }
    }
}

impl<'a> From<&'a Room> for ConstrainedConference<'a> {
    fn from(room: &'a Room) -> Self {
        match room {
            Room::OnPexip(conference) => conference.into(),
            Room::Instant(room) => room.into(),
        }
    }
}

impl<'a> From<&'a InstantRoom> for ConstrainedConference<'a> {
    fn from(room: &'a InstantRoom) -> Self {
        let (name, id) = (room.name.as_str(), room.name.number());
        let alias = Alias { alias: name, conference: None, creation_time: &room.made_at, description: "", id };
        Self {
            id,
            name,
            service_type: "conference",
            allow_guests: true,
            pin: Some(room.host_pin.expose_secret()),
            guest_pin: room.guest_pin.expose_secret(),
            tag: room.tag.as_ref().map_or("", Tag::expose),
            aliases: vec![alias],
        }
    }
}

impl<'a, N: AsRef<str>> From<&'a Conference<N>> for ConstrainedConference<'a> {
    fn from(conference: &'a Conference<N>) -> Self {
        Self {
            id: conference.id.get(),
            name: conference.name.as_ref(),
            service_type: &conference.service_type,
            allow_guests: conference.allow_guests,
            pin: Some(conference.host_pin.expose_secret()),
            guest_pin: conference.guest_pin.expose_secret(),
            tag: conference.tag.as_ref().map_or("", Tag::expose),
            aliases: conference.aliases.iter().map(|alias| Alias::new(alias, conference.id.resource_uri())).collect(),
        }
    }
}
