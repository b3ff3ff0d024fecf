//! Names of rooms that a delete has just found missing.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use time::OffsetDateTime;

use crate::domain::RoomName;

/// How long a missing room is remembered.
const MEMORY: Duration = Duration::from_secs(5);

const MAX_NAMES: u64 = 10_000;

/// A name minted longer ago than this has its room on Pexip, or never will: no create lasts that long.
const LONGEST_CREATE: Duration = Duration::from_secs(600);

/// Keeps a client that deletes missing rooms without limit from using up the calls to Pexip. Only for deletes, which do
/// nothing for a room that is gone.
pub(super) struct MissingRooms {
    /// Each with the failure epoch before it was looked for: a node that came back from a backup may have it again.
    names: Cache<RoomName, u64>,
}

impl Default for MissingRooms {
    fn default() -> Self {
        let names = Cache::builder().max_capacity(MAX_NAMES).time_to_live(MEMORY);
        Self { names: names.eviction_policy(EvictionPolicy::lru()).build() }
    }
}

impl MissingRooms {
    pub(super) async fn contains(&self, name: &RoomName, failure_epoch: u64) -> bool {
        self.names.get(name).await == Some(failure_epoch)
    }

    /// Remembers a room that was not found, unless it may still be made: by another instance, or by a call that the
    /// node carries out late.
    pub(super) async fn note(&self, name: RoomName, failure_epoch: u64, now: OffsetDateTime) {
        if name.minted_at().is_none_or(|minted| minted < now - LONGEST_CREATE) {
            self.names.insert(name, failure_epoch).await;
        }
    }
}
