use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::{Case, Invitation, NodeAnswer, Outcome, World};

/// Every answer to a create, and the faults found in the answers.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rooms: HashMap<Box<str>, Entry>,
    served: HashSet<Case>,
    /// The room of each case with a key.
    of_keys: HashMap<Case, Box<str>>,
    /// Of instant rooms.
    invitations: HashMap<Box<str>, Invitation>,
    /// The first answer that nodes got about each instant room.
    configurations: HashMap<Box<str>, Box<str>>,
    let_in: usize,
    turned_away: usize,
    unanswered: usize,
    replays: usize,
    /// Rooms for which the proof has put further messages.
    copied: HashSet<Box<str>>,
    refused: BTreeMap<String, usize>,
    from_pool: usize,
    no_answer: usize,
    duplicates: Vec<String>,
    wrong_tags: Vec<String>,
    /// Keys that were answered with two rooms.
    wrong_rooms_of_keys: Vec<String>,
    wrong_look_ups: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    case: Case,
    /// Whether an answer that is no replay had it. A replay may arrive before that.
    is_answered_anew: bool,
    end: End,
}

/// What the room's caller knows about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotAsked,
    /// Requested, without an answer.
    Unknown,
    Ended,
}

/// The sums.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) rooms: usize,
    pub(crate) from_pool: usize,
    pub(crate) no_answer: usize,
    pub(crate) refused: BTreeMap<String, usize>,
    pub(crate) keys: usize,
    pub(crate) replays: usize,
    /// Look-ups of instant rooms.
    pub(crate) let_in: usize,
    pub(crate) turned_away: usize,
    unanswered: usize,
    duplicates: usize,
    wrong_tags: usize,
    wrong_rooms_of_keys: usize,
    wrong_look_ups: usize,
}

impl Ledger {
    /// Enters an answer as soon as it arrives: Pexip must have the request's tag by then, unless the room is an instant
    /// room.
    pub(crate) fn enter(&self, world: &World, case: Case, outcome: &Outcome) {
        let (name, from_pool, replayed, instant) = match outcome {
            Outcome::Room { name, from_pool, replayed, instant } => (name, *from_pool, *replayed, instant),
            Outcome::Refused { status, code } => {
                *self.kept().refused.entry(format!("{status} {code}")).or_default() += 1;
                return;
            }
            Outcome::NoAnswer => {
                self.kept().no_answer += 1;
                return;
            }
        };
        let on_pexip = world.pexip.room(name).map(|room| room.tag);
        let history = world.pexip.tag_history(name);
        let tag = case.tag();
        let mut kept = self.kept();
        kept.from_pool += usize::from(from_pool && !replayed);
        kept.replays += usize::from(replayed);
        kept.served.insert(case);
        if let Some(invitation) = instant {
            let first = kept.invitations.entry(name.as_str().into()).or_insert_with(|| invitation.clone()).clone();
            if first != *invitation {
                kept.wrong_look_ups.push(format!("{name} was answered as {first:?} and as {invitation:?}"));
            }
        } else if on_pexip.as_ref() != Some(&tag) || history.iter().any(|written| *written != tag) {
            kept.wrong_tags.push(format!("{name}: {tag} was answered, {on_pexip:?} is there after {history:?}"));
        }
        if case.key().is_some() {
            let first = kept.of_keys.entry(case).or_insert_with(|| name.as_str().into()).clone();
            if *first != **name {
                kept.wrong_rooms_of_keys.push(format!("{case:?}: {first}, and then {name}"));
            }
        }
        match kept.rooms.get_mut(name.as_str()) {
            Some(first) if first.case == case && case.key().is_some() && (replayed || !first.is_answered_anew) => {
                first.is_answered_anew |= !replayed;
            }
            Some(first) => {
                let duplicate = format!("{name} for {case:?} and before for {:?}", first.case);
                kept.duplicates.push(duplicate);
            }
            None => {
                let entry = Entry { case, is_answered_anew: !replayed, end: End::NotAsked };
                kept.rooms.insert(name.as_str().into(), entry);
            }
        }
    }

    /// Enters the answer to a node that looks up an instant room by `ask`: always the same, what its create answered,
    /// while the room can be joined, and nothing at any other time. `now` is the service's clock.
    pub(crate) async fn look_up(
        &self,
        name: &str,
        now: impl Fn() -> OffsetDateTime,
        ask: impl Future<Output = NodeAnswer>,
    ) -> NodeAnswer {
        let (was_ended, began) = (self.says_ended(name), now());
        let answer = ask.await;
        let answered = now();
        let mut kept = self.kept();
        let Entry { case, end, .. } = kept.rooms[name];
        let Invitation { pin, guest_pin, from, until } = kept.invitations[name].clone();
        let wrong = match &answer {
            NodeAnswer::LetIn(configuration) => {
                kept.let_in += 1;
                let text = configuration.to_string();
                let first = kept.configurations.entry(name.into()).or_insert_with(|| text.as_str().into());
                let is_same = **first == *text;
                let has = |field: &str, value: &str| configuration[field] == *value;
                let is_of_room = has("name", name)
                    && has("service_tag", &case.tag())
                    && has("pin", &pin)
                    && has("guest_pin", &guest_pin);
                was_ended || began >= until || answered < from || !is_same || !is_of_room
            }
            NodeAnswer::Refuse => {
                kept.turned_away += 1;
                end == End::NotAsked && began >= from && answered < until
            }
            NodeAnswer::Nothing => {
                kept.unanswered += 1;
                false
            }
        };
        if wrong {
            let times = format!("asked at {began}, answered at {answered}, valid from {from} until {until}");
            kept.wrong_look_ups
                .push(format!("{name} of {case:?}, {end:?} (ended before: {was_ended}), {times}: {answer:?}"));
        }
        answer
    }

    /// The service has answered that the room has ended.
    pub(crate) fn ended(&self, name: &str) {
        self.set_end(name, End::Ended);
    }

    /// A delete is under way or was unanswered: the room may have ended.
    pub(crate) fn perhaps_ended(&self, name: &str) {
        self.set_end(name, End::Unknown);
    }

    /// The proof has put one more message for this room.
    pub(crate) fn copied(&self, name: &str) {
        self.kept().copied.insert(name.into());
    }

    /// How many rooms were copied.
    pub(crate) fn copies(&self) -> usize {
        self.kept().copied.len()
    }

    pub(crate) fn is_copied(&self, name: &str) -> bool {
        self.kept().copied.contains(name)
    }

    /// The case that got the room in an answer.
    pub(crate) fn case_of(&self, name: &str) -> Option<Case> {
        self.kept().rooms.get(name).map(|entry| entry.case)
    }

    pub(crate) fn says_ended(&self, name: &str) -> bool {
        self.kept().rooms.get(name).is_some_and(|entry| entry.end == End::Ended)
    }

    /// Whether a delete was unanswered. It is carried out later, if its process left a message.
    pub(crate) fn may_end(&self, name: &str) -> bool {
        self.kept().rooms.get(name).is_some_and(|entry| entry.end == End::Unknown)
    }

    /// Whether the case got a room.
    pub(crate) fn has_served(&self, case: Case) -> bool {
        self.kept().served.contains(&case)
    }

    /// Whether a room was in two answers.
    pub(crate) fn has_duplicate(&self) -> bool {
        !self.kept().duplicates.is_empty()
    }

    pub(crate) fn figures(&self) -> Figures {
        let kept = self.kept();
        Figures {
            rooms: kept.served.len(),
            from_pool: kept.from_pool,
            no_answer: kept.no_answer,
            refused: kept.refused.clone(),
            keys: kept.of_keys.len(),
            replays: kept.replays,
            let_in: kept.let_in,
            turned_away: kept.turned_away,
            unanswered: kept.unanswered,
            duplicates: kept.duplicates.len(),
            wrong_tags: kept.wrong_tags.len(),
            wrong_rooms_of_keys: kept.wrong_rooms_of_keys.len(),
            wrong_look_ups: kept.wrong_look_ups.len(),
        }
    }

    /// Asserts that no room was in two answers but those to one key, that no key got two rooms, that no room ever carried
    /// another tag than its citizen's, and that nodes got the answer of the create about each instant room, while it could be
    /// joined.
    pub(crate) fn assert_every_room_is_one_citizens(&self, world: &World) {
        let kept = self.kept();
        assert!(kept.duplicates.is_empty(), "rooms that two citizens got: {:#?}", some(&kept.duplicates));
        assert!(kept.wrong_tags.is_empty(), "answers without their tag: {:#?}", some(&kept.wrong_tags));
        let wrong = &kept.wrong_rooms_of_keys;
        assert!(wrong.is_empty(), "keys with two rooms: {:#?}", some(wrong));
        let wrong = &kept.wrong_look_ups;
        assert!(wrong.is_empty(), "wrong answers to nodes: {:#?}", some(wrong));
        // Checked again at the end: a late write could have changed a tag after its answer.
        for (name, entry) in &kept.rooms {
            let (tag, history) = (entry.case.tag(), world.pexip.tag_history(name));
            assert!(history.iter().all(|written| *written == tag), "{name} of {tag}: {history:?}");
        }
    }

    fn set_end(&self, name: &str, end: End) {
        self.kept().rooms.get_mut(name).expect("a room that was answered").end = end;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn some(faults: &[String]) -> &[String] {
    &faults[..faults.len().min(20)]
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rooms,
            from_pool,
            duplicates,
            wrong_tags,
            keys,
            replays,
            wrong_rooms_of_keys,
            no_answer,
            refused,
            ..
        } = self;
        let Self { let_in, turned_away, unanswered, wrong_look_ups, .. } = self;
        write!(
            formatter,
            "{rooms} rooms answered ({from_pool} from the pool), {duplicates} duplicates, {wrong_tags} wrong tags, \
             {keys} with a key, {replays} replays, {wrong_rooms_of_keys} keys with two rooms, {no_answer} without an \
             answer, refused {refused:?}; looked up: {let_in} let in, {turned_away} refused, {unanswered} without an answer, \
             {wrong_look_ups} wrong"
        )
    }
}
