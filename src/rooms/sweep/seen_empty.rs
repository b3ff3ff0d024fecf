//! Remembers since when rooms have been empty.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::RoomName;
use crate::pexip::{Conference, ConferenceId};

/// A room is ended only if two readings at least this far apart find it empty. A citizen whose phone changes networks
/// is back sooner.
pub(in crate::rooms) const MIN_TIME_EMPTY: Duration = Duration::from_secs(30);

/// When each empty room was first seen empty. In memory only: if it is lost, a room lives for one more run.
#[derive(Debug, Default)]
pub(super) struct SeenEmpty(Mutex<HashMap<(ConferenceId, RoomName), Instant>>);

impl SeenEmpty {
    /// Returns those of `empty` that were first seen empty at least [`MIN_TIME_EMPTY`] ago, and remembers the others.
    /// Forgets every room that is not in `empty`: it was occupied in between, or is deleted.
    pub(super) fn update<'a>(&self, empty: Vec<&'a Conference>) -> Vec<&'a Conference> {
        let mut seen = self.0.lock();
        let now = Instant::now();
        let known = std::mem::take(&mut *seen);
        empty
            .into_iter()
            .filter(|room| {
                let key = (room.id, room.name.clone());
                let first = known.get(&key).copied().unwrap_or(now);
                seen.insert(key, first);
                now.duration_since(first) >= MIN_TIME_EMPTY
            })
            .collect()
    }

    /// Forgets a room that is occupied after all.
    pub(super) fn forget(&self, room: &Conference) {
        self.0.lock().remove(&(room.id, room.name.clone()));
    }
}
