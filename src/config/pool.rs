//! Settings of the pool and of the sweep.

use std::time::Duration;

use super::parser::{one_of, seconds, whole_number};
use super::setting::WhenUnset::Value;
use super::setting::{Faulty, Reader, Setting, settings};

/// The longest that Storage Queue hides a message, in seconds.
const LONGEST_INVISIBILITY: u64 = 604_800;

/// The longest lifetime of an unused room and of its message, in seconds: shorter than the lifetime of a claim's
/// record, by the lifecycle rule in `infra/`.
const LONGEST_AGE: u64 = 604_800;

settings! {
    /// Sizes and times of the pool of ready rooms.
    PoolConfig, PoolDraft {
        /// Read by the Functions host; the service only checks it.
        timer_schedule: String = "POOL_TIMER_SCHEDULE", Value("0 * * * * *"), timer_schedule,
            "NCRONTAB schedule (six fields) of the maintenance run. The Functions host reads it and does not know this \
             default: set it there.";
        source: RoomSource = "ROOM_SOURCE", Value("pool"),
            one_of(&[("pool", RoomSource::Pool), ("instant", RoomSource::Instant)]),
            "Where rooms come from: pool, or instant (each by external policy, without a pool).";
        target: usize = "POOL_TARGET_SIZE", Value("20"), whole_number(0, 10_000),
            "Ready rooms to keep; 0 means no pool.";
        max_rooms: usize = "POOL_MAX_ROOMS", Value("1000"), whole_number(1, 100_000),
            "Rooms of this service on Pexip at which refill stops; hand-outs stop at twice as many.";
        /// The vendor gives 90 s as the least time of replication, and more for a large platform.
        ready_delay: Duration = "POOL_READY_DELAY_SECONDS", Value("120"), seconds(0, LONGEST_INVISIBILITY - 1),
            "Seconds a new room stays hidden while Pexip replicates it to the Conferencing Nodes.";
        room_max_age: Duration = "POOL_ROOM_MAX_AGE_SECONDS", Value("86400"), seconds(1, LONGEST_AGE),
            "Lifetime of an unused room and of its message, in seconds; 7 days at most.";
        prefetch: usize = "POOL_PREFETCH", Value("1"), whole_number(0, 32),
            "Rooms that each instance keeps leased and checked while few are asked for; under load more, up to 32. 0 turns \
             prefetch off.";
        lease: Duration = "POOL_LEASE_SECONDS", Value("60"), seconds(1, LONGEST_INVISIBILITY),
            "Duration of a lease on a queue message, in seconds.";
        when_empty: WhenEmpty = "POOL_EMPTY", Value("direct"),
            one_of(&[
                ("direct", WhenEmpty::Direct),
                ("instant", WhenEmpty::Instant),
                ("refuse", WhenEmpty::Refuse),
            ]),
            "Answer to a create when no room is ready: direct (make a room now), instant (an instant room) or refuse \
             (503).";
        direct_max: usize = "POOL_DIRECT_MAX", Value("32"), whole_number(0, 1_000),
            "Direct rooms that an instance makes at the same time, at most three times PEXIP_MAX_IN_FLIGHT; further creates wait in \
             line.";
        sweep_margin: Duration = "SWEEP_MARGIN_SECONDS", Value("3600"), seconds(0, 30 * 86_400),
            "Seconds that the sweep adds to every age before it deletes; outside local at least \
             REQUEST_DEADLINE_SECONDS.";
        sweep_max_deletions: usize = "SWEEP_MAX_DELETIONS", Value("200"), whole_number(0, 10_000),
            "Rooms that one sweep deletes at most.";
    }
}

impl PoolConfig {
    /// Rooms of this service on Pexip at which hand-outs stop.
    pub fn hard_cap(&self) -> usize {
        2 * self.max_rooms
    }

    /// No ready rooms are kept where rooms do not come from the pool.
    pub(super) fn without_pool_if_unused(self) -> Self {
        match self.source {
            RoomSource::Pool => self,
            RoomSource::Instant => Self { target: 0, ..self },
        }
    }
}

/// Where a create gets its room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomSource {
    Pool,
    Instant,
}

/// What a create does when no room is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    Direct,
    Instant,
    Refuse,
}

/// Checks the number of fields only: the Functions host parses the schedule.
fn timer_schedule(text: &str) -> Result<String, String> {
    if text.split_ascii_whitespace().count() == 6 {
        Ok(text.to_owned())
    } else {
        Err("must have six fields, seconds first, such as 0 * * * * *".to_owned())
    }
}
