//! Requests to the event sink: a line with the credentials, then the body.

#![no_main]

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use maxconf::auth::NodeAccount;
use maxconf::config::BasicAccount;
use maxconf::domain::RoomNamePrefix;
use maxconf::pexip::{EventKind, events};
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (credentials, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());

    let config = BasicAccount { username: "events".to_owned(), password: "p4:ss".into() };
    if let Ok(value) = HeaderValue::from_bytes(credentials) {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        if NodeAccount::new(&config).verify(&headers).is_ok() {
            let proof = STANDARD.decode(credentials[6..].trim_ascii()).expect("accepted credentials are base64");
            assert_eq!(proof, b"events:p4:ss");
        }
    }

    let prefix = RoomNamePrefix::parse("vbv-").expect("the usual prefix");
    let delivery: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    for event in events(body, [&prefix, &prefix]).into_iter().flatten() {
        let Some(room) = event.ended else { continue };
        assert_eq!(event.kind, EventKind::ConferenceEnded);
        // A bulk with an unreadable event is unreadable as a whole here.
        if delivery.is_null() {
            continue;
        }
        let single = std::slice::from_ref(&delivery);
        let reported = delivery["data"]
            .as_array()
            .map_or(single, Vec::as_slice)
            .iter()
            .filter(|one| one["event"] == "conference_ended")
            .any(|one| ["name", "conference"].iter().any(|member| one["data"][member] == room.as_str()));
        assert!(reported, "no event says that {room} has ended: {delivery}");
    }
});
