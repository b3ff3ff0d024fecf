//! Settings of instant rooms.

use std::time::Duration;

use super::parser::{list, seconds};
use super::setting::WhenUnset::{Described, Value};
use super::setting::{Faulty, Reader, Setting, settings};
use crate::domain::RoomNamePrefix;

/// The longest validity, in seconds: with a start up to 24 hours ahead still within the lifetime of the room's record,
/// by the lifecycle rule in `infra/`.
pub(crate) const LONGEST_VALIDITY: u64 = 6 * 86_400;

settings! {
    /// Instant rooms: their names, validity and dial-out.
    InstantConfig, InstantDraft {
        prefix: RoomNamePrefix = "INSTANT_ROOM_NAME_PREFIX", Value("vbi-"),
            |text| RoomNamePrefix::parse(text).map_err(|error| error.to_string()),
            "As ROOM_NAME_PREFIX, for instant rooms; neither may be the start of the other.";
        lifetime: Duration = "INSTANT_ROOM_LIFETIME_SECONDS", Value("14400"), seconds(1, LONGEST_VALIDITY),
            "Validity of an instant room where the caller names no end, in seconds.";
        max_lifetime: Duration = "INSTANT_ROOM_MAX_LIFETIME_SECONDS", Value("86400"), seconds(1, LONGEST_VALIDITY),
            "Longest validity that a caller may name, in seconds: at most 6 days.";
        /// SIP URIs.
        dial_out: Vec<String> = "INSTANT_ROOM_DIAL_OUT",
            Described("none; must be set outside local where instant rooms are on"), dial_out,
            "SIP URIs that Pexip dials when the first participant joins an instant room (the Genesys queue), \
             comma-separated, or none.";
    }
}

fn dial_out(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() || text.trim() == "none" {
        return Ok(Vec::new());
    }
    let is_sip_uri = |uri: &String| {
        let user_and_host = uri.strip_prefix("sip:").or_else(|| uri.strip_prefix("sips:"));
        let has_both = user_and_host
            .and_then(|rest| rest.split_once('@'))
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
        has_both && uri.len() <= 250 && uri.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let uris = list(text)?;
    if uris.iter().all(is_sip_uri) {
        Ok(uris)
    } else {
        Err("must be SIP URIs such as sip:queue@sbc.example.org, comma-separated, or none".to_owned())
    }
}
