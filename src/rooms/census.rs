use std::time::Duration;

use time::OffsetDateTime;

use super::{Inner, PoolError};
use crate::config::PoolConfig;
use crate::pexip::Listing;
use crate::telemetry::metrics::{MAX_ROOMS, QUEUE_MESSAGES, ROOMS};

/// What can be observed of the pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The queue's approximate count: leased, hidden and dead messages are in it.
    pub messages: usize,
    /// Rooms without a tag that are replicated and before their `ready-until`.
    pub ready: usize,
    /// Rooms without a tag, too new to be joined.
    pub warming: usize,
    /// Rooms without a tag past their `ready-until`: nobody can be given them any more.
    pub past_age: usize,
    /// Rooms with a tag and the time of their hand-out.
    pub handed_out: usize,
    /// Rooms with a name of ours whose marks somebody else has changed or never made. No age can be told, so nothing
    /// but `DELETE` ends them.
    pub unmarked: usize,
}

impl Census {
    /// Rooms that are in the pool or will be soon.
    ///
    /// The queue's count includes leased, hidden and dead messages, Pexip's includes rooms that no message names: the
    /// smaller one is nearer to what can be handed out.
    pub fn in_pool(&self) -> usize {
        self.messages.min(self.ready + self.warming)
    }

    /// Rooms of ours on Pexip, by what they are.
    fn states(&self) -> [(&'static str, usize); 5] {
        [
            ("ready", self.ready),
            ("warming", self.warming),
            ("past_age", self.past_age),
            ("handed_out", self.handed_out),
            ("unmarked", self.unmarked),
        ]
    }

    /// All rooms of ours on Pexip.
    pub fn rooms(&self) -> usize {
        self.states().into_iter().map(|(_, rooms)| rooms).sum()
    }

    /// Rooms to be made for the pool to reach its target, within what may exist on Pexip.
    pub(super) fn missing(&self, config: &PoolConfig) -> usize {
        let room_for = config.max_rooms.saturating_sub(self.rooms());
        config.target.saturating_sub(self.in_pool()).min(room_for)
    }
}

/// The time by our clock and by the node's: a room is old only if both say so.
#[derive(Clone, Copy, Debug)]
pub(super) struct BothClocks {
    ours: OffsetDateTime,
    nodes: Option<OffsetDateTime>,
}

impl BothClocks {
    pub(super) fn new(ours: OffsetDateTime, listing: &Listing) -> Self {
        Self { ours, nodes: listing.node_time }
    }

    /// Whether `time` is longer ago than `by`. Taken from the clocks and not added to the time: a mark that somebody
    /// has changed may stand at the end of all time.
    pub(super) fn are_past(self, time: OffsetDateTime, by: Duration) -> bool {
        self.ours - by > time && self.nodes.is_some_and(|nodes| nodes - by > time)
    }
}

impl Inner {
    /// Counts messages and rooms; also tells the rooms that were seen.
    pub(super) async fn take_census(&self) -> Result<(Census, Listing), PoolError> {
        let messages = self.count_messages().await?;
        QUEUE_MESSAGES.is(messages, []);
        let listing = self.pexip.in_background().list_ours().await?;
        self.refill.rooms_are(listing.conferences.len());
        let census = self.census(messages, &listing);
        MAX_ROOMS.is(self.config.max_rooms, []);
        for (state, rooms) in census.states() {
            ROOMS.is(rooms, [state.into()]);
        }
        Ok((census, listing))
    }

    /// Sorts the rooms that were seen.
    pub(super) fn census(&self, messages: usize, listing: &Listing) -> Census {
        let now = self.clock.now_utc();
        let mut census = Census { messages, ..Census::default() };
        for room in &listing.conferences {
            let counted = match (room.is_handed_out(), room.marks.ready_until) {
                (true, _) if room.marks.handed_out.is_some() => &mut census.handed_out,
                (true, _) | (false, None) => &mut census.unmarked,
                (false, Some(until)) if until <= now => &mut census.past_age,
                (false, Some(until)) if until - self.config.room_max_age + self.config.ready_delay > now => {
                    &mut census.warming
                }
                (false, Some(_)) => &mut census.ready,
            };
            *counted += 1;
        }
        census
    }
}
