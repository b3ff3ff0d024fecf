//! The line in front of Genesys: how many tokens are looked up at a time and in a minute, so that a flood of made-up ones
//! takes no more than a share.

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

/// How many wait: at one address and in all. Those who wait hold places of the widget's requests, and others, who need not
/// wait, find some left.
const MAX_IN_LINE_OF_ADDRESS: usize = 50;
const MAX_IN_LINE: usize = 200;

/// Look-ups of tokens that Genesys has never accepted, at once and then for each second. All agents of an office share an
/// address, and without a gateway everybody does.
const AT_ONCE_OF_ADDRESS: u32 = 300;
const EACH_SECOND_OF_ADDRESS: u32 = 20;
const AT_ONCE_OF_ALL: u32 = 600;
const EACH_SECOND_OF_ALL: u32 = 40;

/// Admits look-ups, first come first served.
pub(super) struct LookUpLine {
    slots: Arc<Semaphore>,
    unknown_slots: Arc<Semaphore>,
    unknown_rate: Bucket,
    in_line: Semaphore,
    addresses: Cache<Option<IpAddr>, Arc<Share>>,
}

/// What one address has for tokens that Genesys has never accepted. `None`, the address of all who name none, is one too.
struct Share {
    slots: Arc<Semaphore>,
    rate: Bucket,
    in_line: Semaphore,
}

/// The right to look one token up now.
pub(super) struct LookUpSlot {
    _slots: Vec<OwnedSemaphorePermit>,
}

impl LookUpLine {
    pub(super) fn new() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_LOOK_UPS)),
            unknown_slots: Arc::new(Semaphore::new(MAX_UNKNOWN)),
            unknown_rate: Bucket::new(quota(AT_ONCE_OF_ALL, EACH_SECOND_OF_ALL)),
            in_line: Semaphore::new(MAX_IN_LINE),
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
        let mut turn = Turn { line: self, share: &share, deadline, place: None };
        // What is the address's own first: so few of one address wait for what belongs to all.
        turn.take(&share.rate).await?;
        let of_address = turn.slot(&share.slots).await?;
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

/// A token on its way to a slot.
struct Turn<'a> {
    line: &'a LookUpLine,
    share: &'a Share,
    deadline: Instant,
    /// Its place in the line of its address and in that of all, once it has had to wait.
    place: Option<(SemaphorePermit<'a>, SemaphorePermit<'a>)>,
}

impl Turn<'_> {
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
        if self.place.is_none() {
            let no_place = |_| OverRate::AFTER_LINE;
            let of_address = self.share.in_line.try_acquire().map_err(no_place)?;
            self.place = Some((of_address, self.line.in_line.try_acquire().map_err(no_place)?));
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
