//! A virtual meeting room (VMR) as the node stores and returns it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::listing::Listed;
use super::live::AutomaticParticipant;

/// Values of fields that were never written. `meeting_companion` stands for fields of releases to come.
static DEFAULT_SETTINGS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("room_defaults.json")).expect("the file beside this one holds a JSON object")
});

/// Path of the resource; an id and a slash follow.
pub(super) const CONFERENCE_PATH: &str = "/api/admin/configuration/v1/conference/";

/// A virtual meeting room.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRoom {
    /// Id of the configuration object; 0 until the node has given it one.
    pub id: u64,
    /// Name, unique on the node.
    pub name: String,
    /// Tag, which events and policy requests carry.
    pub tag: String,
    /// Free text.
    pub description: String,
    /// PIN of the host; empty for none.
    pub pin: String,
    /// PIN of the guests; empty for none.
    pub guest_pin: String,
    /// Whether guests may join.
    pub allow_guests: bool,
    /// What clients dial to join the room.
    pub aliases: Vec<StoredAlias>,
    /// Ids of the automatic participants.
    pub automatic_participants: Vec<u64>,
    /// When the room was created.
    pub creation_time: OffsetDateTime,
    /// All other fields that were written, by name.
    pub settings: Map<String, Value>,
}

/// An alias of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAlias {
    /// Id of the alias object; 0 until the node has given it one.
    pub id: u64,
    /// The text that clients dial.
    pub alias: String,
    /// Free text.
    pub description: String,
}

impl StoredRoom {
    /// A room with this name and no other field, as a minimal request creates it.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            id: 0,
            name: name.into(),
            tag: String::new(),
            description: String::new(),
            pin: String::new(),
            guest_pin: String::new(),
            allow_guests: false,
            aliases: Vec::new(),
            automatic_participants: Vec::new(),
            creation_time: OffsetDateTime::now_utc(),
            settings: Map::new(),
        }
    }

    /// Sets the id.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Self {
        self.id = id;
        self
    }

    /// Sets the tag.
    #[must_use]
    pub fn tagged(mut self, tag: impl Into<String>) -> Self {
        self.tag = tag.into();
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn described(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets both PINs and allows guests.
    #[must_use]
    pub fn with_pins(mut self, pin: impl Into<String>, guest_pin: impl Into<String>) -> Self {
        self.pin = pin.into();
        self.guest_pin = guest_pin.into();
        self.allow_guests = true;
        self
    }

    /// Adds an alias.
    #[must_use]
    pub fn with_alias(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(StoredAlias { id: 0, alias: alias.into(), description: String::new() });
        self
    }

    pub(super) fn uri(&self) -> String {
        format!("{CONFERENCE_PATH}{}/", self.id)
    }

    /// The whole object, related objects included.
    pub(super) fn json(&self, automatic_participants: &BTreeMap<u64, AutomaticParticipant>) -> Value {
        let creation_time = timestamp(self.creation_time);
        let uri = self.uri();
        let aliases: Vec<_> = self
            .aliases
            .iter()
            .map(|alias| {
                json!({
                    "alias": alias.alias, "conference": uri, "creation_time": creation_time,
                    "description": alias.description, "id": alias.id,
                })
            })
            .collect();
        let participants: Vec<_> = self
            .automatic_participants
            .iter()
            .filter_map(|id| Some(automatic_participant(*id, automatic_participants.get(id)?)))
            .collect();
        let mut object = DEFAULT_SETTINGS.clone();
        object.extend(self.settings.clone());
        let own = json!({
            "aliases": aliases,
            "allow_guests": self.allow_guests,
            "automatic_participants": participants,
            "creation_time": creation_time,
            "description": self.description,
            "guest_pin": self.guest_pin,
            "id": self.id,
            "name": self.name,
            "pin": self.pin,
            "resource_uri": uri,
            "tag": self.tag,
        });
        if let Value::Object(own) = own {
            object.extend(own);
        }
        Value::Object(object)
    }
}

impl Listed for StoredRoom {
    // Management API, schema of `conference`: `id` is in neither list.
    const FILTERABLE: &'static [&'static str] = &[
        "aliases",
        "allow_guests",
        "creation_time",
        "description",
        "enable_chat",
        "enable_overlay_text",
        "gms_access_token",
        "guest_pin",
        "ivr_theme",
        "max_callrate_in",
        "max_callrate_out",
        "media_playlist",
        "mssip_proxy",
        "name",
        "participant_limit",
        "pin",
        "primary_owner_email_address",
        "scheduled_conferences",
        "scheduled_conferences_count",
        "service_type",
        "system_location",
        "tag",
        "two_stage_dial_type",
    ];
    const RELATED: &'static [&'static str] = &["aliases"];
    const ORDERABLE: &'static [&'static str] = &[
        "name",
        "tag",
        "description",
        "service_type",
        "pin",
        "allow_guests",
        "enable_chat",
        "guest_pin",
        "max_callrate_in",
        "max_callrate_out",
        "participant_limit",
        "primary_owner_email_address",
        "enable_overlay_text",
        "creation_time",
    ];

    fn has_field(field: &str) -> bool {
        let own = ["automatic_participants", "id", "resource_uri"];
        Self::FILTERABLE.contains(&field) || DEFAULT_SETTINGS.contains_key(field) || own.contains(&field)
    }

    fn values(&self, field: &str) -> Vec<String> {
        match field {
            "name" => vec![self.name.clone()],
            "tag" => vec![self.tag.clone()],
            "description" => vec![self.description.clone()],
            "pin" => vec![self.pin.clone()],
            "guest_pin" => vec![self.guest_pin.clone()],
            "allow_guests" => vec![self.allow_guests.to_string()],
            "creation_time" => vec![timestamp(self.creation_time)],
            "aliases__alias" => self.aliases.iter().map(|a| a.alias.clone()).collect(),
            "aliases__description" => self.aliases.iter().map(|a| a.description.clone()).collect(),
            "aliases__id" | "aliases" => self.aliases.iter().map(|a| a.id.to_string()).collect(),
            setting => {
                let written = self.settings.get(setting);
                let value = written.or_else(|| DEFAULT_SETTINGS.get(setting));
                value.map(text).into_iter().collect()
            }
        }
    }
}

/// Times carry microseconds and no zone.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]"))
        .expect("a date and time has every part of the format")
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A nested automatic participant has neither `conference` nor `resource_uri`.
pub(super) fn automatic_participant(id: u64, participant: &AutomaticParticipant) -> Value {
    json!({
        "alias": participant.alias, "call_type": "video", "creation_time": "2024-01-15T09:00:00.000000",
        "description": "", "dtmf_sequence": "", "id": id,
        "keep_conference_alive": "keep_conference_alive_if_multiple", "presentation_url": "",
        "protocol": "sip", "remote_display_name": "", "role": participant.role.name(), "routing": "manual",
        "streaming": false, "system_location": null,
    })
}
