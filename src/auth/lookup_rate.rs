use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::future::Cache;
use moka::policy::EvictionPolicy;

/// Look-ups of tokens that nobody has ever vouched for, per address and minute. All agents behind one gateway share an
/// address: five new tokens a second are more than they bring, and few for a flood.
const MOST_PER_MINUTE: NonZeroU32 = NonZeroU32::new(300).expect("not zero");

/// Addresses that are watched at a time.
const MOST_ADDRESSES: u64 = 10_000;

/// After a minute without a look-up an address has its whole share again, and need not be remembered.
const MINUTE: Duration = Duration::from_secs(60);

/// Bounds what one address makes us ask Genesys about tokens that may be made up.
pub(super) struct LookupRate(Cache<Option<IpAddr>, Arc<DefaultDirectRateLimiter>>);

impl LookupRate {
    pub(super) fn new() -> Self {
        let addresses = Cache::builder().max_capacity(MOST_ADDRESSES).eviction_policy(EvictionPolicy::lru());
        Self(addresses.time_to_idle(MINUTE).build())
    }

    /// Takes one look-up of this address's share, or says when there is one again.
    pub(super) async fn spend(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let new = async { Arc::new(RateLimiter::direct(Quota::per_minute(MOST_PER_MINUTE))) };
        let share = self.0.get_with(address, new).await;
        share.check().map_err(|refused| refused.wait_time_from(DefaultClock::default().now()))
    }
}
