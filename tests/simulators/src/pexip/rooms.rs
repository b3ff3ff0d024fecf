//! The rooms on the management node, and what has reached the Conferencing Nodes by now.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use time::OffsetDateTime;

use super::clock::Clock;
use super::room::StoredRoom;

/// All rooms by id.
#[derive(Debug)]
pub(super) struct Rooms {
    clock: Clock,
    by_id: BTreeMap<u64, StoredRoom>,
    next_id: u64,
    next_alias_id: u64,
    replication_delay: Duration,
    /// Writes that have not reached the Conferencing Nodes, oldest first.
    on_the_way: VecDeque<Write>,
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
            next_id: 1,
            next_alias_id: 1,
            replication_delay: Duration::ZERO,
            on_the_way: VecDeque::new(),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &StoredRoom> {
        self.by_id.values()
    }

    pub(super) fn get(&self, id: u64) -> Option<&StoredRoom> {
        self.by_id.get(&id)
    }

    pub(super) fn named(&self, name: &str) -> Option<&StoredRoom> {
        self.values().find(|room| room.name == name)
    }

    /// Stores a room, numbering it and its aliases where they have no id yet.
    pub(super) fn store(&mut self, mut room: StoredRoom) -> u64 {
        if room.id == 0 {
            // After a backup older rooms can lie ahead of the counter.
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
        let before = self.by_id.insert(id, room);
        self.send_on(id, before);
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<StoredRoom> {
        let removed = self.by_id.remove(&id)?;
        self.send_on(id, Some(removed.clone()));
        Some(removed)
    }

    pub(super) fn clear(&mut self) {
        for (id, room) in std::mem::take(&mut self.by_id) {
            self.send_on(id, Some(room));
        }
    }

    /// Ids are counted from here.
    pub(super) fn count_from(&mut self, id: u64) {
        self.next_id = id;
    }

    /// Ids are counted from here unless the counter is further already.
    pub(super) fn count_at_least_from(&mut self, id: u64) {
        self.next_id = self.next_id.max(id);
    }

    pub(super) fn set_replication_delay(&mut self, delay: Duration) {
        self.replication_delay = delay;
    }

    /// The rooms as the Conferencing Nodes know them now.
    pub(super) fn replicated(&self) -> impl Iterator<Item = &StoredRoom> {
        let mut unseen = BTreeMap::new();
        for write in self.on_the_way.iter().filter(|write| !self.has_arrived(write)) {
            // The oldest one says what the room was before all of them.
            unseen.entry(write.id).or_insert(write.before.as_ref());
        }
        let before: Vec<_> = unseen.values().copied().flatten().collect();
        before.into_iter().chain(self.values().filter(move |room| !unseen.contains_key(&room.id)))
    }

    fn send_on(&mut self, id: u64, before: Option<StoredRoom>) {
        while self.on_the_way.front().is_some_and(|write| self.has_arrived(write)) {
            self.on_the_way.pop_front();
        }
        if !self.replication_delay.is_zero() {
            self.on_the_way.push_back(Write { at: self.clock.now(), id, before });
        }
    }

    fn has_arrived(&self, write: &Write) -> bool {
        write.at + self.replication_delay <= self.clock.now()
    }
}
