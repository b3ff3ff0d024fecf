//! The form of a room as callers rely on it. Repeated here, not imported: a mistake in the service's code must fail the
//! test.

use serde_json::{Map, Value};

/// Members of a `ConstrainedConference`, sorted; a deployment may leave `pin` out of create's answer.
const MEMBERS: [&str; 7] = ["aliases", "allow_guests", "guest_pin", "id", "name", "service_type", "tag"];

/// Whether this is a room name: a prefix of at most 20 from `[a-z0-9-]`, then a lower-case ULID.
pub(super) fn is_room_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_crockford = |byte: u8| byte.is_ascii_alphanumeric() && !b"ilou".contains(&byte);
    (27..=46).contains(&name.len()) && name.bytes().all(is_allowed) && name.bytes().rev().take(26).all(is_crockford)
}

/// What is wrong with the form of a create's `ConstrainedConference`. Shows none of its values.
pub(super) fn format_fault(body: &Value) -> Option<&'static str> {
    let mut members: Vec<_> = body.as_object()?.keys().map(String::as_str).filter(|member| *member != "pin").collect();
    members.sort_unstable();
    let has_wrong_host_pin = body.get("pin").is_some_and(|pin| !is_pin(pin));
    let aliases = body["aliases"].as_array();
    let has_name_as_alias = aliases.is_some_and(|aliases| aliases.iter().any(|alias| alias["alias"] == body["name"]));
    [
        (members != MEMBERS, "the answer's members are not those of a ConstrainedConference"),
        (!body["id"].is_u64(), "the room's id is not a number"),
        (body["service_type"] != "conference", "the room's service_type is not conference"),
        (has_wrong_host_pin || !is_pin(&body["guest_pin"]), "a PIN is not 4 to 20 digits"),
        (!has_name_as_alias, "no alias equals the room's name"),
    ]
    .into_iter()
    .find_map(|(is_wrong, fault)| is_wrong.then_some(fault))
}

/// The argument of `--room-properties`.
pub(super) fn parse_properties(text: &str) -> Result<Map<String, Value>, &'static str> {
    serde_json::from_str(text).map_err(|_| "must be a JSON object such as {\"call_type\": \"video\"}")
}

/// The members of `expected` that have another value in a conference object. A theme may read back as an object that
/// has its path or only its id.
pub(super) fn differing_properties<'a>(expected: &'a Map<String, Value>, conference: &Value) -> Vec<&'a str> {
    let differs = |(name, wanted): &(&String, &Value)| {
        let found = &conference[name.as_str()];
        let is_same_object = || wanted.as_str().is_some_and(|path| path.ends_with(&format!("/{}/", found["id"])));
        *wanted != found && !(found.is_object() && (*wanted == &found["resource_uri"] || is_same_object()))
    };
    expected.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
}

/// Whether a read shows the room as its create did, and the host PIN in any case.
pub(super) fn is_read_of(created: &Value, read: &Value) -> bool {
    let mut expected = created.clone();
    if let Some(members) = expected.as_object_mut() {
        members.entry("pin").or_insert_with(|| read["pin"].clone());
    }
    is_pin(&read["pin"]) && *read == expected
}

/// Whether a node's look-up is answered with the room as its create did, and the host PIN in any case.
pub(super) fn is_configuration_of(created: &Value, decision: &Value) -> bool {
    let result = &decision["result"];
    let has_same = |member: &str| result[member] == created[member];
    let has_host_pin = created.get("pin").map_or_else(|| is_pin(&result["pin"]), |pin| result["pin"] == *pin);
    decision["status"] == "success"
        && ["name", "service_type", "allow_guests", "guest_pin"].into_iter().all(has_same)
        && result["service_tag"] == created["tag"]
        && has_host_pin
}

fn is_pin(pin: &Value) -> bool {
    let digits = pin.as_str().unwrap_or_default().trim_end_matches('#');
    (4..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_room_name_is_a_prefix_and_a_lower_case_ulid() {
        for (name, is_name) in [
            ("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", true),
            ("a-prefix-of-20-chars01jd5p3xk8qqqqqqqqqqqqqqqq", true),
            ("01jd5p3xk8qqqqqqqqqqqqqqqq", false),
            ("a-prefix-of-21-chars-01jd5p3xk8qqqqqqqqqqqqqqqq", false),
            ("vbv-01jd5p3xk8qqqqqqqqqqqqqqqu", false),
            ("vbv-01JD5P3XK8QQQQQQQQQQQQQQQQ", false),
            ("../01jd5p3xk8qqqqqqqqqqqqqqqq", false),
            ("boardroom", false),
        ] {
            assert_eq!(is_room_name(name), is_name, "{name}");
        }
    }

    fn room() -> Value {
        json!({
            "id": 41, "name": "n", "service_type": "conference", "allow_guests": true, "pin": "193604",
            "guest_pin": "852117", "tag": "t", "aliases": [{ "alias": "n", "creation_time": "", "description": "", "id": 1 }],
        })
    }

    #[test]
    fn a_read_has_the_host_pin_whether_the_create_had_it_or_not() {
        let with = |pin: Value| {
            let mut room = room();
            room["pin"] = pin;
            room
        };
        let mut without = room();
        without.as_object_mut().expect("an object").remove("pin");
        for (created, read, is_same) in [
            (room(), room(), true),
            (without.clone(), room(), true),
            (room(), without.clone(), false),
            (without.clone(), without.clone(), false),
            (without.clone(), with(json!("")), false),
            (room(), with(json!("000000")), false),
            (without, json!({ "pin": "193604" }), false),
        ] {
            assert_eq!(is_read_of(&created, &read), is_same, "{created} {read}");
        }
    }

    #[test]
    fn a_configuration_has_the_rooms_name_tag_and_both_pins() {
        let room = room();
        let mut without_host_pin = room.clone();
        without_host_pin.as_object_mut().expect("an object").remove("pin");
        let decision = json!({ "status": "success", "action": "continue", "result": {
            "name": "n", "service_type": "conference", "service_tag": "t", "allow_guests": true, "pin": "193604",
            "guest_pin": "852117",
        }});
        assert!(is_configuration_of(&room, &decision) && is_configuration_of(&without_host_pin, &decision));
        for (member, value) in [
            ("name", json!("m")),
            ("service_type", json!("lecture")),
            ("service_tag", json!("u")),
            ("allow_guests", json!("True")),
            ("pin", json!("")),
            ("guest_pin", json!(852_117)),
        ] {
            let mut other = decision.clone();
            other["result"][member] = value;
            assert!(!is_configuration_of(&room, &other), "{member}");
            assert!(!is_configuration_of(&without_host_pin, &other), "{member}");
        }
        let mut failed = decision;
        failed["status"] = json!("fail");
        assert!(!is_configuration_of(&room, &failed));
    }

    #[test]
    fn every_deviation_from_the_form_is_a_fault() {
        let room = room();
        assert_eq!(format_fault(&room), None);
        let mut without_host_pin = room.clone();
        without_host_pin.as_object_mut().expect("an object").remove("pin");
        assert_eq!(format_fault(&without_host_pin), None);
        for (member, value) in [
            ("id", json!("41")),
            ("service_type", json!("lecture")),
            ("pin", json!("")),
            ("guest_pin", json!(null)),
            ("aliases", json!([])),
            ("more", json!(1)),
        ] {
            let mut other = room.clone();
            other[member] = value;
            assert!(format_fault(&other).is_some(), "{member}");
        }
    }
}
