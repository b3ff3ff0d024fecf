//! The writable fields of the conference resource beside the typed ones of `StoredRoom`, and what each accepts.

use serde_json::Value;

use super::administration::{IVR_THEME_PATH, SYSTEM_LOCATION_PATH};

/// What a field accepts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Boolean,
    /// One of a closed list; `""` and null for the platform's own setting where `optional`.
    Choice {
        choices: &'static [&'static str],
        optional: bool,
    },
    /// A number within these bounds; null where `optional`.
    Integer {
        least: i64,
        most: i64,
        optional: bool,
    },
    /// Text of at most this many characters; null where `optional`.
    Text {
        longest: usize,
        optional: bool,
    },
    /// The URI of an object of another resource, or null.
    Relation {
        resource: &'static str,
    },
    /// Set by the platform; writes are ignored.
    ReadOnly,
    /// Anything: the field stands for releases to come.
    Any,
}

/// Why a value is refused.
pub(super) enum Fault {
    /// A message for the field.
    Field(String),
    /// No object has this URI.
    NoSuchObject(String),
}

const LAYOUTS: &[&str] = &[
    "one_main_zero_pips",
    "one_main_seven_pips",
    "one_main_twentyone_pips",
    "one_main_thirtythree_pips",
    "two_mains_twentyone_pips",
    "four_mains_zero_pips",
    "nine_mains_zero_pips",
    "sixteen_mains_zero_pips",
    "twentyfive_mains_zero_pips",
    "five_mains_seven_pips",
    "one_main_nine_around",
    "one_main_twelve_around",
    "two_mains_eight_around",
];
const DEFAULT_YES_NO: &[&str] = &["default", "yes", "no"];
const SERVICE_TYPES: &[&str] = &["conference", "lecture", "two_stage_dialing", "test_call", "media_playback"];
const CALL_RATE: Kind = Kind::Integer { least: 128, most: 8_192, optional: true };
const SHORT_TEXT: Kind = Kind::Text { longest: 250, optional: false };

/// A resource of which no object exists here.
const NONE: &str = "";

const FIELDS: &[(&str, Kind)] = &[
    ("breakout_rooms", Kind::Boolean),
    ("call_type", one_of(&["video", "audio", "video-only"])),
    ("crypto_mode", Kind::Choice { choices: &["besteffort", "on", "off"], optional: true }),
    ("denoise_enabled", Kind::Boolean),
    ("direct_media", one_of(&["never", "best_effort", "always"])),
    ("direct_media_notification_duration", Kind::Integer { least: 0, most: 30, optional: false }),
    ("enable_active_speaker_indication", Kind::Boolean),
    ("enable_chat", one_of(DEFAULT_YES_NO)),
    ("enable_overlay_text", Kind::Boolean),
    ("force_presenter_into_main", Kind::Boolean),
    ("gms_access_token", Kind::Relation { resource: NONE }),
    ("guest_identity_provider_group", Kind::Relation { resource: NONE }),
    ("guest_view", Kind::Choice { choices: LAYOUTS, optional: true }),
    ("guests_can_present", Kind::Boolean),
    ("guests_can_see_guests", one_of(&["no_hosts", "never", "always"])),
    ("host_identity_provider_group", Kind::Relation { resource: NONE }),
    ("host_view", Kind::Choice { choices: LAYOUTS, optional: true }),
    ("ivr_theme", Kind::Relation { resource: IVR_THEME_PATH }),
    ("live_captions_enabled", one_of(DEFAULT_YES_NO)),
    ("match_string", SHORT_TEXT),
    ("max_callrate_in", CALL_RATE),
    ("max_callrate_out", CALL_RATE),
    ("max_pixels_per_second", Kind::Choice { choices: &["sd", "hd", "fullhd"], optional: true }),
    ("media_playlist", Kind::Relation { resource: NONE }),
    ("meeting_companion", Kind::Any),
    ("mssip_proxy", Kind::Relation { resource: NONE }),
    ("mute_all_guests", Kind::Boolean),
    ("non_idp_participants", one_of(&["disallow_all", "allow_if_trusted"])),
    ("on_completion", Kind::Text { longest: 1_000, optional: false }),
    ("participant_limit", Kind::Integer { least: 0, most: 1_000_000, optional: true }),
    ("pinning_config", Kind::Text { longest: 250, optional: true }),
    ("post_match_string", SHORT_TEXT),
    ("post_replace_string", SHORT_TEXT),
    ("primary_owner_email_address", Kind::Text { longest: 100, optional: false }),
    ("replace_string", SHORT_TEXT),
    ("scheduled_conferences", Kind::ReadOnly),
    ("scheduled_conferences_count", Kind::ReadOnly),
    ("service_type", one_of(SERVICE_TYPES)),
    ("softmute_enabled", Kind::Boolean),
    ("sync_tag", SHORT_TEXT),
    ("system_location", Kind::Relation { resource: SYSTEM_LOCATION_PATH }),
    ("teams_proxy", Kind::Relation { resource: NONE }),
    ("two_stage_dial_type", one_of(&["regular", "mssip", "gms", "teams"])),
];

const fn one_of(choices: &'static [&'static str]) -> Kind {
    Kind::Choice { choices, optional: false }
}

/// The field's own name and what it accepts; `None` if the resource has no such field.
pub(super) fn find(field: &str) -> Option<(&'static str, Kind)> {
    FIELDS.iter().find(|(name, _)| *name == field).copied()
}

impl Kind {
    /// Checks a value and returns it as it reads back.
    pub(super) fn check(self, value: &Value) -> Result<Value, Fault> {
        let fault = |message: &str| Err(Fault::Field(message.to_owned()));
        match (self, value) {
            (Self::Any | Self::ReadOnly, _)
            | (Self::Boolean, Value::Bool(_))
            | (
                Self::Choice { optional: true, .. }
                | Self::Text { optional: true, .. }
                | Self::Integer { optional: true, .. }
                | Self::Relation { .. },
                Value::Null,
            ) => Ok(value.clone()),
            (Self::Boolean, _) => fault("This value must be either True or False."),
            (Self::Choice { choices, optional }, Value::String(text))
                if choices.contains(&text.as_str()) || (optional && text.is_empty()) =>
            {
                Ok(value.clone())
            }
            (_, Value::Null) => fault("This field cannot be null."),
            (Self::Choice { .. }, _) => {
                let given = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                fault(&format!("Select a valid choice. {given} is not one of the available choices."))
            }
            (Self::Integer { least, most, .. }, _) => match value.as_i64() {
                None => fault("Enter a whole number."),
                Some(number) if number < least => {
                    fault(&format!("Ensure this value is greater than or equal to {least}."))
                }
                Some(number) if number > most => fault(&format!("Ensure this value is less than or equal to {most}.")),
                Some(_) => Ok(value.clone()),
            },
            (Self::Text { longest, .. }, Value::String(text)) => match text.chars().count() {
                length if length > longest => {
                    fault(&format!("Ensure this value has at most {longest} characters (it has {length})."))
                }
                _ => Ok(value.clone()),
            },
            (Self::Text { .. }, _) => fault("This field must be a string."),
            (Self::Relation { resource }, Value::String(uri))
                if !resource.is_empty() && *uri == format!("{resource}1/") =>
            {
                Ok(value.clone())
            }
            (Self::Relation { .. }, _) => {
                Err(Fault::NoSuchObject(value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            }
        }
    }

    /// Type, null and choices as a schema states them.
    pub(super) fn schema(self) -> (&'static str, bool, &'static [&'static str]) {
        match self {
            Self::Boolean => ("boolean", false, &[]),
            Self::Choice { choices, optional } => ("string", optional, choices),
            Self::Integer { optional, .. } => ("integer", optional, &[]),
            Self::Text { optional, .. } => ("string", optional, &[]),
            Self::Relation { .. } => ("related", true, &[]),
            Self::ReadOnly | Self::Any => ("dict", true, &[]),
        }
    }
}
