//! Events of Conferencing Nodes.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::live::{Conference, Participant};

/// An event of a node, in the form of version 1.
#[derive(Clone, Debug)]
pub(in super::super) struct Event {
    /// Address of the node.
    pub(in super::super) node: String,
    pub(super) at: OffsetDateTime,
    pub(super) name: &'static str,
    pub(super) data: Value,
}

impl Event {
    /// An event of the sink itself; without data.
    pub(super) fn sink(name: &'static str, node: &str, at: OffsetDateTime) -> Self {
        Self { node: node.to_owned(), at, name, data: json!({}) }
    }

    /// A conference event; `data.name` is the room. `start` is the conference's start on this node.
    pub(in super::super) fn conference(
        name: &'static str,
        conference: &Conference,
        node: &str,
        start: OffsetDateTime,
        at: OffsetDateTime,
    ) -> Self {
        let mut data = json!({
            "guests_muted": false,
            "is_locked": false,
            "is_started": conference.is_started,
            "name": conference.service.name,
            "service_type": "conference",
            "start_time": seconds(start),
            "tag": conference.service.tag,
        });
        if name == "conference_ended" {
            data["end_time"] = json!(seconds(at));
        }
        Self { node: node.to_owned(), at, name, data }
    }

    /// A participant event; `data.conference` is the room.
    pub(in super::super) fn participant(name: &'static str, participant: &Participant, at: OffsetDateTime) -> Self {
        let data = json!({
            "call_direction": participant.call_direction,
            "call_id": participant.id,
            "call_tag": "",
            "conference": participant.conference,
            "connect_time": seconds(participant.connect_time),
            "conversation_id": participant.id,
            "destination_alias": participant.destination_alias,
            "display_name": participant.display_name,
            "encryption": if participant.has_media { "On" } else { "Off" },
            "has_media": participant.has_media,
            "is_client_muted": false,
            "is_idp_authenticated": false,
            "is_muted": false,
            "is_presenting": false,
            "is_streaming": false,
            "media_node": participant.node,
            "protocol": participant.protocol,
            "proxy_node": null,
            "related_uuids": [],
            "remote_address": "127.0.0.1",
            "role": participant.role_name(),
            "rx_bandwidth": 1264,
            "service_tag": participant.service_tag,
            "service_type": participant.service_type,
            "signalling_node": participant.node,
            "source_alias": participant.source_alias,
            "system_location": "Simulated",
            "tx_bandwidth": 1264,
            "uuid": participant.id,
            "vendor": "",
        });
        Self { node: participant.node.clone(), at, name, data }
    }

    /// The event of a participant's disconnection.
    pub(in super::super) fn disconnected(participant: &Participant, reason: &str, at: OffsetDateTime) -> Self {
        let mut event = Self::participant("participant_disconnected", participant, at);
        event.data["disconnect_reason"] = json!(reason);
        event.data["end_time"] = json!(seconds(at));
        event.data["duration"] = json!((at - participant.connect_time).as_seconds_f64());
        event.data["media_streams"] = participant.media_streams();
        event
    }

    /// The events that a sink of this version receives: from version 2 on, media streams have an event of their own.
    pub(super) fn in_version(mut self, version: u8) -> Vec<Self> {
        let streams = self.data.as_object_mut().filter(|_| version > 1).and_then(|data| data.remove("media_streams"));
        let Some(streams) = streams else {
            return vec![self];
        };
        let data = json!({"uuid": self.data["uuid"], "media_streams": streams});
        vec![Self { name: "participant_media_streams_destroyed", data, ..self.clone() }, self]
    }

    /// The envelope in which the event is sent.
    pub(super) fn envelope(&self, seq: u64, version: u8) -> Value {
        json!({
            "node": self.node, "seq": seq, "version": version, "time": seconds(self.at),
            "event": self.name, "data": self.data,
        })
    }
}

/// Several events in one request.
pub(super) fn bulk(events: &[Value], at: OffsetDateTime) -> Value {
    json!({
        "node": "127.0.0.1", "seq": 0, "version": 2, "time": seconds(at),
        "event": "eventsink_bulk", "data": events,
    })
}

impl Participant {
    fn media_streams(&self) -> Value {
        if !self.has_media {
            return json!([]);
        }
        json!([{
            "id": "0", "stream_type": "video", "node": self.node, "start_time": seconds(self.connect_time),
            "rx_bitrate": 1_024, "rx_packets_lost": 0, "tx_bitrate": 1_024, "tx_packets_lost": 0,
        }])
    }
}

/// Unix seconds.
fn seconds(at: OffsetDateTime) -> f64 {
    (at - OffsetDateTime::UNIX_EPOCH).as_seconds_f64()
}
