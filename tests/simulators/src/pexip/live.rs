//! Running conferences and their participants, including those who have not entered the PIN yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;

use super::clock::Clock;
use super::direct_media::DirectMedia;
use super::event_sink::{Event, Sinks};
use super::service::{Callee, Service};
use super::watchers::Watchers;
use crate::identifier::guid;

/// Reason for disconnecting legs that cannot keep the conference alive.
const NOT_KEPT_ALIVE: &str = "No participants can keep conference alive";

/// Reason for disconnecting guests after the last host has left.
const HOSTS_DEPARTED: &str = "All conference hosts departed hosted conference";

/// Reason for disconnecting guests who have waited too long for a host.
const NO_HOST_JOINED: &str = "Timeout waiting for conference host to join or permit access to locked conference";

/// How long guests stay after the last host has left (`guests_only_timeout`).
pub(super) const GUESTS_ONLY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long guests wait for the first host (`waiting_for_chair_timeout`).
pub(super) const WAITING_FOR_HOST_TIMEOUT: Duration = Duration::from_secs(900);

/// A participant's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A host.
    Chair,
    /// A guest.
    Guest,
}

/// Running conferences. Changes are published to event sinks and to the apps' event streams.
#[derive(Debug)]
pub(super) struct Live {
    clock: Clock,
    /// By the room's name, the only key that status and configuration share.
    conferences: BTreeMap<String, Conference>,
    participants: Vec<Participant>,
    pub(super) sinks: Sinks,
    pub(super) watchers: Watchers,
    pub(super) direct_media: DirectMedia,
}

#[derive(Debug)]
pub(super) struct Conference {
    /// Id of this run of the conference; unrelated to the room's id.
    pub(super) id: String,
    /// As the first participant's node got it.
    pub(super) service: Service,
    /// Set when the first host with media joins.
    pub(super) is_started: bool,
    pub(super) start_time: OffsetDateTime,
    /// When the guests are disconnected unless a host joins; `None` while a host is present.
    guests_leave_at: Option<OffsetDateTime>,
    has_had_host: bool,
    /// Start of the conference on each node with participants.
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
    /// `None` until the PIN is entered.
    pub(super) role: Option<Role>,
    pub(super) call_direction: &'static str,
    pub(super) protocol: &'static str,
    pub(super) service_type: &'static str,
    /// Tag of the room.
    pub(super) service_tag: String,
    pub(super) source_alias: String,
    pub(super) destination_alias: String,
    pub(super) has_media: bool,
    /// Of a dialled leg; people always do.
    pub(super) keeps_alive: KeepsAlive,
    pub(super) connect_time: OffsetDateTime,
}

/// Whether a dialled leg keeps its conference alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepsAlive {
    Always,
    /// With another such leg, if one of them is a host.
    IfMultiple,
    Never,
}

/// An `automatic_participant` object: what rooms that name it dial.
#[derive(Clone, Debug)]
pub(super) struct AutomaticParticipant {
    pub(super) alias: String,
    pub(super) role: Role,
}

impl Role {
    /// Value in the management API and in events.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chair => "chair",
            Self::Guest => "guest",
        }
    }

    /// Value in the client API.
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
            direct_media: DirectMedia::default(),
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

    /// Participants past the PIN; the client API lists only these.
    pub(super) fn inside(&self, conference: &str) -> impl Iterator<Item = &Participant> {
        self.participants_of(conference).filter(|participant| participant.is_in_conference())
    }

    pub(super) fn conference(&self, name: &str) -> Option<&Conference> {
        self.conferences.get(name)
    }

    /// Whether the conference has any participant, including those who have not entered the PIN yet.
    pub(super) fn is_running(&self, name: &str) -> bool {
        self.conferences.contains_key(name) || self.participants_of(name).next().is_some()
    }

    pub(super) fn participant(&self, id: &str) -> Option<&Participant> {
        self.participants().find(|participant| participant.id == id)
    }

    /// Adds a participant and starts the conference if it is not running. Returns the participant's id.
    pub(super) fn admit(&mut self, mut participant: Participant, service: &Service) -> String {
        participant.service_tag.clone_from(&service.tag);
        if participant.is_in_conference() {
            self.begin(&participant, service, participant.connect_time);
        }
        self.sinks.publish(&Event::participant("participant_connected", &participant, participant.connect_time));
        if participant.is_in_conference() {
            self.watchers.send(&participant.conference, "participant_create", &participant.client_json());
        }
        if participant.role == Some(Role::Chair) && participant.has_media {
            self.start(&participant.conference);
        }
        let id = participant.id.clone();
        let conference = participant.conference.clone();
        self.participants.push(participant);
        self.update_host_timer(&conference);
        id
    }

    /// Lets a participant in who has entered the PIN of this role, and connects its audio and video.
    pub(super) fn let_in(&mut self, id: &str, role: Role, service: &Service) {
        let Some(participant) = self.participants.iter_mut().find(|participant| participant.id == id) else {
            return;
        };
        participant.role = Some(role);
        participant.service_type = "conference";
        participant.has_media = true;
        let participant = participant.clone();
        self.begin(&participant, service, self.clock.now());
        self.sinks.publish(&Event::participant("participant_updated", &participant, self.clock.now()));
        self.watchers.send(&participant.conference, "participant_create", &participant.client_json());
        if role == Role::Chair {
            self.start(&participant.conference);
        }
        self.update_host_timer(&participant.conference);
    }

    /// Connects the participant's audio and video.
    pub(super) fn connect_media(&mut self, id: &str) {
        let Some(participant) = self.participants.iter_mut().find(|participant| participant.id == id) else {
            return;
        };
        participant.has_media = true;
        participant.protocol = "WebRTC";
        let participant = participant.clone();
        self.sinks.publish(&Event::participant("participant_updated", &participant, self.clock.now()));
        self.watchers.send(&participant.conference, "participant_update", &participant.client_json());
        if participant.role == Some(Role::Chair) {
            self.start(&participant.conference);
        }
    }

    /// Removes a participant and ends the conference if the remaining ones cannot keep it alive.
    pub(super) fn remove(&mut self, id: &str, reason: &str) {
        let Some(at) = self.participants().position(|participant| participant.id == id) else {
            return;
        };
        let participant = self.participants.remove(at);
        self.publish_departure(&participant, reason);
        if self.is_kept_alive(&participant.conference) {
            self.end_empty_shards(&participant.conference);
            self.update_host_timer(&participant.conference);
        } else {
            self.disconnect(&participant.conference, Participant::is_in_conference, NOT_KEPT_ALIVE);
        }
    }

    /// Disconnects all participants, including those who have not entered the PIN yet, and ends the conference.
    pub(super) fn end(&mut self, name: &str, reason: &str) {
        self.disconnect(name, |_| true, reason);
    }

    /// When the next conference loses its guests because no host is present.
    pub(super) fn next_guest_timeout(&self) -> Option<OffsetDateTime> {
        self.conferences().filter_map(|conference| conference.guests_leave_at).min()
    }

    /// Ends the conferences in which guests have been without a host for too long.
    pub(super) fn end_without_host(&mut self, now: OffsetDateTime) {
        let is_over = |conference: &&Conference| conference.guests_leave_at.is_some_and(|at| at <= now);
        let over = self.conferences().filter(is_over);
        let over: Vec<_> = over.map(|conference| (conference.service.name.clone(), conference.has_had_host)).collect();
        for (name, has_had_host) in over {
            let reason = if has_had_host { HOSTS_DEPARTED } else { NO_HOST_JOINED };
            self.disconnect(&name, Participant::is_in_conference, reason);
        }
    }

    fn disconnect(&mut self, name: &str, is_affected: fn(&Participant) -> bool, reason: &str) {
        let affected = |participant: &mut Participant| participant.conference == name && is_affected(participant);
        let disconnected: Vec<_> = self.participants.extract_if(.., affected).collect();
        for participant in &disconnected {
            // Nobody is to call again who is disconnected as well.
            self.direct_media.end(&participant.id);
        }
        for participant in &disconnected {
            self.publish_departure(participant, reason);
        }
        self.end_empty_shards(name);
        self.conferences.remove(name);
    }

    /// Starts the guests' timer when the last host leaves or the first guest waits for one; stops it when a host joins.
    fn update_host_timer(&mut self, name: &str) {
        let has_host = self.inside(name).any(Participant::is_host);
        let now = self.clock.now();
        let Some(conference) = self.conferences.get_mut(name) else {
            return;
        };
        conference.has_had_host |= has_host;
        let timeout = if conference.has_had_host { GUESTS_ONLY_TIMEOUT } else { WAITING_FOR_HOST_TIMEOUT };
        conference.guests_leave_at =
            if has_host { None } else { Some(conference.guests_leave_at.unwrap_or(now + timeout)) };
    }

    fn begin(&mut self, participant: &Participant, service: &Service, at: OffsetDateTime) {
        let name = &participant.conference;
        let conference = self.conferences.entry(name.clone()).or_insert_with(|| Conference {
            id: guid(),
            service: service.clone(),
            is_started: false,
            start_time: at,
            guests_leave_at: None,
            has_had_host: false,
            shards: BTreeMap::new(),
        });
        if !conference.shards.contains_key(&participant.node) {
            conference.shards.insert(participant.node.clone(), at);
            self.sinks.publish(&Event::conference("conference_started", conference, &participant.node, at, at));
        }
    }

    /// Marks the conference as started: a host with media is present.
    fn start(&mut self, name: &str) {
        let Some(conference) = self.conferences.get_mut(name).filter(|conference| !conference.is_started) else {
            return;
        };
        conference.is_started = true;
        let at = self.clock.now();
        for (node, start) in &conference.shards {
            self.sinks.publish(&Event::conference("conference_updated", conference, node, *start, at));
        }
        self.watchers.send(name, "conference_update", &conference.client_json());
    }

    fn publish_departure(&mut self, participant: &Participant, reason: &str) {
        self.sinks.publish(&Event::disconnected(participant, reason, self.clock.now()));
        self.end_direct_media(&participant.id);
        self.watchers.disconnect(&participant.id, reason);
        self.watchers.send(&participant.conference, "participant_delete", &json!({"uuid": participant.id}));
    }

    /// Ends a participant's call with direct media, and tells the peer.
    pub(super) fn end_direct_media(&mut self, participant: &str) {
        if let Some(peer) = self.direct_media.end(participant) {
            self.watchers.send_to(&peer, "peer_disconnect", &json!({}));
        }
    }

    /// Begins a participant's call with direct media. Two guests end theirs if a host would have no peer otherwise, and
    /// call again.
    pub(super) fn begin_direct_media(&mut self, participant: &str, role: Role, conference: &str) -> String {
        let is_host = role == Role::Chair;
        let guest = self.direct_media.guest_with_guest(conference).filter(|_| is_host).map(str::to_owned);
        if let Some(guest) = guest {
            self.end_direct_media(&guest);
            self.watchers.send_to(&guest, "peer_disconnect", &json!({}));
        }
        self.direct_media.begin(participant, is_host, conference)
    }

    /// Each node reports its own end of the conference, also while other nodes still have participants.
    fn end_empty_shards(&mut self, name: &str) {
        let occupied: BTreeSet<_> = self.inside(name).map(|participant| participant.node.clone()).collect();
        let Some(conference) = self.conferences.get_mut(name) else {
            return;
        };
        let left = |node: &String, _: &mut OffsetDateTime| !occupied.contains(node);
        let ended: Vec<_> = conference.shards.extract_if(.., left).collect();
        let at = self.clock.now();
        for (node, start) in ended {
            self.sinks.publish(&Event::conference("conference_ended", conference, &node, start, at));
        }
    }

    /// Whether the participants keep the conference alive.
    fn is_kept_alive(&self, name: &str) -> bool {
        let (dialled, people): (Vec<_>, Vec<_>) =
            self.inside(name).partition(|participant| participant.call_direction == "out");
        let several: Vec<_> = dialled.iter().filter(|leg| leg.keeps_alive == KeepsAlive::IfMultiple).collect();
        !people.is_empty()
            || dialled.iter().any(|leg| leg.keeps_alive == KeepsAlive::Always)
            || (several.len() > 1 && several.into_iter().any(|leg| leg.is_host()))
    }
}

impl Participant {
    /// A participant who joins by the client API, with a browser or an app.
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
            service_tag: String::new(),
            source_alias: String::new(),
            destination_alias: conference.to_owned(),
            has_media: true,
            keeps_alive: KeepsAlive::Always,
            connect_time,
        }
    }

    /// A participant who has not entered the PIN yet. No conference need be running.
    pub(super) fn before_pin(node: &str, conference: &str, connect_time: OffsetDateTime) -> Self {
        Self {
            role: None,
            service_type: "ivr",
            has_media: false,
            ..Self::dialled_in(node, conference, Role::Guest, connect_time)
        }
    }

    /// A leg that the conference has dialled.
    pub(super) fn dialled_out(node: &str, conference: &str, callee: &Callee, connect_time: OffsetDateTime) -> Self {
        Self {
            call_direction: "out",
            protocol: callee.protocol,
            source_alias: callee.local_alias.clone(),
            destination_alias: callee.alias.clone(),
            keeps_alive: callee.keeps_alive,
            ..Self::dialled_in(node, conference, callee.role, connect_time)
        }
    }

    /// Whether this is a leg dialled to the alias.
    pub(super) fn has_alias(&self, alias: &str) -> bool {
        self.call_direction == "out" && self.destination_alias == alias
    }

    fn is_host(&self) -> bool {
        self.role == Some(Role::Chair)
    }

    pub(super) fn is_in_conference(&self) -> bool {
        self.service_type == "conference"
    }

    /// Role in the management API and in events.
    pub(super) fn role_name(&self) -> &'static str {
        self.role.map_or("unknown", Role::name)
    }
}
