//! The rooms on the management node, and which writes have reached the Conferencing Nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use time::OffsetDateTime;

use super::clock::Clock;
use super::room::StoredRoom;

/// All rooms by id.
#[derive(Debug)]
pub(super) struct Rooms {
    clock: Clock,
    by_id: BTreeMap<u64, StoredRoom>,
    /// Ids by name. Names are unique on a real node; rooms that a test inserts need not be.
    by_name: HashMap<String, BTreeSet<u64>>,
    next_id: u64,
    next_alias_id: u64,
    replication_delay: Duration,
    /// Writes that have not reached the Conferencing Nodes, oldest first.
    unreplicated: VecDeque<Write>,
}

/// The room as it was before a write, `None` if there was none.
#[derive(Debug)]
struct Write {
    at: OffsetDateTime,
    id: u64,
    before: Option<StoredRoom>,
}

impl Rooms {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            by_id: BTreeMap::new(),
            by_name: HashMap::new(),
            next_id: 1,
            next_alias_id: 1,
            replication_delay: Duration::ZERO,
            unreplicated: VecDeque::new(),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &StoredRoom> {
        self.by_id.values()
    }

    pub(super) fn get(&self, id: u64) -> Option<&StoredRoom> {
        self.by_id.get(&id)
    }

    pub(super) fn named(&self, name: &str) -> Option<&StoredRoom> {
        self.all_named([name]).next()
    }

    /// The rooms with one of these names, in the order of their ids.
    pub(super) fn all_named<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = &StoredRoom> {
        let ids: BTreeSet<_> = names.into_iter().filter_map(|name| self.by_name.get(name)).flatten().collect();
        ids.into_iter().filter_map(|id| self.by_id.get(id))
    }

    /// Stores a room; gives it and its aliases ids where they have none.
    pub(super) fn store(&mut self, mut room: StoredRoom) -> u64 {
        if room.id == 0 {
            // After a restored backup, rooms with ids above the counter may exist.
            while self.by_id.contains_key(&self.next_id) {
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
        self.by_name.entry(room.name.clone()).or_default().insert(id);
        let before = self.by_id.insert(id, room);
        self.forget_name(before.as_ref());
        self.record_write(id, before);
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<StoredRoom> {
        let removed = self.by_id.remove(&id)?;
        self.forget_name(Some(&removed));
        self.record_write(id, Some(removed.clone()));
        Some(removed)
    }

    pub(super) fn clear(&mut self) {
        self.by_name.clear();
        for (id, room) in std::mem::take(&mut self.by_id) {
            self.record_write(id, Some(room));
        }
    }

    /// Sets the next id.
    pub(super) fn set_next_id(&mut self, id: u64) {
        self.next_id = id;
    }

    /// Raises the next id to at least this.
    pub(super) fn raise_next_id(&mut self, id: u64) {
        self.next_id = self.next_id.max(id);
    }

    pub(super) fn set_replication_delay(&mut self, delay: Duration) {
        self.replication_delay = delay;
    }

    /// The rooms as the Conferencing Nodes know them now.
    pub(super) fn replicated(&self) -> impl Iterator<Item = &StoredRoom> {
        let mut earlier = BTreeMap::new();
        for write in self.unreplicated.iter().filter(|write| !self.is_replicated(write)) {
            // The oldest write has the room as it was before all of them.
            earlier.entry(write.id).or_insert(write.before.as_ref());
        }
        let before: Vec<_> = earlier.values().copied().flatten().collect();
        before.into_iter().chain(self.values().filter(move |room| !earlier.contains_key(&room.id)))
    }

    /// Takes the name of a room that is gone, or has another name now, out of the index.
    fn forget_name(&mut self, before: Option<&StoredRoom>) {
        let Some(before) = before else { return };
        if self.by_id.get(&before.id).is_some_and(|room| room.name == before.name) {
            return;
        }
        if let Some(ids) = self.by_name.get_mut(&before.name) {
            ids.remove(&before.id);
            if ids.is_empty() {
                self.by_name.remove(&before.name);
            }
        }
    }

    fn record_write(&mut self, id: u64, before: Option<StoredRoom>) {
        while self.unreplicated.front().is_some_and(|write| self.is_replicated(write)) {
            self.unreplicated.pop_front();
        }
        if !self.replication_delay.is_zero() {
            self.unreplicated.push_back(Write { at: self.clock.now(), id, before });
        }
    }

    fn is_replicated(&self, write: &Write) -> bool {
        write.at + self.replication_delay <= self.clock.now()
    }
}
