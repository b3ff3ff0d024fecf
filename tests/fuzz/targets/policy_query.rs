//! The query of a Conferencing Node's look-up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maxconf::domain::RoomNamePrefix;
use maxconf::pexip::LookUp;
use url::form_urlencoded;

fuzz_target!(|query: &str| {
    let prefix = RoomNamePrefix::parse("vbi-").expect("the usual prefix");
    let Some(look_up) = LookUp::read(query, &prefix) else { return };
    assert!(look_up.room.has_prefix(&prefix));
    let parameter = if look_up.is_own_dial_out { "service_name" } else { "local_alias" };
    let first = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == parameter);
    // Nothing is decoded twice: the name stands in the decoded value as it is.
    let value = first.expect("the parameter that names the room").1.to_ascii_lowercase();
    assert!(value.contains(look_up.room.as_str()), "{query:?}");
    let is_dial_out =
        form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "call_direction" && value == "dial_out");
    assert!(is_dial_out || !look_up.is_own_dial_out, "{query:?}");
});
