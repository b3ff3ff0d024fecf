//! Messages that no create can use, because the room was claimed before.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::IgnoredAny;

use crate::domain::RoomName;
use crate::rooms::backend::Backend;
use crate::storage::StorageError;
use crate::storage::queue::Peeked;
use crate::storage::records::{RecordName, RecordStore};

/// Reads of records at a time; a peek shows up to 32 messages.
const MAX_CONCURRENT: usize = 8;

/// What the messages at the front of the queue show. Every instance sees the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimConflicts {
    /// Messages looked at: the first ones that nobody has leased.
    pub looked_at: usize,
    /// Those whose room has the record of a claim.
    pub claimed_before: usize,
    /// Those that name the room of another one looked at.
    pub copies: usize,
}

/// Looks for claim conflicts to come. Changes nothing.
pub(super) async fn find(backend: &Backend) -> Result<ClaimConflicts, StorageError> {
    let Peeked { rooms, foreign } = match backend.queue.peek().await {
        Err(StorageError::NoSuchQueue) => return Ok(ClaimConflicts::default()),
        peeked => peeked?,
    };
    let named: BTreeSet<_> = rooms.iter().collect();
    let copies = rooms.len() - named.len();
    let claimed = if named.is_empty() { BTreeSet::new() } else { claimed(&backend.records, named).await? };
    let claimed_before = rooms.iter().filter(|room| claimed.contains(room)).count();
    Ok(ClaimConflicts { looked_at: rooms.len() + foreign, claimed_before, copies })
}

/// Those of `rooms` that have the record of a claim.
async fn claimed<'a>(
    records: &RecordStore,
    rooms: BTreeSet<&'a RoomName>,
) -> Result<BTreeSet<&'a RoomName>, StorageError> {
    // Before the first claim.
    if !records.container_exists().await? {
        return Ok(BTreeSet::new());
    }
    let reads = stream::iter(rooms).map(async |room| {
        let found = records.read::<IgnoredAny>(&RecordName::claim(room)).await?;
        Ok(found.map(|_| room))
    });
    reads.buffer_unordered(MAX_CONCURRENT).try_filter_map(async |claimed| Ok(claimed)).try_collect().await
}
