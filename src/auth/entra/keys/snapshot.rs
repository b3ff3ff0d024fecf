//! The keys that the reads have listed, and how long each of them is used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::entra::key_set::SigningKey;

/// A key that no read has listed for this long is not used.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Scheduled refreshes in a row that must lack a key before it is dropped: while Entra rolls its keys over, not every
/// read lists all of them.
const SCHEDULED_MISSES: u32 = 2;

/// Why the keys are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// At start, and hourly.
    Schedule,
    /// A read for another cause has failed.
    Retry,
    UnknownKid,
}

#[derive(Default)]
pub(super) struct Snapshot {
    keys: HashMap<String, KnownKey>,
    pub(super) read_at: Option<Instant>,
}

/// A key that some read has listed.
#[derive(Clone)]
struct KnownKey {
    key: Arc<SigningKey>,
    listed_at: Instant,
    /// Scheduled refreshes that have lacked it since.
    misses: u32,
}

impl Snapshot {
    pub(super) fn is_usable(&self) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() < KEY_LIFETIME)
    }

    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    pub(super) fn key(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.keys.get(kid).filter(|known| known.listed_at.elapsed() < KEY_LIFETIME).map(|known| Arc::clone(&known.key))
    }

    /// The snapshot after a read that listed exactly `listed`.
    pub(super) fn after(&self, listed: HashMap<String, Arc<SigningKey>>, cause: Cause) -> Self {
        let now = Instant::now();
        let missed = self.keys.iter().filter(|(kid, _)| !listed.contains_key(*kid)).filter_map(|(kid, known)| {
            let misses = known.misses + u32::from(cause == Cause::Schedule);
            let stays = misses < SCHEDULED_MISSES && known.listed_at.elapsed() < KEY_LIFETIME;
            stays.then(|| (kid.clone(), KnownKey { misses, ..known.clone() }))
        });
        let mut keys: HashMap<_, _> = missed.collect();
        keys.extend(listed.into_iter().map(|(kid, key)| (kid, KnownKey { key, listed_at: now, misses: 0 })));
        Self { keys, read_at: Some(now) }
    }
}
