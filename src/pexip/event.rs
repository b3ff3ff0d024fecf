//! What Conferencing Nodes report to an event sink. Source: Pexip Infinity documentation, "Using event sinks to monitor
//! conference and participant status"; envelopes of version 1 and 2, single and in bulk.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::{RoomName, RoomNamePrefix, named_enum};

/// Something that happened on a Conferencing Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// The room whose conference has ended on that node, if it is one of ours. It may still run on another node, and
    /// people may have come back.
    pub ended: Option<RoomName>,
}

named_enum! {
    /// Kind of an event: label `kind` of `maxconf.event_sink.events`. Never the sender's text, which would be
    /// unbounded.
    pub enum EventKind {
        Sink = "sink",
        ConferenceStarted = "conference_started",
        ConferenceUpdated = "conference_updated",
        ConferenceEnded = "conference_ended",
        Participant = "participant",
        Other = "other",
    }
}

impl EventKind {
    fn of(event: &str) -> Self {
        match event {
            "conference_started" => Self::ConferenceStarted,
            "conference_updated" => Self::ConferenceUpdated,
            "conference_ended" => Self::ConferenceEnded,
            sink if sink.starts_with("eventsink_") => Self::Sink,
            participant if participant.starts_with("participant_") => Self::Participant,
            _ => Self::Other,
        }
    }
}

/// The events in the body of one delivery, about rooms with one of the prefixes. `None` for an event that cannot be
/// read: it is accepted, because a repeated delivery could not be read either. The others of a bulk are read.
pub fn events(body: &[u8], prefixes: [&RoomNamePrefix; 2]) -> Vec<Option<Event>> {
    let text = with_unreadable_escapes(body);
    let events = match serde_json::from_str::<Bulk<'_>>(&text) {
        Ok(bulk) if bulk.event == "eventsink_bulk" => bulk.data.into_iter().map(RawValue::get).collect(),
        _ => vec![text.as_str()],
    };
    events.into_iter().map(|event| Some(serde_json::from_str::<Envelope>(event).ok()?.read(prefixes))).collect()
}

/// `body` with half a surrogate pair in place of bytes that are not UTF-8. In a string that makes the string unreadable
/// and nothing around it, because what is passed over as a [`RawValue`] is not decoded.
fn with_unreadable_escapes(body: &[u8]) -> String {
    body.utf8_chunks()
        .flat_map(|chunk| [chunk.valid(), if chunk.invalid().is_empty() { "" } else { "\\ud800" }])
        .collect()
}

/// Several events in one delivery.
#[derive(Deserialize)]
struct Bulk<'a> {
    event: String,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// The other members (`node`, `seq`, `version`, `time`) are not needed: `seq` restarts with the sink, and every event
/// is checked on the management node before it has an effect.
#[derive(Deserialize)]
struct Envelope {
    event: String,
    #[serde(default)]
    data: Value,
}

impl Envelope {
    fn read(&self, prefixes: [&RoomNamePrefix; 2]) -> Event {
        let kind = EventKind::of(&self.event);
        // Conference events have `name`, participant events `conference`; the operator's receiver reads either.
        let text = |member| self.data.get(member)?.as_str().filter(|text| !text.is_empty());
        let name = ["name", "conference"].into_iter().find_map(text);
        let ended = name
            .filter(|_| kind == EventKind::ConferenceEnded)
            .and_then(|name| prefixes.into_iter().find_map(|prefix| prefix.parse_name(name)));
        Event { kind, ended }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAME: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

    fn read(body: &Value) -> Vec<(EventKind, bool)> {
        let prefix = RoomNamePrefix::parse("vbv-").expect("a prefix");
        let events = events(body.to_string().as_bytes(), [&prefix, &prefix]);
        events.into_iter().flatten().map(|event| (event.kind, event.ended.is_some())).collect()
    }

    #[test]
    fn both_versions_are_read_single_and_in_bulk() {
        let ended = |version: u8| json!({"event": "conference_ended", "version": version, "data": {"name": NAME}});
        for version in [1, 2] {
            assert_eq!(read(&ended(version)), [(EventKind::ConferenceEnded, true)]);
        }
        let bulk = json!({"event": "eventsink_bulk", "data": [ended(1), {"event": "eventsink_started"}, ended(2), 7]});
        assert_eq!(
            read(&bulk),
            [(EventKind::ConferenceEnded, true), (EventKind::Sink, false), (EventKind::ConferenceEnded, true)]
        );
    }

    #[test]
    fn the_room_is_the_name_or_else_the_conference() {
        for (data, is_ours) in [
            (json!({"conference": NAME}), true),
            (json!({"name": "", "conference": NAME}), true),
            (json!({"name": null, "conference": NAME}), true),
            (json!({"name": 7, "conference": NAME}), true),
            (json!({"name": NAME, "conference": "boardroom"}), true),
            (json!({"name": "boardroom", "conference": NAME}), false),
            (json!({"conference": [NAME]}), false),
            (json!({"conference": "boardroom"}), false),
        ] {
            let event = json!({"event": "conference_ended", "data": data});
            assert_eq!(read(&event), [(EventKind::ConferenceEnded, is_ours)], "{event}");
        }
        let left = json!({"event": "participant_disconnected", "data": {"conference": NAME}});
        assert_eq!(read(&left), [(EventKind::Participant, false)]);
    }

    #[test]
    fn an_unreadable_event_of_a_bulk_costs_no_other() {
        let prefix = RoomNamePrefix::parse("vbv-").expect("a prefix");
        let ended = json!({"event": "conference_ended", "data": {"name": NAME}}).to_string();
        let read = Some(Event { kind: EventKind::ConferenceEnded, ended: prefix.parse_name(NAME) });
        let too_deep = [r#"{"event":"x","data":"#, &"[".repeat(200), &"]".repeat(200), "}"].concat();
        let strings: [&[u8]; 6] =
            [br"\ud83d", br"\udc00\ud83d", b"\xff", b"\xed\xa0\xbd", b"caf\xe9 \xf0\x9f", b"\xc3"];
        let mut unreadable: Vec<Vec<u8>> = Vec::new();
        for string in strings {
            for (before, after) in [
                (r#"{"event":"participant_connected","data":{"display_name":""#, r#""}}"#),
                (r#"{"event":"conference_ended","data":{"tag":["a",{"b":""#, r#""}]}}"#),
                (r#"{"event":"conference_ended","data":{""#, r#"":1}}"#),
                (r#"{"event":""#, r#""}"#),
            ] {
                unreadable.push([before.as_bytes(), string, after.as_bytes()].concat());
            }
        }
        unreadable.extend(
            ["7", "null", "[]", "{}", r#"{"event":1}"#, r#"{"event":"x","event":"y"}"#, &too_deep].map(Into::into),
        );
        unreadable.push(br#"{"event":"x","data":1e999}"#.to_vec());
        for event in unreadable {
            let bulk: [&[u8]; 7] = [
                br#"{"event":"eventsink_bulk","data":["#,
                ended.as_bytes(),
                b",",
                &event,
                b",",
                ended.as_bytes(),
                b"]}",
            ];
            let found = events(&bulk.concat(), [&prefix, &prefix]);
            assert_eq!(found, [read.clone(), None, read.clone()], "{}", String::from_utf8_lossy(&event));
            assert_eq!(events(&event, [&prefix, &prefix]), [None], "{}", String::from_utf8_lossy(&event));
        }
        for broken in ["", "{", r#"{"event":"eventsink_bulk","data":[{"event":"x"}"#] {
            assert_eq!(events(broken.as_bytes(), [&prefix, &prefix]), [None], "{broken}");
        }
        assert_eq!(events(br#"{"event":"eventsink_bulk","data":[]}"#, [&prefix, &prefix]), []);
    }

    #[test]
    fn unknown_foreign_and_malformed_events_end_no_room() {
        for (body, kinds) in [
            (json!({"event": "conference_ended", "data": {"name": "boardroom"}}), vec![EventKind::ConferenceEnded]),
            (json!({"event": "conference_ended", "data": [NAME]}), vec![EventKind::ConferenceEnded]),
            (json!({"event": "conference_ended"}), vec![EventKind::ConferenceEnded]),
            (json!({"event": "conference_started", "data": {"name": NAME}}), vec![EventKind::ConferenceStarted]),
            (json!({"event": "conference_updated", "data": {"name": NAME}}), vec![EventKind::ConferenceUpdated]),
            (json!({"event": "participant_media_stream_window", "data": {}}), vec![EventKind::Participant]),
            (json!({"event": "breakfast", "data": {"name": NAME}, "new": 1}), vec![EventKind::Other]),
            // A node sends no bulk within a bulk.
            (
                json!({"event": "eventsink_bulk", "data": [{"event": "eventsink_bulk", "data": [
                {"event": "conference_ended", "data": {"name": NAME}}]}]}),
                vec![EventKind::Sink],
            ),
            (json!({"event": 1}), vec![]),
            (json!([]), vec![]),
        ] {
            let expected: Vec<_> = kinds.into_iter().map(|kind| (kind, false)).collect();
            assert_eq!(read(&body), expected, "{body}");
        }
    }
}
