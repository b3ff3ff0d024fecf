//! Limits of look-ups at Genesys: how many tokens are looked up at a time and in a minute, so that a flood of made-up
//! ones uses only a share of them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use moka::future::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::verdict::GenesysRefusal;
use crate::auth::rate::{Bucket, OverRate, cache_of_keys};

/// Concurrent look-ups: of all tokens, of those that Genesys has never accepted, and of the latter from one address.
const MAX_LOOK_UPS: usize = 16;
const MAX_UNKNOWN: usize = 12;
const MAX_UNKNOWN_OF_ADDRESS: usize = 8;

/// How long a token waits for its look-up: one that Genesys has accepted, and another one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT_IN_LINE: Duration = Duration::from_secs(5);

/// Tokens of one address that may wait for its limits.
const MAX_IN_LINE_OF_ADDRESS: usize = 50;

/// Look-ups of tokens that Genesys has never accepted, at once and then for each second. All agents of an office share
/// an address, and without a gateway everybody does.
const AT_ONCE_OF_ADDRESS: u32 = 300;
const EACH_SECOND_OF_ADDRESS: u32 = 20;
const AT_ONCE_OF_ALL: u32 = 600;
const EACH_SECOND_OF_ALL: u32 = 40;

/// Admits look-ups, first come first served.
pub(super) struct LookUpLine {
    slots: Arc<Semaphore>,
    unknown_slots: Arc<Semaphore>,
    unknown_rate: Bucket,
    /// Tokens that wait for the limits of all addresses: of one address at most [`MAX_UNKNOWN_OF_ADDRESS`].
    in_line: Semaphore,
    /// Tokens of all addresses that wait for the limits of their address. A line of their own, so that they cannot fill
    /// the one above.
    in_lines_of_addresses: Semaphore,
    addresses: Cache<Option<IpAddr>, Arc<Share>>,
}

/// The limits of one address for tokens that Genesys has never accepted. Requests without an address share those of
/// `None`.
struct Share {
    slots: Arc<Semaphore>,
    rate: Bucket,
    in_line: Semaphore,
}

/// Permit to look one token up now.
pub(super) struct LookUpSlot {
    _slots: Vec<OwnedSemaphorePermit>,
}

impl LookUpLine {
    /// Requests that wait in line use at most three quarters of `widgets_share`; the rest is left to those that need
    /// not wait.
    pub(super) fn new(widgets_share: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_LOOK_UPS)),
            unknown_slots: Arc::new(Semaphore::new(MAX_UNKNOWN)),
            unknown_rate: Bucket::new(quota(AT_ONCE_OF_ALL, EACH_SECOND_OF_ALL)),
            in_line: Semaphore::new((widgets_share / 2).max(1)),
            in_lines_of_addresses: Semaphore::new((widgets_share / 4).max(1)),
            addresses: cache_of_keys(),
        }
    }

    /// A slot for a token that Genesys has accepted before. It waits for no other tokens' rate.
    pub(super) async fn admit_known(&self) -> Result<LookUpSlot, GenesysRefusal> {
        let deadline = Instant::now() + LONGEST_WAIT;
        Ok(LookUpSlot { _slots: vec![slot(&self.slots, deadline).await?] })
    }

    /// A slot for any other token from this address.
    pub(super) async fn admit_unknown(&self, address: Option<IpAddr>) -> Result<LookUpSlot, GenesysRefusal> {
        let deadline = Instant::now() + LONGEST_WAIT_IN_LINE;
        let share = self.addresses.get_with(address, async { Arc::new(Share::full()) }).await;
        // The address's limits first: so a flood from one address does not fill the line for the limits of all.
        let of_address = {
            let mut turn = Turn::new([&share.in_line, &self.in_lines_of_addresses], deadline);
            turn.take(&share.rate).await?;
            turn.slot(&share.slots).await?
        };
        let mut turn = Turn::new([&self.in_line], deadline);
        turn.take(&self.unknown_rate).await?;
        let of_unknown = turn.slot(&self.unknown_slots).await?;
        let of_all = turn.slot(&self.slots).await?;
        Ok(LookUpSlot { _slots: vec![of_address, of_unknown, of_all] })
    }
}

impl Share {
    fn full() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_UNKNOWN_OF_ADDRESS)),
            rate: Bucket::new(quota(AT_ONCE_OF_ADDRESS, EACH_SECOND_OF_ADDRESS)),
            in_line: Semaphore::new(MAX_IN_LINE_OF_ADDRESS),
        }
    }
}

/// A token that needs a permit. If it has to wait, it holds a permit of each of these lines meanwhile.
struct Turn<'a, const N: usize> {
    lines: [&'a Semaphore; N],
    line_permits: Vec<SemaphorePermit<'a>>,
    deadline: Instant,
}

impl<'a, const N: usize> Turn<'a, N> {
    fn new(lines: [&'a Semaphore; N], deadline: Instant) -> Self {
        Self { lines, line_permits: Vec::new(), deadline }
    }

    async fn take(&mut self, rate: &Bucket) -> Result<(), OverRate> {
        if rate.take_at_once() {
            return Ok(());
        }
        self.wait_in_line()?;
        rate.take_in_line(self.deadline).await
    }

    async fn slot(&mut self, slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, GenesysRefusal> {
        if let Ok(free) = Arc::clone(slots).try_acquire_owned() {
            return Ok(free);
        }
        self.wait_in_line()?;
        slot(slots, self.deadline).await
    }

    fn wait_in_line(&mut self) -> Result<(), OverRate> {
        if self.line_permits.is_empty() {
            let line_permits: Result<_, _> = self.lines.iter().map(|line| line.try_acquire()).collect();
            self.line_permits = line_permits.map_err(|_| OverRate::AFTER_LINE)?;
        }
        Ok(())
    }
}

async fn slot(slots: &Arc<Semaphore>, deadline: Instant) -> Result<OwnedSemaphorePermit, GenesysRefusal> {
    match timeout_at(deadline, Arc::clone(slots).acquire_owned()).await {
        Ok(Ok(slot)) => Ok(slot),
        // They are never closed.
        Ok(Err(_)) | Err(_) => Err(GenesysRefusal::Unavailable("all look-up slots are taken".to_owned(), LONGEST_WAIT)),
    }
}

fn quota(at_once: u32, each_second: u32) -> Quota {
    let number = |number| NonZeroU32::new(number).expect("the constants are not zero");
    Quota::per_second(number(each_second)).allow_burst(number(at_once))
}
