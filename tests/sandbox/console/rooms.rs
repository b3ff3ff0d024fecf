//! The rooms' lives: what each is at now, and what it was before.

use std::collections::{BTreeMap, HashMap, HashSet};

use maxconf_simulators::pexip::{Person, Role};
use maxconf_simulators::world::{POOL_QUEUE, RECORDS};
use maxconf_simulators::{StoredMessage, World};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Rooms that are over and still shown.
const GONE_SHOWN: usize = 24;

/// Rooms that are shown one by one.
const MOST_SHOWN: usize = 200;

/// All rooms that were seen, by name: names begin with the time of their making.
#[derive(Debug, Default)]
pub(super) struct Lives {
    by_name: BTreeMap<String, Life>,
}

#[derive(Debug)]
struct Life {
    /// Each state with its start.
    states: Vec<(State, f64)>,
    people: Vec<Person>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On Pexip, and not yet replicated to the nodes as far as the service knows.
    Made,
    /// In the queue.
    Ready,
    /// Leased and checked by an instance.
    Held,
    /// One citizen's, without a tag.
    Claimed,
    /// Tagged and answered.
    HandedOut,
    /// An instant room whose validity is to come.
    NotYet,
    InCall,
    /// After a call.
    Empty,
    /// An instant room after its validity.
    Over,
    Deleted,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Ready => "ready",
            Self::Held => "held",
            Self::Claimed => "claimed",
            Self::HandedOut => "handed_out",
            Self::NotYet => "not_yet",
            Self::InCall => "in_call",
            Self::Empty => "empty",
            Self::Over => "over",
            Self::Deleted => "deleted",
        }
    }

    fn is_gone(self) -> bool {
        matches!(self, Self::Over | Self::Deleted)
    }
}

impl Lives {
    /// Reads what the simulators hold.
    pub(super) fn read(&mut self, world: &World, now: f64) {
        let messages: HashMap<_, _> =
            world.queue.messages(POOL_QUEUE).into_iter().map(|message| (message.text.clone(), message)).collect();
        let records = world.blobs.blobs(RECORDS);
        let claimed: HashSet<_> = records.iter().filter_map(|record| record.name.strip_prefix("claims/")).collect();
        let mut seen = HashSet::new();
        for room in world.pexip.rooms().iter().filter(|room| room.name.starts_with("vbv-")) {
            let people = world.pexip.people(&room.name);
            let state = if !people.is_empty() {
                State::InCall
            } else if !room.tag.is_empty() {
                self.without_people(&room.name)
            } else if claimed.contains(room.name.as_str()) {
                State::Claimed
            } else {
                self.unclaimed(&room.name, messages.get(&room.name))
            };
            seen.insert(room.name.clone());
            self.set(&room.name, state, people, now);
        }
        for (name, record) in records.iter().filter_map(|record| Some((record.name.strip_prefix("instant/")?, record)))
        {
            let record: Value = serde_json::from_str(&record.text).unwrap_or_default();
            let at = |member: &str| record[member].as_str().and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
            #[expect(clippy::disallowed_methods, reason = "the sandbox shows real time")]
            let clock = OffsetDateTime::now_utc();
            let people = world.pexip.people(name);
            let state = if record["state"] == "ended" {
                State::Deleted
            } else if at("valid_until").is_some_and(|until| until <= clock) {
                State::Over
            } else if !people.is_empty() {
                State::InCall
            } else if at("valid_from").is_some_and(|from| from > clock) {
                State::NotYet
            } else {
                self.without_people(name)
            };
            seen.insert(name.to_owned());
            self.set(name, state, people, now);
        }
        let gone: Vec<_> = self.by_name.keys().filter(|name| !seen.contains(*name)).cloned().collect();
        for name in gone {
            self.set(&name, State::Deleted, Vec::new(), now);
        }
        self.forget();
    }

    fn without_people(&self, name: &str) -> State {
        let had_call = |life: &Life| life.states.iter().any(|(state, _)| *state == State::InCall);
        if self.by_name.get(name).is_some_and(had_call) { State::Empty } else { State::HandedOut }
    }

    /// The claim deletes the message and makes a record side by side: either may be seen first.
    fn unclaimed(&self, name: &str, message: Option<&StoredMessage>) -> State {
        let was_in_queue = |life: &Life| life.states.iter().any(|(state, _)| *state == State::Ready);
        match message {
            Some(message) if message.visible => State::Ready,
            Some(message) if message.dequeue_count > 0 => State::Held,
            None if self.by_name.get(name).is_some_and(was_in_queue) => State::Claimed,
            _ => State::Made,
        }
    }

    fn set(&mut self, name: &str, state: State, people: Vec<Person>, now: f64) {
        let life =
            self.by_name.entry(name.to_owned()).or_insert_with(|| Life { states: Vec::new(), people: Vec::new() });
        life.people = people;
        if life.states.last().is_none_or(|(last, _)| *last != state) {
            life.states.push((state, now));
        }
        // A held room returns to the queue again and again.
        if life.states.len() > 24 {
            life.states.remove(1);
        }
    }

    fn forget(&mut self) {
        let gone = self.by_name.iter().filter(|(_, life)| life.state().is_gone());
        let mut gone: Vec<_> = gone.map(|(name, life)| (life.since(), name.clone())).collect();
        gone.sort_by(|one, other| other.0.total_cmp(&one.0));
        for (_, name) in gone.split_off(gone.len().min(GONE_SHOWN)) {
            self.by_name.remove(&name);
        }
    }

    /// How many rooms are in each state.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for life in self.by_name.values() {
            *counts.entry(life.state().as_str()).or_default() += 1;
        }
        counts
    }

    /// Those of which there is news, if they are very many.
    pub(super) fn json(&self) -> Value {
        let mut newest: Vec<_> = self.by_name.iter().collect();
        newest.sort_by(|(_, one), (_, other)| other.since().total_cmp(&one.since()));
        newest.truncate(MOST_SHOWN);
        let rooms = newest.into_iter().map(|(name, life)| {
            let people = life.people.iter().map(|person| {
                let role = person.role.map(|role| if role == Role::Chair { "host" } else { "guest" });
                let name = if person.is_dialled { "Call to the agents’ queue" } else { &person.display_name };
                json!({ "name": name, "role": role, "dialled": person.is_dialled })
            });
            json!({
                "name": name, "kind": if name.starts_with("vbi-") { "instant" } else { "vmr" },
                "state": life.state().as_str(), "people": people.collect::<Vec<_>>(),
                "life": life.states.iter().map(|(state, at)| json!([state.as_str(), at])).collect::<Vec<_>>(),
            })
        });
        rooms.collect()
    }
}

impl Life {
    fn state(&self) -> State {
        self.states.last().map_or(State::Made, |(state, _)| *state)
    }

    fn since(&self) -> f64 {
        self.states.last().map_or(0.0, |(_, at)| *at)
    }
}
