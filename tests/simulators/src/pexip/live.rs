//! Running conferences and everybody in them or on the way in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use time::OffsetDateTime;

use super::clock::Clock;
use super::event_sink::{Event, Sinks};
use super::watchers::Watchers;
use crate::identifier::guid;

/// Why a conference ends that only one dialled leg is left in.
const NOBODY_KEEPS_IT_ALIVE: &str = "No participants can keep conference alive";

/// A participant's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A host.
    Chair,
    /// A guest.
    Guest,
}

/// What is going on, told to whoever listens as it changes.
#[derive(Debug)]
pub(super) struct Live {
    clock: Clock,
    /// By the name of the room, the only thing that status and configuration share.
    conferences: BTreeMap<String, Conference>,
    participants: Vec<Participant>,
    pub(super) sinks: Sinks,
    pub(super) watchers: Watchers,
}

#[derive(Debug)]
pub(super) struct Conference {
    /// Of this run of the conference, unrelated to the id of the room.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tag: String,
    /// Since the first host has had media.
    pub(super) is_started: bool,
    pub(super) start_time: OffsetDateTime,
    /// When it began on each node that has somebody in it.
    shards: BTreeMap<String, OffsetDateTime>,
}

#[derive(Clone, Debug)]
pub(super) struct Participant {
    pub(super) id: String,
    /// Address of the Conferencing Node.
    pub(super) node: String,
    /// Name of the room.
    pub(super) conference: String,
    pub(super) display_name: String,
    /// `None` while it is not known.
    pub(super) role: Option<Role>,
    pub(super) call_direction: &'static str,
    pub(super) protocol: &'static str,
    pub(super) service_type: &'static str,
    pub(super) source_alias: String,
    pub(super) destination_alias: String,
    pub(super) has_media: bool,
    pub(super) connect_time: OffsetDateTime,
}

impl Role {
    /// In the words of the management API and the event sinks.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chair => "chair",
            Self::Guest => "guest",
        }
    }

    /// In the words of the client API.
    pub(super) fn client_name(self) -> &'static str {
        match self {
            Self::Chair => "HOST",
            Self::Guest => "GUEST",
        }
    }
}

impl Live {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            sinks: Sinks::new(clock.clone()),
            clock,
            conferences: BTreeMap::new(),
            participants: Vec::new(),
            watchers: Watchers::default(),
        }
    }

    pub(super) fn conferences(&self) -> impl Iterator<Item = &Conference> {
        self.conferences.values()
    }

    pub(super) fn participants(&self) -> impl Iterator<Item = &Participant> {
        self.participants.iter()
    }

    pub(super) fn participants_of(&self, conference: &str) -> impl Iterator<Item = &Participant> {
        self.participants().filter(move |participant| participant.conference == conference)
    }

    /// Those who have come in, whom clients are told of as well.
    pub(super) fn inside(&self, conference: &str) -> impl Iterator<Item = &Participant> {
        self.participants_of(conference).filter(|participant| participant.is_in_conference())
    }

    pub(super) fn conference(&self, name: &str) -> Option<&Conference> {
        self.conferences.get(name)
    }

    /// Whether anybody at all is in the conference or on the way in.
    pub(super) fn is_running(&self, name: &str) -> bool {
        self.conferences.contains_key(name) || self.participants_of(name).next().is_some()
    }

    pub(super) fn participant(&self, id: &str) -> Option<&Participant> {
        self.participants().find(|participant| participant.id == id)
    }

    /// Lets a participant in, and begins the conference where it is not running. Returns the participant's id.
    pub(super) fn admit(&mut self, participant: Participant, tag: &str) -> String {
        if participant.is_in_conference() {
            self.begin(&participant, tag);
        }
        self.sinks.publish(&Event::participant("participant_connected", &participant, participant.connect_time));
        if participant.is_in_conference() {
            self.watchers.show(&participant.conference, "participant_create", &participant.client_json());
        }
        if participant.role == Some(Role::Chair) && participant.has_media {
            self.start(&participant.conference);
        }
        let id = participant.id.clone();
        self.participants.push(participant);
        id
    }

    /// The participant sends and receives pictures from now on.
    pub(super) fn connect_media(&mut self, id: &str) {
        let Some(participant) = self.participants.iter_mut().find(|participant| participant.id == id) else {
            return;
        };
        participant.has_media = true;
        participant.protocol = "WebRTC";
        let participant = participant.clone();
        self.sinks.publish(&Event::participant("participant_updated", &participant, self.clock.now()));
        self.watchers.show(&participant.conference, "participant_update", &participant.client_json());
        if participant.role == Some(Role::Chair) {
            self.start(&participant.conference);
        }
    }

    /// A participant leaves; without anybody who keeps it alive the conference ends.
    pub(super) fn depart(&mut self, id: &str, reason: &str) {
        let Some(at) = self.participants().position(|participant| participant.id == id) else {
            return;
        };
        let participant = self.participants.remove(at);
        self.say_goodbye(&participant, reason);
        if self.is_kept_alive(&participant.conference) {
            self.end_where_nobody_is(&participant.conference);
        } else {
            self.throw_out(&participant.conference, Participant::is_in_conference, NOBODY_KEEPS_IT_ALIVE);
        }
    }

    /// Everybody is thrown out, whoever is on the way in included, and the conference ends.
    pub(super) fn end(&mut self, name: &str, reason: &str) {
        self.throw_out(name, |_| true, reason);
    }

    fn throw_out(&mut self, name: &str, whom: fn(&Participant) -> bool, reason: &str) {
        let chosen = |participant: &mut Participant| participant.conference == name && whom(participant);
        let thrown_out: Vec<_> = self.participants.extract_if(.., chosen).collect();
        for participant in &thrown_out {
            self.say_goodbye(participant, reason);
        }
        self.end_where_nobody_is(name);
        self.conferences.remove(name);
    }

    fn begin(&mut self, participant: &Participant, tag: &str) {
        let (name, at) = (&participant.conference, participant.connect_time);
        let conference = self.conferences.entry(name.clone()).or_insert_with(|| Conference {
            id: guid(),
            name: name.clone(),
            tag: tag.to_owned(),
            is_started: false,
            start_time: at,
            shards: BTreeMap::new(),
        });
        if !conference.shards.contains_key(&participant.node) {
            conference.shards.insert(participant.node.clone(), at);
            self.sinks.publish(&Event::conference("conference_started", conference, &participant.node, at, at));
        }
    }

    /// A host with media starts the conference.
    fn start(&mut self, name: &str) {
        let Some(conference) = self.conferences.get_mut(name).filter(|conference| !conference.is_started) else {
            return;
        };
        conference.is_started = true;
        let at = self.clock.now();
        for (node, start) in &conference.shards {
            self.sinks.publish(&Event::conference("conference_updated", conference, node, *start, at));
        }
        self.watchers.show(name, "conference_update", &conference.client_json());
    }

    fn say_goodbye(&mut self, participant: &Participant, reason: &str) {
        self.sinks.publish(&Event::disconnected(participant, reason, self.clock.now()));
        self.watchers.dismiss(&participant.id, reason);
        self.watchers.show(&participant.conference, "participant_delete", &json!({"uuid": participant.id}));
    }

    /// Each node tells its own end of the conference, also while others go on with it.
    fn end_where_nobody_is(&mut self, name: &str) {
        let here: BTreeSet<_> = self.inside(name).map(|participant| participant.node.clone()).collect();
        let Some(conference) = self.conferences.get_mut(name) else {
            return;
        };
        let left = |node: &String, _: &mut OffsetDateTime| !here.contains(node);
        let ended: Vec<_> = conference.shards.extract_if(.., left).collect();
        let at = self.clock.now();
        for (node, start) in ended {
            self.sinks.publish(&Event::conference("conference_ended", conference, &node, start, at));
        }
    }

    /// By `keep_conference_alive_if_multiple`, which automatic participants have by default.
    fn is_kept_alive(&self, name: &str) -> bool {
        let (dialled, people): (Vec<_>, Vec<_>) =
            self.inside(name).partition(|participant| participant.call_direction == "out");
        !people.is_empty() || dialled.len() > 1
    }
}

impl Participant {
    /// Somebody who has come in by the client API, with a browser or an app.
    pub(super) fn dialled_in(node: &str, conference: &str, role: Role, connect_time: OffsetDateTime) -> Self {
        Self {
            id: guid(),
            node: node.to_owned(),
            conference: conference.to_owned(),
            display_name: String::new(),
            role: Some(role),
            call_direction: "in",
            protocol: "WebRTC",
            service_type: "conference",
            source_alias: String::new(),
            destination_alias: conference.to_owned(),
            has_media: true,
            connect_time,
        }
    }

    /// Somebody who is asked for the PIN: a participant, while no conference may be running yet.
    pub(super) fn at_the_door(node: &str, conference: &str, connect_time: OffsetDateTime) -> Self {
        Self {
            role: None,
            service_type: "ivr",
            has_media: false,
            ..Self::dialled_in(node, conference, Role::Guest, connect_time)
        }
    }

    /// An automatic participant that the conference has called.
    pub(super) fn dialled_out(node: &str, conference: &str, alias: &str, connect_time: OffsetDateTime) -> Self {
        Self {
            call_direction: "out",
            protocol: "SIP",
            source_alias: conference.to_owned(),
            destination_alias: alias.to_owned(),
            ..Self::dialled_in(node, conference, Role::Guest, connect_time)
        }
    }

    pub(super) fn is_in_conference(&self) -> bool {
        self.service_type == "conference"
    }

    /// In the words of the management API and the event sinks.
    pub(super) fn role_name(&self) -> &'static str {
        self.role.map_or("unknown", Role::name)
    }
}
