//! Counts messages in the queue and rooms on Pexip.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::backend::Backend;
use super::{Census, PoolError};
use crate::pexip::{Listing, PexipClient, PexipError};
use crate::storage::StorageError;
use crate::tasks::SingleFlight;
use crate::telemetry::metrics::{MAX_ROOMS, QUEUE_MESSAGES, ROOMS};

/// A refill uses a count of the rooms up to this age. It lacks the rooms that other instances create meanwhile, which
/// are few compared with `POOL_MAX_ROOMS`.
const MAX_COUNT_AGE_FOR_REFILL: Duration = Duration::from_secs(10);

/// Counts the pool and remembers how many rooms exist.
pub(super) struct PoolCounter {
    backend: Arc<Backend>,
    /// The latest count of our rooms on Pexip. `None` before the first one. Never locked across an await.
    latest: Mutex<Option<Count>>,
    /// Rooms that this instance has created.
    created: AtomicUsize,
    counting: SingleFlight<(), Result<usize, PexipError>>,
}

/// A count of our rooms on Pexip.
#[derive(Clone, Copy)]
struct Count {
    rooms: usize,
    at: Instant,
    /// [`PoolCounter::created`] when the count began.
    created_before: usize,
}

impl PoolCounter {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        let (latest, created, counting) = (Mutex::default(), AtomicUsize::new(0), SingleFlight::default());
        Self { backend, latest, created, counting }
    }

    /// Records that this instance created rooms.
    pub(super) fn add_rooms(&self, created: usize) {
        self.created.fetch_add(created, Ordering::Relaxed);
    }

    /// Whether twice `POOL_MAX_ROOMS` exist. Counts if the latest count is older than `max_age`, because other
    /// instances create rooms too; and before it says yes, because rooms also end without this instance noticing.
    pub(super) async fn check_hard_cap(self: &Arc<Self>, max_age: Duration) -> Result<bool, PexipError> {
        let is_at_cap = |rooms| rooms >= self.backend.config.hard_cap();
        let known = self.rooms_known(max_age);
        if known.is_some_and(|rooms| !is_at_cap(rooms)) {
            return Ok(false);
        }
        let counter = Arc::clone(self);
        let count = async move {
            // Who will probably be refused must not take calls from others.
            let pexip = if known.is_some() { &counter.backend.background } else { &counter.backend.pexip };
            counter.count(pexip).await
        };
        self.counting.run((), count).await.map(is_at_cap)
    }

    /// Our rooms on Pexip at the latest count, plus those created by this instance since. `None` if the count is older
    /// than `max_age`.
    fn rooms_known(&self, max_age: Duration) -> Option<usize> {
        let count = (*self.latest.lock()).filter(|count| count.at.elapsed() < max_age)?;
        Some(count.rooms + self.created.load(Ordering::Relaxed) - count.created_before)
    }

    /// Starts a count, whose result is to be [noted](Self::note).
    fn begin_count(&self) -> Count {
        Count { rooms: 0, at: Instant::now(), created_before: self.created.load(Ordering::Relaxed) }
    }

    fn note(&self, count: Count, rooms: usize) {
        *self.latest.lock() = Some(Count { rooms, ..count });
    }

    /// Messages in the queue, approximately. `None` if the queue does not exist.
    pub(super) async fn count_messages(&self) -> Result<Option<usize>, StorageError> {
        match self.backend.queue.approximate_count().await {
            Err(StorageError::NoSuchQueue) => Ok(None),
            counted => counted.map(Some),
        }
    }

    /// Messages in the queue, approximately. Creates the queue if it does not exist.
    pub(super) async fn count_messages_creating_queue(&self) -> Result<usize, StorageError> {
        match self.count_messages().await? {
            Some(messages) => Ok(messages),
            None => self.backend.queue.ensure_exists().await.map(|()| 0),
        }
    }

    /// How many of `missing` rooms are still to be made after `made`: others, too, put messages into the queue, which
    /// had `before`.
    pub(super) async fn still_missing(&self, missing: usize, made: usize, before: usize) -> usize {
        let added = self.count_messages().await.ok().flatten().unwrap_or(0).saturating_sub(before);
        missing.saturating_sub(added.max(made))
    }

    /// Whether `error` means that Pexip is closed.
    pub(super) fn is_closed(&self, error: &PoolError) -> bool {
        self.backend.is_closed(error)
    }

    /// Messages that were set aside because they are not room names.
    pub(super) async fn count_poison_messages(&self) -> Result<usize, StorageError> {
        self.backend.queue.approximate_poison_count().await
    }

    /// Our rooms on Pexip.
    async fn count(&self, pexip: &PexipClient) -> Result<usize, PexipError> {
        let count = self.begin_count();
        let mut rooms = pexip.count_ours().await?;
        // Pexip counts by the start of the name, and another environment's prefix may start with ours. The list is
        // exact, so it decides where a limit is reached.
        if rooms >= self.backend.config.max_rooms {
            rooms = pexip.list_ours(self.backend.config.hard_cap()).await?.conferences.len();
        }
        self.note(count, rooms);
        Ok(rooms)
    }

    /// How many of the `owed` rooms are missing, by the queue's count and the latest count on Pexip. Counts on Pexip
    /// again only if that count is old or would forbid a room: rooms also end without this instance noticing.
    pub(super) async fn count_missing(&self, owed: usize) -> Result<usize, PoolError> {
        let missing = self.backend.config.target.saturating_sub(self.count_messages_creating_queue().await?).min(owed);
        if missing == 0 {
            return Ok(0);
        }
        let allowed = |rooms| self.backend.config.max_rooms.saturating_sub(rooms);
        match self.rooms_known(MAX_COUNT_AGE_FOR_REFILL).map(allowed) {
            Some(allowed) if allowed >= missing => Ok(missing),
            _ => Ok(allowed(self.count(&self.backend.background).await?).min(missing)),
        }
    }

    /// Counts messages and rooms and publishes the metrics. Also returns the rooms themselves.
    pub(super) async fn take_census(&self) -> Result<(Census, Listing), PoolError> {
        let messages = self.count_messages_creating_queue().await?;
        QUEUE_MESSAGES.set(messages, []);
        let count = self.begin_count();
        let listing = self.list().await?;
        self.note(count, listing.conferences.len());
        let census = self.census(messages, &listing);
        MAX_ROOMS.set(self.backend.config.max_rooms, []);
        for (state, rooms) in census.by_state() {
            ROOMS.set(rooms, [state.into()]);
        }
        Ok((census, listing))
    }

    pub(super) async fn list(&self) -> Result<Listing, PexipError> {
        self.backend.background.list_ours(self.backend.config.hard_cap()).await
    }

    pub(super) fn census(&self, messages: usize, listing: &Listing) -> Census {
        Census::new(messages, listing, &self.backend.config, self.backend.clock.now_utc())
    }
}
