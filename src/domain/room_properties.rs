//! Further fields of a room's conference resource on Pexip, the same for all rooms of a deployment.

use serde_json::{Map, Value};

/// What a field accepts.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Boolean,
    Choice(&'static [&'static str]),
    Number {
        least: u64,
        most: u64,
    },
    /// 1 to so many characters.
    Text(usize),
    /// The path of a theme on the node.
    Theme,
}

const LAYOUT: Kind = Kind::Choice(&[
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
]);
/// The layouts of which every source says that external policy knows them.
const LAYOUTS_OF_POLICY: [&str; 10] = [
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
];
const SWITCH: Kind = Kind::Choice(&["default", "yes", "no"]);
/// In kbit/s; external policy has the same fields in bit/s.
const CALL_RATE: Kind = Kind::Number { least: 128, most: 8192 };
const THEMES: &str = "/api/admin/configuration/v1/ivr_theme/";

/// The fields that may be set, by the vendor's schema of releases 38 to 41.
///
/// Not `breakout_rooms`: people in them are in a conference of another name, where no presence snapshot finds them. Not
/// the identity provider groups and `non_idp_participants`: they decide who may join, as PINs and `allow_guests` do.
const FIELDS: [(&str, Kind); 22] = [
    ("call_type", Kind::Choice(&["audio", "video", "video-only"])),
    ("crypto_mode", Kind::Choice(&["besteffort", "on", "off"])),
    ("denoise_enabled", Kind::Boolean),
    ("direct_media", Kind::Choice(&["never", "best_effort", "always"])),
    ("direct_media_notification_duration", Kind::Number { least: 0, most: 30 }),
    ("enable_active_speaker_indication", Kind::Boolean),
    ("enable_chat", SWITCH),
    ("enable_overlay_text", Kind::Boolean),
    ("force_presenter_into_main", Kind::Boolean),
    ("guest_view", LAYOUT),
    ("guests_can_present", Kind::Boolean),
    ("guests_can_see_guests", Kind::Choice(&["no_hosts", "never", "always"])),
    ("host_view", LAYOUT),
    ("ivr_theme", Kind::Theme),
    ("live_captions_enabled", SWITCH),
    ("max_callrate_in", CALL_RATE),
    ("max_callrate_out", CALL_RATE),
    ("max_pixels_per_second", Kind::Choice(&["sd", "hd", "fullhd"])),
    ("mute_all_guests", Kind::Boolean),
    ("participant_limit", Kind::Number { least: 0, most: 1_000_000 }),
    ("pinning_config", Kind::Text(250)),
    ("softmute_enabled", Kind::Boolean),
];

/// Checked fields and their values, as the configuration API writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomProperties(Vec<(&'static str, Value)>);

/// Why a text is no set of properties. Names fields and shows no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoomProperties {
    #[error("must be a JSON object such as {{\"call_type\": \"video\"}}")]
    NoObject,
    #[error("{}", .0.join("; "))]
    Fields(Vec<String>),
}

impl RoomProperties {
    /// Parses a JSON object. All faulty fields are reported together.
    pub fn parse(text: &str) -> Result<Self, InvalidRoomProperties> {
        let given: Map<String, Value> = serde_json::from_str(text).map_err(|_| InvalidRoomProperties::NoObject)?;
        let of_field = |(name, kind): &(&'static str, Kind)| {
            let value = given.get(*name)?;
            Some(if kind.accepts(value) { Ok((*name, value.clone())) } else { Err(format!("{name} {}", kind.rule())) })
        };
        let (good, bad): (Vec<_>, Vec<_>) = FIELDS.iter().filter_map(of_field).partition(Result::is_ok);
        let mut faults: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
        if good.len() + faults.len() < given.len() {
            // An unknown name could be a secret that was pasted into the wrong setting.
            let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
            faults.push(format!("has a field that may not be set; those that may are {}", names.join(", ")));
        }
        if faults.is_empty() {
            Ok(Self(good.into_iter().flatten().collect()))
        } else {
            Err(InvalidRoomProperties::Fields(faults))
        }
    }

    /// The fields and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The fields as external policy has them, or the name of one that it cannot set: themes have names there, not
    /// paths, and a layout that a release does not know voids the whole answer.
    pub fn for_policy(&self) -> Result<Vec<(&'static str, Value)>, &'static str> {
        let mut fields = Vec::new();
        for (name, value) in self.iter() {
            match name {
                "ivr_theme" => return Err(name),
                "host_view" if !value.as_str().is_some_and(|layout| LAYOUTS_OF_POLICY.contains(&layout)) => {
                    return Err(name);
                }
                "host_view" => fields.push(("view", value.clone())),
                // Of lectures only.
                "guest_view" | "guests_can_see_guests" | "force_presenter_into_main" => {}
                "max_callrate_in" | "max_callrate_out" => {
                    fields.push((name, value.as_u64().map(|kilobits| kilobits * 1000).into()));
                }
                _ => fields.push((name, value.clone())),
            }
        }
        Ok(fields)
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields that have another value in `conference`, a conference object of the configuration API.
    pub fn differing_in(&self, conference: &Value) -> Vec<&'static str> {
        let differs = |(name, wanted): &(&'static str, &Value)| !is_read_back(wanted, &conference[*name]);
        self.iter().filter(differs).map(|(name, _)| name).collect()
    }

    /// Whether this is the name of a field that may be set.
    pub fn has_field(name: &str) -> bool {
        FIELDS.iter().any(|(field, _)| *field == name)
    }
}

/// Releases read a theme back as its path or as an object, which has its path or only its id.
fn is_read_back(wanted: &Value, found: &Value) -> bool {
    let is_this_theme = || wanted.as_str().is_some_and(|path| path == format!("{THEMES}{}/", found["id"]));
    wanted == found || found.is_object() && (wanted == &found["resource_uri"] || is_this_theme())
}

impl Kind {
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Boolean => value.is_boolean(),
            Self::Choice(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
            Self::Number { least, most } => value.as_u64().is_some_and(|number| (least..=most).contains(&number)),
            Self::Text(longest) => {
                value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= longest)
            }
            Self::Theme => value.as_str().and_then(theme_id).is_some(),
        }
    }

    /// Completes the sentence that starts with the field's name.
    fn rule(self) -> String {
        match self {
            Self::Boolean => "must be true or false".to_owned(),
            Self::Choice(choices) => format!("must be one of {}", choices.join(", ")),
            Self::Number { least, most } => format!("must be a whole number from {least} to {most}"),
            Self::Text(longest) => format!("must be a text of 1 to {longest} characters"),
            Self::Theme => format!("must be the path of a theme such as {THEMES}2/"),
        }
    }
}

fn theme_id(path: &str) -> Option<u64> {
    let id = path.strip_prefix(THEMES)?.strip_suffix('/')?;
    id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok())?.filter(|&id| id > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_listed_fields_with_values_of_the_schema_are_accepted() {
        for (field, good, bad) in [
            ("call_type", json!("video-only"), vec![json!("Video"), json!("auto"), json!(""), json!(null), json!(1)]),
            ("crypto_mode", json!("on"), vec![json!(""), json!(true), json!("besteffort ")]),
            ("denoise_enabled", json!(true), vec![json!("true"), json!(1), json!(null)]),
            ("enable_chat", json!("no"), vec![json!(false), json!("off")]),
            ("guest_view", json!("four_mains_zero_pips"), vec![json!("four"), json!(null)]),
            ("host_view", json!("two_mains_eight_around"), vec![json!("one_main_six_pips"), json!(["x"])]),
            ("max_callrate_in", json!(128), vec![json!(127), json!(8193), json!(1.5), json!("128"), json!(-1)]),
            ("max_callrate_out", json!(8192), vec![json!(8193), json!(null)]),
            ("participant_limit", json!(1_000_000), vec![json!(1_000_001), json!(-1)]),
            ("direct_media_notification_duration", json!(0), vec![json!(31)]),
            ("pinning_config", json!("p".repeat(250)), vec![json!("p".repeat(251)), json!("")]),
            (
                "ivr_theme",
                json!("/api/admin/configuration/v1/ivr_theme/2/"),
                vec![json!(2), json!("/api/admin/configuration/v1/ivr_theme/0/"), json!("/ivr_theme/+2/")],
            ),
        ] {
            let parse = |value: &Value| RoomProperties::parse(&json!({ field: value }).to_string());
            let good = parse(&good).map(|properties| properties.iter().count());
            assert_eq!(good, Ok(1), "{field}");
            for value in bad {
                let fault = parse(&value).expect_err("a faulty value").to_string();
                assert!(fault.starts_with(&format!("{field} must be")), "{field} {value}: {fault}");
            }
        }
    }

    #[test]
    fn what_a_room_is_by_and_who_may_join_cannot_be_set() {
        for field in [
            "name",
            "pin",
            "guest_pin",
            "tag",
            "aliases",
            "description",
            "service_type",
            "allow_guests",
            "automatic_participants",
            "id",
            "resource_uri",
            "breakout_rooms",
            "non_idp_participants",
            "sync_tag",
            "Call_type",
            "hunter2",
        ] {
            let text = json!({ "call_type": "video", field: "video" }).to_string();
            let fault = RoomProperties::parse(&text).expect_err("a field that may not be set").to_string();
            assert!(
                fault.starts_with("has a field that may not be set") && !fault.contains("hunter2"),
                "{field}: {fault}"
            );
        }
    }

    #[test]
    fn all_faults_are_reported_by_field_and_without_values() {
        let text = r#"{"call_type": "hunter2", "max_callrate_in": 1, "enable_chat": "yes", "pin": "193604"}"#;
        let fault = RoomProperties::parse(text).expect_err("three faults").to_string();
        assert!(fault.contains("call_type must") && fault.contains("max_callrate_in must"), "{fault}");
        assert!(fault.contains("has a field that may not be set") && !fault.contains("enable_chat must"), "{fault}");
        assert!(!fault.contains("hunter2") && !fault.contains("193604"), "{fault}");
        for text in ["", "null", "[]", "{", "\"x\"", "{} {}"] {
            assert_eq!(RoomProperties::parse(text), Err(InvalidRoomProperties::NoObject), "{text}");
        }
    }

    #[test]
    fn policy_has_its_own_names_and_units_and_lacks_themes_and_newer_layouts() {
        let for_policy = |properties: Value| -> Result<Value, _> {
            let fields = RoomProperties::parse(&properties.to_string()).expect("properties").for_policy()?;
            Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        let given = json!({
            "call_type": "video", "host_view": "four_mains_zero_pips", "guest_view": "four_mains_zero_pips",
            "guests_can_see_guests": "always", "max_callrate_in": 128, "participant_limit": 6, "guests_can_present": false,
        });
        let expected = json!({
            "call_type": "video", "view": "four_mains_zero_pips", "max_callrate_in": 128_000, "participant_limit": 6,
            "guests_can_present": false,
        });
        assert_eq!(for_policy(given), Ok(expected));
        assert_eq!(for_policy(json!({ "host_view": "one_main_nine_around" })), Err("host_view"));
        assert_eq!(for_policy(json!({ "ivr_theme": "/api/admin/configuration/v1/ivr_theme/2/" })), Err("ivr_theme"));
    }

    #[test]
    fn a_theme_reads_back_as_path_or_object() {
        let text = r#"{"ivr_theme": "/api/admin/configuration/v1/ivr_theme/2/", "enable_chat": "no"}"#;
        let properties = RoomProperties::parse(text).expect("properties");
        for theme in [
            json!("/api/admin/configuration/v1/ivr_theme/2/"),
            json!({ "id": 2, "name": "x" }),
            json!({ "resource_uri": "/api/admin/configuration/v1/ivr_theme/2/" }),
        ] {
            let found = json!({ "ivr_theme": theme, "enable_chat": "no", "call_type": "audio" });
            assert_eq!(properties.differing_in(&found), [""; 0], "{found}");
        }
        for theme in [json!(null), json!({ "id": 3 }), json!("/api/admin/configuration/v1/ivr_theme/3/"), json!({})] {
            let found = json!({ "ivr_theme": theme, "enable_chat": "default" });
            assert_eq!(properties.differing_in(&found), ["enable_chat", "ivr_theme"], "{found}");
        }
    }
}
