//! External policy: what a Conferencing Node asks before it connects a call, and the room in the answer. Sources:
//! Pexip Infinity documentation, "Using external and local policy", "External policy requests" and "responses".

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::conferences::dial_string;
use crate::domain::{Pins, RoomName, RoomNamePrefix, RoomProperties, Tag};

/// The longest text in a service configuration, in characters.
const LONGEST_TEXT: usize = 250;

/// Look-up of a room of ours by a Conferencing Node. It does not mean that somebody joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    pub room: RoomName,
    /// Whether the running conference of the room itself places a call.
    pub is_own_dial_out: bool,
}

impl LookUp {
    /// Reads the query of a request for a service configuration. `None`: what is dialled is no room with this prefix.
    ///
    /// Parameters may be missing or unknown: the set grows with Pexip's releases.
    pub fn read(query: &str, prefix: &RoomNamePrefix) -> Option<Self> {
        let (mut local_alias, mut service_name, mut call_direction) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let parameter = match &*name {
                "local_alias" => &mut local_alias,
                "service_name" => &mut service_name,
                "call_direction" => &mut call_direction,
                _ => continue,
            };
            parameter.get_or_insert(value);
        }
        let named = |alias: Option<Cow<'_, str>>| prefix.parse_alias(&alias?);
        if call_direction.is_some_and(|direction| direction == "dial_out")
            && let Some(room) = named(service_name)
        {
            return Some(Self { room, is_own_dial_out: true });
        }
        named(local_alias).map(|room| Self { room, is_own_dial_out: false })
    }
}

/// The answer to a look-up. `Debug` shows nothing of the room.
#[derive(Clone, Debug)]
pub enum PolicyAnswer {
    /// The call is connected to this room.
    Success(ServiceConfiguration),
    /// The call is refused. Any status but 200 would send the node to its own database.
    Reject,
    /// The node looks into its own database.
    Continue,
}

/// What a Conferencing Node gets for a room: its name, PINs, tag and automatic participants. Made once for each room,
/// because nodes ask several times for one call, and drop a configuration that differs from the running one.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceConfiguration(Map<String, Value>);

/// A node would drop the configuration, and would not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServiceConfiguration {
    #[error("{0} has no text, or more than {LONGEST_TEXT} characters")]
    Text(&'static str),
    #[error("the PINs do not fit together")]
    Pins,
    #[error("external policy cannot set {0}")]
    Property(&'static str),
}

impl ServiceConfiguration {
    /// The configuration of a new room. `dial_out` are SIP URIs.
    pub fn new(
        room: &RoomName,
        pins: &Pins,
        tag: &Tag,
        dial_out: &[String],
        properties: &RoomProperties,
    ) -> Result<Self, InvalidServiceConfiguration> {
        if !pins.fit() {
            return Err(InvalidServiceConfiguration::Pins);
        }
        let texts = [("name", room.as_str()), ("service_tag", tag.expose())];
        let uris = dial_out.iter().map(|uri| ("remote_alias", uri.as_str()));
        for (field, text) in texts.into_iter().chain(uris) {
            if text.is_empty() || text.chars().count() > LONGEST_TEXT {
                return Err(InvalidServiceConfiguration::Text(field));
            }
        }
        let properties = properties.for_policy().map_err(InvalidServiceConfiguration::Property)?;
        let mut fields: Map<_, _> = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        fields.insert("service_type".to_owned(), "conference".into());
        fields.insert("name".to_owned(), room.as_str().into());
        fields.insert("service_tag".to_owned(), tag.expose().into());
        fields.insert("allow_guests".to_owned(), true.into());
        fields.insert("pin".to_owned(), pins.host.expose().into());
        fields.insert("guest_pin".to_owned(), pins.guest.expose().into());
        // An empty field may void the whole configuration.
        if !dial_out.is_empty() {
            let participants = dial_out.iter().map(|uri| automatic_participant(room, uri)).collect();
            fields.insert("automatic_participants".to_owned(), participants);
        }
        Ok(Self(fields))
    }

    /// Whether it is this room's, with everything that a room has.
    pub fn is_of(&self, room: &RoomName) -> bool {
        self.text("name") == room.as_str()
            && ["service_type", "service_tag", "pin", "guest_pin"].iter().all(|field| !self.text(field).is_empty())
    }

    /// The aliases that Pexip dials, as presence has them.
    pub fn dialled_aliases(&self) -> Vec<String> {
        let participants = self.0.get("automatic_participants").and_then(Value::as_array).into_iter().flatten();
        participants.filter_map(|one| one["remote_alias"].as_str()).map(dial_string).collect()
    }

    /// The text in this field; empty if there is none.
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Dialled as a guest, who has no say over the call, and whose leg alone does not keep it alive.
fn automatic_participant(room: &RoomName, uri: &str) -> Value {
    json!({
        "local_alias": room.as_str(),
        "remote_alias": uri,
        "protocol": "sip",
        "role": "guest",
        "routing": "manual",
        "keep_conference_alive": "keep_conference_alive_never",
    })
}

impl fmt::Debug for ServiceConfiguration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServiceConfiguration")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "vbi-01jd5p3xk8qqqqqqqqqqqqqqqq";

    fn read(query: &str) -> Option<bool> {
        let prefix = RoomNamePrefix::parse("vbi-").expect("a prefix");
        let look_up = LookUp::read(query, &prefix)?;
        assert_eq!(look_up.room.as_str(), ROOM);
        Some(look_up.is_own_dial_out)
    }

    #[test]
    fn the_alias_is_decoded_once_and_other_parameters_do_not_matter() {
        for query in [
            format!("local_alias={ROOM}"),
            format!("protocol=sip&remote_alias=sip%3Ax%40y&local_alias=sip%3A{ROOM}%40meet.example&x=&y"),
            format!("local_alias=+{ROOM}%20&service_name=&call_direction=non_dial"),
            format!("call_direction=dial_in&service_name={ROOM}&local_alias=%76{}", &ROOM[1..]),
            format!("local_alias={ROOM}&local_alias=other"),
            format!("call_direction=dial_out&service_name=boardroom&local_alias={ROOM}"),
        ] {
            assert_eq!(read(&query), Some(false), "{query}");
        }
        for query in [
            String::new(),
            format!("remote_alias={ROOM}"),
            format!("Local_Alias={ROOM}"),
            format!("local_alias=%2576{}", &ROOM[1..]),
            format!("local_alias=&service_name={ROOM}&call_direction=dial_in"),
            format!("local_alias=other&local_alias={ROOM}"),
            "local_alias=%ff".to_owned(),
        ] {
            assert_eq!(read(&query), None, "{query}");
        }
    }

    #[test]
    fn a_dial_out_is_looked_up_by_the_name_of_its_service() {
        for alias in ["", "local_alias=&", "local_alias=sip%3Aus%40here&"] {
            assert_eq!(read(&format!("{alias}call_direction=dial_out&service_name={ROOM}")), Some(true), "{alias}");
        }
    }
}
