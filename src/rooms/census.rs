//! What the pool consists of at one time, and which clock decides that a room is old.

use std::time::Duration;

use time::OffsetDateTime;

use crate::config::PoolConfig;
use crate::pexip::Listing;

/// Messages and rooms at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The queue's approximate count. It includes leased, hidden and dead messages.
    pub messages: usize,
    /// Rooms without a tag that are replicated and before their `ready-until`.
    pub ready: usize,
    /// Rooms without a tag that are not replicated yet.
    pub warming: usize,
    /// Rooms without a tag past their `ready-until`: they cannot be handed out any more.
    pub past_age: usize,
    /// Rooms with a tag and a `handed-out` mark.
    pub handed_out: usize,
    /// Rooms with a name of ours whose marks are missing or were changed by others. Their age is unknown, so only
    /// `DELETE` ends them.
    pub unmarked: usize,
}

impl Census {
    /// Sorts the rooms of `listing` by their state.
    pub(super) fn new(messages: usize, listing: &Listing, config: &PoolConfig, now: OffsetDateTime) -> Self {
        let mut census = Self { messages, ..Self::default() };
        for room in &listing.conferences {
            let counted = match (room.is_handed_out(), room.marks.ready_until) {
                (true, _) if room.marks.handed_out.is_some() => &mut census.handed_out,
                (true, _) | (false, None) => &mut census.unmarked,
                (false, Some(until)) if until <= now => &mut census.past_age,
                (false, Some(until)) if until - config.room_max_age + config.ready_delay > now => &mut census.warming,
                (false, Some(_)) => &mut census.ready,
            };
            *counted += 1;
        }
        census
    }

    /// Rooms that are in the pool or will be soon.
    ///
    /// The queue's count includes leased, hidden and dead messages, Pexip's includes rooms that no message names: the
    /// smaller one is closer to what can be handed out.
    pub fn in_pool(&self) -> usize {
        self.messages.min(self.ready + self.warming)
    }

    /// The number of our rooms on Pexip in each state.
    pub(super) fn by_state(&self) -> [(&'static str, usize); 5] {
        [
            ("ready", self.ready),
            ("warming", self.warming),
            ("past_age", self.past_age),
            ("handed_out", self.handed_out),
            ("unmarked", self.unmarked),
        ]
    }

    /// All our rooms on Pexip.
    pub fn rooms(&self) -> usize {
        self.by_state().into_iter().map(|(_, rooms)| rooms).sum()
    }

    /// Rooms to provision until the pool reaches its target or Pexip has `POOL_MAX_ROOMS` of them.
    pub(super) fn missing(&self, config: &PoolConfig) -> usize {
        let allowed = config.max_rooms.saturating_sub(self.rooms());
        config.target.saturating_sub(self.in_pool()).min(allowed)
    }
}

/// The time by our clock and by the node's. A room is old only if both agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct BothClocks {
    ours: OffsetDateTime,
    nodes: Option<OffsetDateTime>,
}

impl BothClocks {
    pub(super) fn new(ours: OffsetDateTime, listing: &Listing) -> Self {
        Self { ours, nodes: listing.node_time }
    }

    /// Whether `time` is longer ago than `age`. Subtracts from the clocks instead of adding to `time`: a mark that
    /// others changed may hold the latest time that exists, and adding to it would overflow.
    pub(super) fn are_past(self, time: OffsetDateTime, age: Duration) -> bool {
        self.ours - age > time && self.nodes.is_some_and(|nodes| nodes - age > time)
    }
}
