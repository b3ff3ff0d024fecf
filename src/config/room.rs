use std::time::Duration;

use url::Url;

use super::Environment;
use super::reader::{Default, Reader, Setting, is_loopback, seconds, whole_number};
use crate::domain::{HostPin, LONGEST_TAG, LONGEST_TAG_SEGMENT, Pin, RoomNamePrefix, TagRule, UuiDataFormat};

static NAME_PREFIX: Setting = Setting {
    name: "ROOM_NAME_PREFIX",
    default: Default::Value("vbv-"),
    meaning: "Marks the rooms of this service and environment: 1-20 characters of a-z, 0-9 and -.",
};
static TAG_URL: Setting = Setting {
    name: "ROOM_TAG_URL",
    default: Default::Value("https://id.gov.bc.ca/idcheck/"),
    meaning: "Start of the tag; with 171 more characters it must fit into Pexip's 250.",
};
static UUI_DATA_FORMAT: Setting = Setting {
    name: "UUI_DATA_FORMAT",
    default: Default::Value("bytes"),
    meaning: "What uuiData decodes to: bytes (the tag ends in their base64url) or segment (text that already is the tag's end).",
};
static PIN_LENGTH: Setting = Setting {
    name: "ROOM_PIN_LENGTH",
    default: Default::Value("6"),
    meaning: "Digits of host and guest PIN, 4-20; Pexip's platform minimum is 6 by default.",
};
static HOST_PIN: Setting = Setting {
    name: "ROOM_HOST_PIN",
    default: Default::Value("per-room"),
    meaning: "A fixed host PIN, for widgets that carry it in their own configuration, or per-room; guest PINs get its length. Must be set explicitly outside local.",
};
static AUTOMATIC_PARTICIPANTS: Setting = Setting {
    name: "ROOM_AUTOMATIC_PARTICIPANTS",
    default: Default::Value("none"),
    meaning: "Comma-separated ids of Pexip automatic_participant objects to attach to each room (the dial-out to the Genesys queue), or none. Must be set explicitly outside local.",
};
static MAX_LIFETIME: Setting = Setting {
    name: "ROOM_MAX_LIFETIME_SECONDS",
    default: Default::Value("14400"),
    meaning: "A room handed out longer ago than this, in seconds, that nobody is in is deleted.",
};
static ABSOLUTE_LIFETIME: Setting = Setting {
    name: "ROOM_ABSOLUTE_LIFETIME_SECONDS",
    default: Default::Value("43200"),
    meaning: "A room handed out longer ago than this, in seconds, is ended, whoever is in it.",
};
static END_GRACE: Setting = Setting {
    name: "ROOM_END_GRACE_SECONDS",
    default: Default::Value("300"),
    meaning: "Wait after conference_ended before the room is looked at, in seconds.",
};

pub(super) static SETTINGS: &[&Setting] = &[
    &NAME_PREFIX,
    &TAG_URL,
    &UUI_DATA_FORMAT,
    &PIN_LENGTH,
    &HOST_PIN,
    &AUTOMATIC_PARTICIPANTS,
    &MAX_LIFETIME,
    &ABSOLUTE_LIFETIME,
    &END_GRACE,
];

/// What a room of this service looks like, and how long it may live.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// From `ROOM_NAME_PREFIX`.
    pub prefix: RoomNamePrefix,
    /// From `ROOM_TAG_URL` and `UUI_DATA_FORMAT`.
    pub tag_rule: TagRule,
    /// From `ROOM_HOST_PIN` and `ROOM_PIN_LENGTH`.
    pub host_pin: HostPin,
    /// Ids of Pexip objects. From `ROOM_AUTOMATIC_PARTICIPANTS`.
    pub automatic_participants: Vec<u64>,
    /// From `ROOM_MAX_LIFETIME_SECONDS`.
    pub max_lifetime: Duration,
    /// From `ROOM_ABSOLUTE_LIFETIME_SECONDS`.
    pub absolute_lifetime: Duration,
    /// From `ROOM_END_GRACE_SECONDS`.
    pub end_grace: Duration,
}

impl RoomConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Option<Self> {
        // Both have a default that is right for a laptop only: a widget with its own PIN, or a room that calls
        // nobody, would be noticed no sooner than in the first citizen's call.
        for setting in [&HOST_PIN, &AUTOMATIC_PARTICIPANTS] {
            if environment != Environment::Local && !reader.is_set(setting) {
                reader.fault(setting, "must be set explicitly outside local");
            }
        }
        let prefix = reader.value(&NAME_PREFIX, |text| RoomNamePrefix::parse(text).map_err(|error| error.to_string()));
        let url = reader.value(&TAG_URL, tag_url);
        let format = reader.value(&UUI_DATA_FORMAT, |text| match text.trim() {
            "bytes" => Ok(UuiDataFormat::Bytes),
            "segment" => Ok(UuiDataFormat::Segment),
            _ => Err("must be bytes or segment".to_owned()),
        });
        let length = reader.value(&PIN_LENGTH, whole_number(4, 20));
        let fixed_pin = reader.value(&HOST_PIN, |text| match text.trim() {
            "per-room" => Ok(None),
            pin => Pin::parse(pin).map(Some).map_err(|error| format!("{error}, or per-room")),
        });
        let automatic_participants = reader.value(&AUTOMATIC_PARTICIPANTS, automatic_participants);
        let max_lifetime = reader.value(&MAX_LIFETIME, seconds(1, 30 * 86_400));
        let absolute_lifetime = reader.value(&ABSOLUTE_LIFETIME, seconds(1, 30 * 86_400));
        let end_grace = reader.value(&END_GRACE, seconds(0, 86_400));
        if let (Some(max), Some(absolute)) = (max_lifetime, absolute_lifetime)
            && max > absolute
        {
            reader.fault(&MAX_LIFETIME, "must not be greater than ROOM_ABSOLUTE_LIFETIME_SECONDS");
        }
        let length = length?;
        Some(Self {
            prefix: prefix?,
            tag_rule: TagRule { url: url?, format: format? },
            host_pin: fixed_pin?.map_or(HostPin::PerRoom { length }, HostPin::Fixed),
            automatic_participants: automatic_participants?,
            max_lifetime: max_lifetime?,
            absolute_lifetime: absolute_lifetime?,
            end_grace: end_grace?,
        })
    }
}

/// The tag is a text that Pexip stores, so the URL is kept as it is written.
fn tag_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" || url.scheme() == "http" && is_loopback(url));
    if url.is_none() {
        return Err("must be a URL that starts with https://".to_owned());
    }
    if text.chars().count() + LONGEST_TAG_SEGMENT > LONGEST_TAG {
        return Err(format!("must have at most {} characters", LONGEST_TAG - LONGEST_TAG_SEGMENT));
    }
    Ok(text.to_owned())
}

fn automatic_participants(text: &str) -> Result<Vec<u64>, String> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|id| id.trim().parse().ok().filter(|&id| id > 0))
        .collect::<Option<_>>()
        .ok_or_else(|| "must be ids such as 3,7, or none".to_owned())
}
