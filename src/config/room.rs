//! Settings of the rooms.

use std::time::Duration;

use url::Url;

use super::parser::{is_secure, one_of, seconds, whole_number};
use super::setting::WhenUnset::{LocalOnly, Value};
use super::setting::{Faulty, Reader, Setting, settings};
use crate::domain::{HostPin, LONGEST_TAG, LONGEST_TAG_SEGMENT, Pin, RoomNamePrefix, TagRule, UuiDataFormat};

settings! {
    /// Properties of the rooms, and how long they may live.
    RoomConfig, RoomDraft {
        prefix: RoomNamePrefix = "ROOM_NAME_PREFIX", Value("vbv-"),
            |text| RoomNamePrefix::parse(text).map_err(|error| error.to_string()),
            "Start of the names of this service's rooms in this environment: 1-20 characters of a-z, 0-9 and -.";
        tag_url: String = "ROOM_TAG_URL", Value("https://id.gov.bc.ca/idcheck/"), tag_url,
            "Start of every tag; with 171 more characters it must fit into Pexip's 250.";
        uui_data_format: UuiDataFormat = "UUI_DATA_FORMAT", Value("bytes"),
            one_of(&[("bytes", UuiDataFormat::Bytes), ("segment", UuiDataFormat::Segment)]),
            "What uuiData decodes to: bytes (the tag ends in their base64url) or segment (text that ends the tag as \
             it is).";
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
        TagRule { url: self.tag_url.clone(), format: self.uui_data_format }
    }

    /// How a new room gets its host PIN.
    pub fn host_pin(&self) -> HostPin {
        self.fixed_host_pin.clone().map_or(HostPin::PerRoom { length: self.pin_length }, HostPin::Fixed)
    }
}

/// Pexip stores the tag as text, so the URL keeps its spelling.
fn tag_url(text: &str) -> Result<String, String> {
    if !Url::parse(text).is_ok_and(|url| is_secure(&url)) {
        return Err("must be a URL that starts with https://".to_owned());
    }
    if text.chars().count() + LONGEST_TAG_SEGMENT > LONGEST_TAG {
        return Err(format!("must have at most {} characters", LONGEST_TAG - LONGEST_TAG_SEGMENT));
    }
    Ok(text.to_owned())
}

fn fixed_host_pin(text: &str) -> Result<Option<Pin>, String> {
    match text.trim() {
        "per-room" => Ok(None),
        pin => Pin::parse(pin).map(Some).map_err(|error| format!("{error}, or per-room")),
    }
}

fn automatic_participants(text: &str) -> Result<Vec<u64>, String> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let ids = text.split(',').map(|id| id.trim().parse().ok().filter(|&id| id > 0));
    ids.collect::<Option<_>>().ok_or_else(|| "must be ids such as 3,7, or none".to_owned())
}
