//! Checks of a `result`. One fault voids the whole, and a real node says so in its own log only.
//!
//! Sources differ about fields that a node does not know; here they void the result, so that a misspelt one fails a
//! test. Neither breakout rooms nor services other than conferences and lectures are simulated.

use serde_json::{Map, Value};

use crate::pexip::administration::{IVR_THEME, LOCATION};
use crate::pexip::fields::Kind;
use crate::pexip::live::{KeepsAlive, Role};
use crate::pexip::pins;
use crate::pexip::service::{Callee, Service};

/// Length of the shortest PIN. Whether the platform's own minimum applies as well is not known.
const SHORTEST_PIN: usize = 4;

const TEXT: Kind = Kind::Text { longest: 250, optional: false };

/// In bit/s; in the management API they are in kbit/s.
const CALL_RATE: Kind = Kind::Integer { least: 128_000, most: 8_192_000, optional: false };

/// The layouts that every source has.
const LAYOUT: Kind = one_of(&[
    "one_main_zero_pips",
    "one_main_seven_pips",
    "one_main_twentyone_pips",
    "two_mains_twentyone_pips",
    "one_main_thirtythree_pips",
    "four_mains_zero_pips",
    "nine_mains_zero_pips",
    "sixteen_mains_zero_pips",
    "twentyfive_mains_zero_pips",
    "five_mains_seven_pips",
]);
const DEFAULT_YES_NO: Kind = one_of(&["default", "yes", "no"]);
const CALL_TYPE: Kind = one_of(&["video", "video-only", "audio"]);

/// The optional fields of conferences and lectures, beside those that the typed ones of `Service` are read from.
const FIELDS: &[(&str, Kind)] = &[
    ("bypass_proxy", Kind::Boolean),
    ("call_type", CALL_TYPE),
    ("crypto_mode", or_null(&["besteffort", "on", "off"])),
    ("denoise_enabled", Kind::Boolean),
    ("description", TEXT),
    ("direct_media", one_of(&["never", "best_effort", "always"])),
    ("direct_media_notification_duration", Kind::Integer { least: 0, most: 30, optional: false }),
    ("enable_active_speaker_indication", Kind::Boolean),
    ("enable_chat", DEFAULT_YES_NO),
    ("enable_overlay_text", Kind::Boolean),
    ("guest_identity_provider_group", one_of(&[])),
    ("guests_can_present", Kind::Boolean),
    ("host_identity_provider_group", one_of(&[])),
    ("ivr_theme_name", one_of(&[IVR_THEME])),
    ("live_captions_enabled", TEXT),
    ("live_captions_language", TEXT),
    ("local_display_name", TEXT),
    ("locked", Kind::Boolean),
    ("max_callrate_in", CALL_RATE),
    ("max_callrate_out", CALL_RATE),
    ("max_pixels_per_second", or_null(&["sd", "hd", "fullhd"])),
    ("mute_all_guests", Kind::Boolean),
    ("non_idp_participants", one_of(&["disallow_all", "allow_if_trusted"])),
    ("participant_limit", Kind::Integer { least: 0, most: 1_000_000, optional: false }),
    ("pinning_config", TEXT),
    ("prefer_ipv6", DEFAULT_YES_NO),
    ("primary_owner_email_address", Kind::Text { longest: 100, optional: false }),
    ("softmute_enabled", Kind::Boolean),
    ("source_language", TEXT),
];

const OF_CONFERENCES: &[(&str, Kind)] = &[("view", LAYOUT)];

const OF_LECTURES: &[(&str, Kind)] = &[
    ("force_presenter_into_main", Kind::Boolean),
    ("guest_view", LAYOUT),
    ("guests_can_see_guests", one_of(&["no_hosts", "always", "never"])),
    ("host_view", LAYOUT),
];

const OF_AUTOMATIC_PARTICIPANTS: &[(&str, Kind)] = &[
    ("call_type", CALL_TYPE),
    ("description", TEXT),
    ("dtmf_sequence", TEXT),
    ("keep_conference_alive", one_of(&[ALWAYS, IF_MULTIPLE, NEVER])),
    ("local_alias", TEXT),
    ("local_display_name", TEXT),
    ("presentation_url", TEXT),
    ("protocol", one_of(&["sip", "h323", "mssip", "rtmp"])),
    ("remote_alias", TEXT),
    ("remote_display_name", TEXT),
    ("role", one_of(&["chair", "guest"])),
    ("routing", one_of(&["manual", "routing_rule"])),
    ("streaming", Kind::Boolean),
    ("system_location_name", one_of(&[LOCATION])),
];

const ALWAYS: &str = "keep_conference_alive";
const IF_MULTIPLE: &str = "keep_conference_alive_if_multiple";
const NEVER: &str = "keep_conference_alive_never";

const fn one_of(choices: &'static [&'static str]) -> Kind {
    Kind::Choice { choices, optional: false }
}

const fn or_null(choices: &'static [&'static str]) -> Kind {
    Kind::Choice { choices, optional: true }
}

/// Reads a `result`. The error is what a node writes into its log.
pub(super) fn read(result: &Value, accepts_empty_pins: bool) -> Result<Service, String> {
    let mut fields = result.as_object().ok_or("Invalid service configuration")?.clone();
    let service_type = take_text(&mut fields, "service_type")?;
    let of_type = match service_type.as_str() {
        "conference" => OF_CONFERENCES,
        "lecture" => OF_LECTURES,
        _ => return Err(invalid("service_type")),
    };
    let name = take_text(&mut fields, "name")?;
    // The only text that may be empty.
    let tag = if fields.get("service_tag").is_some_and(|tag| tag == "") {
        fields.remove("service_tag");
        String::new()
    } else {
        take_text(&mut fields, "service_tag")?
    };
    let allow_guests = match fields.remove("allow_guests") {
        None => false,
        Some(value) => value.as_bool().ok_or_else(|| invalid("allow_guests"))?,
    };
    let mut pin_in = |field| match fields.remove(field) {
        None => Ok(String::new()),
        Some(Value::String(pin)) if accepts_empty_pins || !pin.is_empty() => Ok(pin),
        Some(_) => Err(invalid(field)),
    };
    let (pin, guest_pin) = (pin_in("pin")?, pin_in("guest_pin")?);
    if let Some((field, message)) = pins::faults(&pin, &guest_pin, allow_guests, SHORTEST_PIN).first() {
        return Err(format!("{}: {message}", invalid(field)));
    }
    let callees = match fields.remove("automatic_participants") {
        None => Vec::new(),
        Some(Value::Array(all)) => all.iter().map(callee).collect::<Result<Vec<_>, _>>()?,
        Some(_) => return Err(invalid("automatic_participants")),
    };
    check(&fields, &[FIELDS, of_type])?;
    // A dial-out's answer may differ in this one.
    fields.remove("prefer_ipv6");
    fields.insert("service_type".to_owned(), service_type.into());
    let callees = callees.into_iter().flatten().collect();
    Ok(Service { name, tag, pin, guest_pin, allow_guests, callees, settings: fields })
}

/// `None` for one that a node does not dial and says nothing about.
fn callee(value: &Value) -> Result<Option<Callee>, String> {
    const FIELD: &str = "automatic_participants";
    let fields = value.as_object().ok_or_else(|| invalid(FIELD))?;
    check(fields, &[OF_AUTOMATIC_PARTICIPANTS])?;
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    let (Some(alias), Some(protocol), Some(role)) = (text("remote_alias"), text("protocol"), text("role")) else {
        return Err(invalid(FIELD));
    };
    let protocol = match protocol {
        "h323" => "H323",
        "mssip" => "MSSIP",
        "rtmp" => "RTMP",
        _ => "SIP",
    };
    if fields.contains_key("presentation_url") && protocol != "RTMP" {
        return Err(invalid("presentation_url"));
    }
    Ok(text("local_alias").map(|local_alias| Callee {
        local_alias: local_alias.to_owned(),
        alias: alias.to_owned(),
        protocol,
        role: if role == "chair" { Role::Chair } else { Role::Guest },
        keeps_alive: match text("keep_conference_alive") {
            Some(ALWAYS) => KeepsAlive::Always,
            Some(NEVER) => KeepsAlive::Never,
            _ => KeepsAlive::IfMultiple,
        },
    }))
}

/// A text of 1 to 250 characters.
fn take_text(fields: &mut Map<String, Value>, field: &str) -> Result<String, String> {
    match fields.remove(field) {
        Some(Value::String(text)) if !text.is_empty() && text.chars().count() <= 250 => Ok(text),
        _ => Err(invalid(field)),
    }
}

fn check(fields: &Map<String, Value>, known: &[&[(&str, Kind)]]) -> Result<(), String> {
    for (field, value) in fields {
        let kind = known.iter().copied().flatten().find(|(name, _)| name == field).map(|(_, kind)| kind);
        if value == "" || kind.is_none_or(|kind| kind.check(value).is_err()) {
            return Err(invalid(field));
        }
    }
    Ok(())
}

fn invalid(field: &str) -> String {
    format!("Invalid value for configuration item {field}")
}
