use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Inner, PoolError};
use crate::domain::Marks;
use crate::pexip::PexipError;
use crate::storage::queue::QueueError;

/// Rooms made at a time. Less than the calls that may be in flight, so that creates always find a place.
const MOST_AT_A_TIME: usize = 2;

/// A refill ends by then; what is still missing is the timer's.
const LONGEST_REFILL: Duration = Duration::from_secs(50);

/// Pause after a refill that failed, before what is still owed is tried again.
const PAUSE_AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// What this instance owes the pool, and what it knows of its size.
pub(super) struct Refill {
    owed: AtomicUsize,
    most_owed: usize,
    wake: Notify,
    /// Rooms of ours on Pexip when last counted, and those made since.
    rooms_known: AtomicUsize,
    /// One at a time provisions: two would both see the same gap.
    pub(super) turn: Semaphore,
}

impl Refill {
    pub(super) fn new(target: usize) -> Self {
        Self {
            owed: AtomicUsize::new(0),
            most_owed: target,
            wake: Notify::new(),
            rooms_known: AtomicUsize::new(0),
            turn: Semaphore::new(1),
        }
    }

    /// One room was taken from the pool.
    pub(super) fn owe_one(&self) {
        // What is beyond the pool's size would find it full anyway.
        let _ = self
            .owed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| (owed < self.most_owed).then_some(owed + 1));
        self.wake.notify_one();
    }

    pub(super) fn owed(&self) -> usize {
        self.owed.load(Ordering::Relaxed)
    }

    pub(super) fn rooms_known(&self) -> usize {
        self.rooms_known.load(Ordering::Relaxed)
    }

    pub(super) fn rooms_are(&self, number: usize) {
        self.rooms_known.store(number, Ordering::Relaxed);
    }

    pub(super) fn rooms_grew(&self, by: usize) {
        self.rooms_known.fetch_add(by, Ordering::Relaxed);
    }
}

/// What became of the rooms that were to be made.
#[derive(Debug)]
pub(super) struct Provisioned {
    /// Rooms put into the pool.
    pub(super) made: usize,
    /// Rooms that are missing still, because one could not be made.
    pub(super) failed: usize,
    /// Why.
    pub(super) cause: Option<PoolError>,
}

impl Inner {
    /// For each room taken one is made, best effort, unless the pool is full. The timer is behind it.
    pub(super) async fn repay_rooms_taken(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.refill.wake.notified() => {}
            }
            while self.refill.owed() > 0 {
                if let Err(error) = self.repay().await {
                    warn!(%error, "the pool could not be refilled yet");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(PAUSE_AFTER_TROUBLE) => {}
                    }
                }
            }
        }
    }

    async fn repay(self: &Arc<Self>) -> Result<(), PoolError> {
        let _turn = self.refill.turn.acquire().await;
        // Before the counts: what is taken while they are on their way is missing from neither of them, and stays owed.
        let owed = self.refill.owed.swap(0, Ordering::Relaxed);
        match self.missing().await {
            Ok(missing) => {
                self.provision_many(owed.min(missing), Instant::now() + LONGEST_REFILL).await;
                Ok(())
            }
            Err(error) => {
                self.refill.owed.fetch_add(owed, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    async fn missing(&self) -> Result<usize, PoolError> {
        let ready = self.count_messages().await?;
        let room_for = self.config.max_rooms.saturating_sub(self.count_rooms().await?);
        Ok(self.config.target.saturating_sub(ready).min(room_for))
    }

    /// Messages in the queue, which is made if it is missing.
    pub(super) async fn count_messages(&self) -> Result<usize, QueueError> {
        match self.queue.approximate_count().await {
            Err(QueueError::NoSuchQueue) => {
                self.queue.ensure_exists().await?;
                Ok(0)
            }
            counted => counted,
        }
    }

    pub(super) async fn count_rooms(&self) -> Result<usize, PexipError> {
        let pexip = self.pexip.in_background();
        let mut rooms = pexip.count_ours().await?;
        // The count is by the start of the name, and another environment's prefix may start with ours. It is exact
        // where something hangs on it.
        if rooms >= self.config.max_rooms {
            rooms = pexip.list_ours().await?.conferences.len();
        }
        self.refill.rooms_are(rooms);
        Ok(rooms)
    }

    /// Makes rooms, a few at a time, until `until`. Stops at the first failure: the node may be in trouble.
    pub(super) async fn provision_many(self: &Arc<Self>, count: usize, until: Instant) -> Provisioned {
        let (mut left, mut made, mut failed, mut cause) = (count, 0, 0, None);
        let mut making = JoinSet::new();
        while (left > 0 && failed == 0 && Instant::now() < until) || !making.is_empty() {
            while left > 0 && failed == 0 && making.len() < MOST_AT_A_TIME && Instant::now() < until {
                left -= 1;
                let pool = Arc::clone(self);
                making.spawn(async move { pool.provision().await });
            }
            match making.join_next().await {
                Some(Ok(Ok(()))) => made += 1,
                Some(Ok(Err(error))) => {
                    warn!(%error, "a room for the pool could not be made");
                    failed += 1;
                    cause = Some(error);
                }
                // It panicked; where, has been reported.
                Some(Err(_)) => {
                    failed += 1;
                    cause = Some(PoolError::Interrupted);
                }
                None => break,
            }
        }
        self.refill.rooms_grew(made);
        Provisioned { made, failed: failed + if failed > 0 { left } else { 0 }, cause }
    }

    /// Makes one room and puts its ticket into the queue, hidden until the room is replicated.
    ///
    /// If we stop in between, no message names the room and the sweep removes it once its mark is past.
    async fn provision(&self) -> Result<(), PoolError> {
        let ready_until = self.clock.now_utc() + self.config.room_max_age;
        let new = self.new_conference(None, Marks { ready_until: Some(ready_until), handed_out: None });
        let pexip = self.pexip.in_background();
        let id = match pexip.create(&new).await {
            Ok(id) => id,
            // A create whose answer was lost may have made it; only a room that is there gets a message.
            Err(error) if error.may_have_created() => pexip.find_by_name(&new.name).await?.ok_or(error)?.id,
            Err(error) => return Err(error.into()),
        };
        // The message ends no later than the mark says: the sweep can then know that no message names an old room.
        let lifetime = Duration::try_from(ready_until - self.clock.now_utc()).unwrap_or_default();
        if lifetime <= self.config.ready_delay + self.config.lease {
            self.destroy(Some(id), new.name, "it took too long to make");
            return Err(PoolError::TooLate);
        }
        if let Err(error) = self.queue.put(&new.name, self.config.ready_delay, lifetime).await {
            // Only where no message can be there: with a lost answer somebody may have been given the room by now.
            if !error.is_ambiguous() {
                self.destroy(Some(id), new.name, "it has no ticket");
            }
            return Err(error.into());
        }
        Ok(())
    }
}
