//! What a Conferencing Node connects a call to, whether the database or a policy server has it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::live::{AutomaticParticipant, KeepsAlive, Role};
use super::room::StoredRoom;

/// A room as Conferencing Nodes know it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) tag: String,
    /// Empty for none.
    pub(super) pin: String,
    /// Empty for none.
    pub(super) guest_pin: String,
    pub(super) allow_guests: bool,
    pub(super) callees: Vec<Callee>,
    /// All other fields, by name.
    pub(super) settings: Map<String, Value>,
}

/// An automatic participant of a room.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Callee {
    /// The alias that the call comes from.
    pub(super) local_alias: String,
    pub(super) alias: String,
    /// Value in the management API and in events.
    pub(super) protocol: &'static str,
    pub(super) role: Role,
    pub(super) keeps_alive: KeepsAlive,
}

impl Service {
    /// A room without PINs that nobody has configured.
    pub(super) fn named(name: &str) -> Self {
        Self::stored(&StoredRoom::named(name), &BTreeMap::new())
    }

    /// A room of the database.
    pub(super) fn stored(room: &StoredRoom, automatic_participants: &BTreeMap<u64, AutomaticParticipant>) -> Self {
        let callees = room.automatic_participants.iter().filter_map(|id| automatic_participants.get(id));
        Self {
            name: room.name.clone(),
            tag: room.tag.clone(),
            pin: room.pin.clone(),
            guest_pin: room.guest_pin.clone(),
            allow_guests: room.allow_guests,
            callees: callees.map(|participant| Callee::stored(participant, &room.name)).collect(),
            settings: room.settings.clone(),
        }
    }

    /// Whether another answer for the same room agrees in all fields that must be the same for all participants.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        const OF_EACH_PARTICIPANT: [&str; 4] =
            ["max_callrate_in", "max_callrate_out", "host_identity_provider_group", "guest_identity_provider_group"];
        let shared = |service: &Self| Self {
            pin: String::new(),
            guest_pin: String::new(),
            settings: {
                let mut settings = service.settings.clone();
                settings.retain(|field, _| !OF_EACH_PARTICIPANT.contains(&field.as_str()));
                settings
            },
            ..service.clone()
        };
        shared(self) == shared(other)
    }
}

impl Callee {
    /// An automatic participant of the database, dialled by this room.
    pub(super) fn stored(participant: &AutomaticParticipant, room: &str) -> Self {
        Self {
            local_alias: room.to_owned(),
            alias: participant.alias.clone(),
            protocol: "SIP",
            role: participant.role,
            keeps_alive: KeepsAlive::IfMultiple,
        }
    }
}
