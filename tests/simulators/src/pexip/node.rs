//! What the node remembers.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU16};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::PASSWORD;
use super::live::Live;
use super::room::StoredRoom;

/// The node behind all its addresses.
#[derive(Debug)]
pub(super) struct Node {
    state: Mutex<State>,
    pub(super) absolute_location: AtomicBool,
    pub(super) disconnect_status: AtomicU16,
}

/// Everything that changes together.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rooms: BTreeMap<u64, StoredRoom>,
    pub(super) next_id: u64,
    pub(super) next_alias_id: u64,
    /// Alias of each automatic participant by its id.
    pub(super) automatic_participants: BTreeMap<u64, String>,
    /// Outlives the rooms: names are never used twice.
    pub(super) tag_history: HashMap<String, Vec<String>>,
    pub(super) min_pin_length: usize,
    pub(super) password: String,
    pub(super) live: Live,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                rooms: BTreeMap::new(),
                next_id: 1,
                next_alias_id: 1,
                automatic_participants: BTreeMap::new(),
                tag_history: HashMap::new(),
                min_pin_length: 6,
                password: PASSWORD.to_owned(),
                live: Live::default(),
            }),
            absolute_location: AtomicBool::new(false),
            disconnect_status: AtomicU16::new(202),
        }
    }
}

impl Node {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn room_named(&self, name: &str) -> Option<&StoredRoom> {
        self.rooms.values().find(|room| room.name == name)
    }

    /// Stores a room, numbering it and its aliases where they have no id yet.
    pub(super) fn store(&mut self, mut room: StoredRoom) -> u64 {
        if room.id == 0 {
            // After a backup older rooms can lie ahead of the counter.
            while self.rooms.contains_key(&self.next_id) {
                self.next_id += 1;
            }
            room.id = self.next_id;
            self.next_id += 1;
        }
        for alias in room.aliases.iter_mut().filter(|alias| alias.id == 0) {
            alias.id = self.next_alias_id;
            self.next_alias_id += 1;
        }
        let id = room.id;
        self.rooms.insert(id, room);
        id
    }

    pub(super) fn remember_tag(&mut self, name: &str, tag: &str) {
        if !tag.is_empty() {
            self.tag_history.entry(name.to_owned()).or_default().push(tag.to_owned());
        }
    }
}
