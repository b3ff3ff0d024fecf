use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Case, Outcome, World};

/// Every answer to a create, and the faults found in the answers.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rooms: HashMap<Box<str>, Entry>,
    served: HashSet<Case>,
    /// The room of each case with a key.
    of_keys: HashMap<Case, Box<str>>,
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
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    case: Case,
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
    duplicates: usize,
    wrong_tags: usize,
    wrong_rooms_of_keys: usize,
}

impl Ledger {
    /// Enters an answer as soon as it arrives: Pexip must have the request's tag by then.
    pub(crate) fn enter(&self, world: &World, case: Case, outcome: &Outcome) {
        let (name, from_pool, replayed) = match outcome {
            Outcome::Room { name, from_pool, replayed } => (name, *from_pool, *replayed),
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
        if on_pexip.as_ref() != Some(&tag) || history.iter().any(|written| *written != tag) {
            kept.wrong_tags.push(format!("{name}: {tag} was answered, {on_pexip:?} is there after {history:?}"));
        }
        if case.key().is_some() {
            let first = kept.of_keys.entry(case).or_insert_with(|| name.as_str().into()).clone();
            if *first != **name {
                kept.wrong_rooms_of_keys.push(format!("{case:?}: {first}, and then {name}"));
            }
        }
        match kept.rooms.get(name.as_str()).copied() {
            Some(first) if first.case == case && replayed && case.key().is_some() => {}
            Some(first) => kept.duplicates.push(format!("{name} for {case:?} and before for {:?}", first.case)),
            None => {
                kept.rooms.insert(name.as_str().into(), Entry { case, end: End::NotAsked });
            }
        }
    }

    /// The service has answered that the room has ended.
    pub(crate) fn ended(&self, name: &str) {
        self.set_end(name, End::Ended);
    }

    /// A delete was unanswered: the room may have ended.
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
            duplicates: kept.duplicates.len(),
            wrong_tags: kept.wrong_tags.len(),
            wrong_rooms_of_keys: kept.wrong_rooms_of_keys.len(),
        }
    }

    /// Asserts that no room was in two answers but those to one key, that no key got two rooms, and that no room ever
    /// carried another tag than its citizen's.
    pub(crate) fn assert_every_room_is_one_citizens(&self, world: &World) {
        let kept = self.kept();
        assert!(kept.duplicates.is_empty(), "rooms that two citizens got: {:#?}", some(&kept.duplicates));
        assert!(kept.wrong_tags.is_empty(), "answers without their tag: {:#?}", some(&kept.wrong_tags));
        let wrong = &kept.wrong_rooms_of_keys;
        assert!(wrong.is_empty(), "keys with two rooms: {:#?}", some(wrong));
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
        let Self { rooms, from_pool, duplicates, wrong_tags, keys, replays, wrong_rooms_of_keys, no_answer, refused } =
            self;
        write!(
            formatter,
            "{rooms} rooms answered ({from_pool} from the pool), {duplicates} duplicates, {wrong_tags} wrong tags, \
             {keys} with a key, {replays} replays, {wrong_rooms_of_keys} keys with two rooms, {no_answer} without an \
             answer, refused {refused:?}"
        )
    }
}
