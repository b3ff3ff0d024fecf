//! Rate limits by key: how often one caller, or one address, may ask.

use std::borrow::Borrow;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::future::Cache;
use moka::policy::EvictionPolicy;

/// Bound on the keys in memory: more than there are agents. Beyond it the least recently used key is forgotten.
const MAX_KEYS: u64 = 10_000;

/// An unused bucket of tokens per minute is full again after a minute, so forgetting it then changes nothing.
const IDLE_KEY_LIFETIME: Duration = Duration::from_secs(60);

/// A token bucket for each key, in this instance. Cheap to clone; clones share the buckets.
#[derive(Clone, Debug)]
pub struct KeyedRateLimiter<K: Hash + Eq + Send + Sync + 'static> {
    quota: Quota,
    buckets: Cache<K, Arc<DefaultDirectRateLimiter>>,
}

/// The key's bucket is empty until `retry_in` has passed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the caller is over its rate")]
pub struct OverRate {
    pub retry_in: Duration,
}

impl<K: Hash + Eq + Send + Sync + 'static> KeyedRateLimiter<K> {
    /// A bucket of `limit` requests for each key, which refills evenly within a minute.
    pub fn per_minute(limit: NonZeroU32) -> Self {
        let buckets = Cache::builder().max_capacity(MAX_KEYS).eviction_policy(EvictionPolicy::lru());
        Self { quota: Quota::per_minute(limit), buckets: buckets.time_to_idle(IDLE_KEY_LIFETIME).build() }
    }

    /// Takes one request from the key's bucket.
    pub async fn admit<Q>(&self, key: &Q) -> Result<(), OverRate>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let full = async { Arc::new(RateLimiter::direct(self.quota)) };
        let bucket = self.buckets.entry_by_ref(key).or_insert_with(full).await.into_value();
        bucket.check().map_err(|until| OverRate { retry_in: until.wait_time_from(DefaultClock::default().now()) })
    }
}
