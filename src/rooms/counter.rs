//! Counts messages in the queue and rooms on Pexip.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::backend::Backend;
use super::{Census, PoolError};
use crate::pexip::{Listing, PexipError};
use crate::storage::StorageError;
use crate::telemetry::metrics::{MAX_ROOMS, QUEUE_MESSAGES, ROOMS};

/// Counts the pool and remembers how many rooms exist.
pub(super) struct PoolCounter {
    backend: Arc<Backend>,
    /// Our rooms on Pexip at the latest count, plus those created since.
    rooms_known: AtomicUsize,
}

impl PoolCounter {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, rooms_known: AtomicUsize::new(0) }
    }

    /// Our rooms on Pexip, as far as this instance knows without a call.
    pub(super) fn rooms_known(&self) -> usize {
        self.rooms_known.load(Ordering::Relaxed)
    }

    /// Records that this instance created rooms.
    pub(super) fn add_rooms(&self, created: usize) {
        self.rooms_known.fetch_add(created, Ordering::Relaxed);
    }

    /// Messages in the queue, approximately. `None` if the queue does not exist.
    pub(super) async fn messages(&self) -> Result<Option<usize>, StorageError> {
        match self.backend.queue.approximate_count().await {
            Err(StorageError::NoSuchQueue) => Ok(None),
            counted => counted.map(Some),
        }
    }

    /// Messages in the queue, approximately. Creates the queue if it does not exist.
    pub(super) async fn messages_creating_queue(&self) -> Result<usize, StorageError> {
        match self.messages().await? {
            Some(messages) => Ok(messages),
            None => self.backend.queue.ensure_exists().await.map(|()| 0),
        }
    }

    /// How many of `missing` rooms are still to be made after `made`: others, too, put messages into the queue, which had
    /// `before`.
    pub(super) async fn still_missing(&self, missing: usize, made: usize, before: usize) -> usize {
        let added = self.messages().await.ok().flatten().unwrap_or(0).saturating_sub(before);
        missing.saturating_sub(added.max(made))
    }

    /// Whether `error` means that Pexip is closed.
    pub(super) fn is_closed(&self, error: &PoolError) -> bool {
        self.backend.is_closed(error)
    }

    /// Messages that were set aside because they are not room names.
    pub(super) async fn poison_messages(&self) -> Result<usize, StorageError> {
        self.backend.queue.approximate_poison_count().await
    }

    /// Our rooms on Pexip.
    pub(super) async fn rooms(&self) -> Result<usize, PexipError> {
        let mut rooms = self.backend.background.count_ours().await?;
        // Pexip counts by the start of the name, and another environment's prefix may start with ours. The list is
        // exact, so it decides where a limit is reached.
        if rooms >= self.backend.config.max_rooms {
            rooms = self.backend.background.list_ours().await?.conferences.len();
        }
        self.rooms_known.store(rooms, Ordering::Relaxed);
        Ok(rooms)
    }

    /// Rooms to provision, by the two cheap counts.
    pub(super) async fn missing(&self) -> Result<usize, PoolError> {
        let messages = self.messages_creating_queue().await?;
        let allowed = self.backend.config.max_rooms.saturating_sub(self.rooms().await?);
        Ok(self.backend.config.target.saturating_sub(messages).min(allowed))
    }

    /// Counts messages and rooms and publishes the metrics. Also returns the rooms themselves.
    pub(super) async fn take_census(&self) -> Result<(Census, Listing), PoolError> {
        let messages = self.messages_creating_queue().await?;
        QUEUE_MESSAGES.set(messages, []);
        let listing = self.list().await?;
        self.rooms_known.store(listing.conferences.len(), Ordering::Relaxed);
        let census = self.census(messages, &listing);
        MAX_ROOMS.set(self.backend.config.max_rooms, []);
        for (state, rooms) in census.by_state() {
            ROOMS.set(rooms, [state.into()]);
        }
        Ok((census, listing))
    }

    pub(super) async fn list(&self) -> Result<Listing, PexipError> {
        self.backend.background.list_ours().await
    }

    pub(super) fn census(&self, messages: usize, listing: &Listing) -> Census {
        Census::new(messages, listing, &self.backend.config, self.backend.clock.now_utc())
    }
}
