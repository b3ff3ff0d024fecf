//! Rate limits by key: how often one caller, or one address, may ask.

use std::borrow::Borrow;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Bound on the keys in memory: more than there are agents. Beyond it the least recently used key is forgotten.
const MAX_KEYS: u64 = 10_000;

/// An unused bucket is full again after a minute, so forgetting it then changes nothing.
const IDLE_KEY_LIFETIME: Duration = Duration::from_secs(60);

/// The runtime's clock, which tests can stop.
#[derive(Clone, Copy, Debug, Default)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

/// A token bucket, and the line in front of it.
#[derive(Debug)]
pub(super) struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, RuntimeClock>,
    /// One permit: whoever holds it is first in the line.
    line: Semaphore,
}

/// The key's bucket is empty until `retry_in` has passed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the caller is over its rate")]
pub struct OverRate {
    pub retry_in: Duration,
}

impl OverRate {
    /// The line is full, or the wait in it was too long.
    pub(super) const AFTER_LINE: Self = Self { retry_in: Duration::from_secs(1) };
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(quota: Quota) -> Self {
        Self { limiter: RateLimiter::direct_with_clock(quota, RuntimeClock), line: Semaphore::new(1) }
    }

    fn take(&self) -> Result<(), OverRate> {
        self.limiter.check().map_err(|until| OverRate { retry_in: until.wait_time_from(RuntimeClock.now()) })
    }

    /// Takes one request from the bucket, unless it is empty or somebody waits for it.
    pub(super) fn take_at_once(&self) -> bool {
        self.line.try_acquire().is_ok() && self.take().is_ok()
    }

    /// Takes one request from the bucket. While it is empty, waits until `deadline`, first come first served.
    pub(super) async fn take_in_line(&self, deadline: Instant) -> Result<(), OverRate> {
        let in_vain = OverRate::AFTER_LINE;
        let Ok(_first) = timeout_at(deadline, self.line.acquire()).await else { return Err(in_vain) };
        while let Err(over) = self.take() {
            let ready = Instant::now() + over.retry_in;
            if ready > deadline {
                return Err(in_vain);
            }
            sleep_until(ready).await;
        }
        Ok(())
    }
}

/// A token bucket for each key, in this instance. Cheap to clone; clones share the buckets.
#[derive(Clone, Debug)]
pub struct KeyedRateLimiter<K: Hash + Eq + Send + Sync + 'static> {
    /// `None`: no limit.
    quota: Option<Quota>,
    buckets: Cache<K, Arc<Bucket>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> KeyedRateLimiter<K> {
    /// A bucket of `limit` requests for each key, which refills evenly within a minute. `None`: no limit.
    pub fn per_minute(limit: Option<NonZeroU32>) -> Self {
        Self { quota: limit.map(Quota::per_minute), buckets: cache_of_keys() }
    }

    /// Takes one request from the key's bucket.
    pub async fn admit<Q>(&self, key: &Q) -> Result<(), OverRate>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(quota) = self.quota else { return Ok(()) };
        let full = async { Arc::new(Bucket::new(quota)) };
        self.buckets.entry_by_ref(key).or_insert_with(full).await.into_value().take()
    }
}

/// LRU instead of moka's default `TinyLFU`, where frequent but idle keys would block the admission of new ones.
pub(super) fn cache_of_keys<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static>() -> Cache<K, V> {
    let keys = Cache::builder().max_capacity(MAX_KEYS).eviction_policy(EvictionPolicy::lru());
    keys.time_to_idle(IDLE_KEY_LIFETIME).build()
}
