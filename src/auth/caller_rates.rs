//! How often one caller may ask, once it is known who it is.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::future::Cache;

/// Callers that are remembered at a time: more than there are agents.
const MOST_CALLERS: u64 = 10_000;

/// After a minute without a request a caller has its whole allowance again, so nothing is lost by forgetting it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The requests that each caller has left in this instance. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct CallerRates {
    quota: Quota,
    callers: Cache<String, Arc<DefaultDirectRateLimiter>>,
}

/// The caller has no request left; after this time it has one again.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the caller is over its rate")]
pub struct OverRate {
    pub retry_in: Duration,
}

impl CallerRates {
    /// So many requests a minute for each caller: all at once, or one by one as they come back.
    pub fn new(per_minute: NonZeroU32) -> Self {
        let callers = Cache::builder().max_capacity(MOST_CALLERS).time_to_idle(REMEMBERED).build();
        Self { quota: Quota::per_minute(per_minute), callers }
    }

    /// Takes one request from what this caller has left.
    pub async fn admit(&self, caller: &str) -> Result<(), OverRate> {
        let fresh = async { Arc::new(RateLimiter::direct(self.quota)) };
        let left = self.callers.entry_by_ref(caller).or_insert_with(fresh).await.into_value();
        left.check().map_err(|until| OverRate { retry_in: until.wait_time_from(DefaultClock::default().now()) })
    }
}
