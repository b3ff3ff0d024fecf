//! Settings of the rooms.

use std::time::Duration;

use super::parser::{one_of, optional, seconds, whole_number};
use super::setting::WhenUnset::{Described, LocalOnly, Value};
use super::setting::{Faulty, Reader, Setting, settings};
use crate::domain::{
    HostPin, Pin, ReadablePrefix, RoomNamePrefix, RoomProperties, TagHost, TagRule, TagUrl, UuiDataFormat,
};

settings! {
    /// Properties of the rooms, and how long they may live.
    RoomConfig, RoomDraft {
        prefix: RoomNamePrefix = "ROOM_NAME_PREFIX", Value("vbv-"),
            |text| RoomNamePrefix::parse(text).map_err(|error| error.to_string()),
            "Start of the names of this service's rooms in this environment: 1-20 characters of a-z, 0-9 and -.";
        tag_url: TagUrl = "ROOM_TAG_URL", Value("https://id.gov.bc.ca/idcheck/"),
            |text| TagUrl::parse(text).map_err(|error| error.to_string()),
            "Start of every tag: https, ends in /; with 171 more characters it must fit into Pexip's 250. With \
             UUI_DATA_FORMAT=host-and-id, one label of its host name is {host}.";
        tag_hosts: Vec<TagHost> = "ROOM_TAG_HOSTS", Described("none"), optional(tag_hosts),
            "What {host} in ROOM_TAG_URL may be, comma-separated, such as id,idtest: DNS labels of a-z, 0-9 and -. A \
             create with any other host is refused; case matters.";
        uui_data_format: UuiDataFormat = "UUI_DATA_FORMAT", LocalOnly("bytes"),
            one_of(&[
                ("host-and-id", UuiDataFormat::HostAndId),
                ("bytes", UuiDataFormat::Bytes),
                ("segment", UuiDataFormat::Segment),
            ]),
            "What uuiData decodes to: host-and-id (what IDIM sends: host&id, which become {host} and the end of the \
             tag), bytes (the tag ends in their base64url) or segment (text that ends the tag as it is).";
        pin_length: usize = "ROOM_PIN_LENGTH", Value("6"), whole_number(4, 20),
            "Digits of host PIN and guest PIN, 4-20; Pexip's platform minimum is 6 by default.";
        /// `None`: each room has its own.
        fixed_host_pin: Option<Pin> = secret "ROOM_HOST_PIN", LocalOnly("per-room"), fixed_host_pin,
            "Host PIN of all rooms, for widgets that have it in their own configuration, or per-room. Guest PINs get \
             its length.";
        /// Ids of Pexip objects.
        automatic_participants: Vec<u64> = "ROOM_AUTOMATIC_PARTICIPANTS", LocalOnly("none"), automatic_participants,
            "Ids of the Pexip automatic_participant objects of each room (the dial-out to the Genesys queue), \
             comma-separated, or none.";
        properties: RoomProperties = "ROOM_PROPERTIES", Described("none"),
            optional(|text| RoomProperties::parse(text).map_err(|error| error.to_string())),
            "JSON object of further fields of Pexip's conference resource, the same for all rooms, such as \
             {\"call_type\": \"video\", \"crypto_mode\": \"on\"}: layouts, call type and rates, encryption, chat, theme.";
        create_shows_host_pin: bool = "CREATE_SHOWS_HOST_PIN", Value("true"), one_of(&[("true", true), ("false", false)]),
            "false leaves the host PIN out of create's answer: IDIM does not need it. Reads have it.";
        public_read_prefixes: Vec<ReadablePrefix> = "PUBLIC_READ_PREFIXES", Described("none"), optional(readable_prefixes),
            "Starts of the names of foreign rooms that agents may read, host PINs too, comma-separated, such as \
             test_,vkiosk_: at least 4 characters of A-Z, a-z, 0-9, _ and -. Nothing else is done with these rooms.";
        max_lifetime: Duration = "ROOM_MAX_LIFETIME_SECONDS", Value("14400"), seconds(1, 30 * 86_400),
            "Seconds after its hand-out at which an empty room is deleted.";
        absolute_lifetime: Duration = "ROOM_ABSOLUTE_LIFETIME_SECONDS", Value("43200"), seconds(1, 30 * 86_400),
            "Seconds after its hand-out at which a room is ended, even with participants in it.";
        end_grace: Duration = "ROOM_END_GRACE_SECONDS", Value("300"), seconds(0, 86_400),
            "Grace period of an ended room: seconds after conference_ended before it may be deleted.";
    }
}

impl RoomConfig {
    /// How a citizen's case becomes a tag.
    pub fn tag_rule(&self) -> TagRule {
        TagRule { url: self.tag_url.clone(), hosts: self.tag_hosts.clone(), format: self.uui_data_format }
    }

    /// How a new room gets its host PIN.
    pub fn host_pin(&self) -> HostPin {
        self.fixed_host_pin.clone().map_or(HostPin::PerRoom { length: self.pin_length }, HostPin::Fixed)
    }
}

fn tag_hosts(text: &str) -> Result<Vec<TagHost>, String> {
    let hosts = text.split(',').map(|host| TagHost::parse(host.trim()));
    hosts.collect::<Option<_>>().ok_or_else(|| "must be DNS labels of a-z, 0-9 and -, such as id,idtest".to_owned())
}

fn readable_prefixes(text: &str) -> Result<Vec<ReadablePrefix>, String> {
    let prefixes = text.split(',').map(|prefix| ReadablePrefix::parse(prefix.trim()));
    prefixes.collect::<Option<_>>().ok_or_else(|| "must be prefixes of 4 or more of A-Z, a-z, 0-9, _ and -".to_owned())
}

fn fixed_host_pin(text: &str) -> Result<Option<Pin>, String> {
    match text.trim() {
        "per-room" => Ok(None),
        pin => Pin::parse(pin).map(Some).map_err(|error| format!("is neither per-room nor a PIN, which {error}")),
    }
}

fn automatic_participants(text: &str) -> Result<Vec<u64>, String> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let ids = text.split(',').map(|id| id.trim().parse().ok().filter(|&id| id > 0));
    ids.collect::<Option<_>>().ok_or_else(|| "must be ids such as 3,7, or none".to_owned())
}
