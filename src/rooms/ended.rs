//! Ends rooms whose conference has ended.
//!
//! An event is a hint, never a reason: it may be late, repeated, forged, or come from one node while the conference
//! continues on another. The hint stays in a queue until the grace period is over. Then presence is read twice, and a
//! room that was empty both times is deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::PoolError;
use super::backend::Backend;
use super::delete::{EndReason, end_if_unchanged};
use super::presence_snapshot::PresenceSnapshot;
use super::sweep::{MAX_FAILURES, MIN_TIME_EMPTY};
use crate::domain::RoomName;
use crate::pexip::Conference;
use crate::storage::StorageError;
use crate::storage::queue::{LARGEST_BATCH, LeasedMessage, RoomQueue};

/// Longer than two readings, a full batch and its deletions take. On a very slow node the rest is received again.
const LEASE: Duration = Duration::from_secs(180);

/// Pause after a batch that was not full.
const PAUSE: Duration = Duration::from_secs(15);

/// Bounds the rooms that are being put into the queue. Rooms beyond it are left to the sweep.
const MAX_BEING_NOTED: usize = 1024;

/// How long the sender of an event waits until it is in the queue. A Conferencing Node waits 7 s in all, and sends one
/// event after another.
const MAX_NOTE_WAIT: Duration = Duration::from_secs(1);

/// The rooms whose conference has ended, and the queue that holds them during their grace period.
pub(super) struct EndedRooms {
    backend: Arc<Backend>,
    queue: RoomQueue,
    wake: Notify,
    note_permits: Arc<Semaphore>,
}

impl EndedRooms {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        let queue = backend.queue.of_ended_rooms();
        Self { backend, queue, wake: Notify::new(), note_permits: Arc::new(Semaphore::new(MAX_BEING_NOTED)) }
    }

    /// Puts a hint for each of these rooms into the queue.
    pub(super) async fn note(self: &Arc<Self>, rooms: BTreeSet<RoomName>) {
        let number = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
        let Ok(permits) = Arc::clone(&self.note_permits).try_acquire_many_owned(number) else {
            warn!(rooms = number, "too many ended conferences at once, rooms left to the sweep");
            return;
        };
        let ended = Arc::clone(self);
        // In a task of its own: a node that hangs up does not send the event again.
        let noting = tokio::spawn(async move {
            let _permits = permits;
            for room in rooms {
                if let Err(error) = ended.put_hint(&room).await {
                    warn!(%room, %error, "ended conference could not be noted, room left to the sweep");
                }
            }
        });
        let _ = timeout(MAX_NOTE_WAIT, noting).await;
    }

    async fn put_hint(&self, room: &RoomName) -> Result<(), StorageError> {
        let grace = self.backend.rooms.end_grace;
        // The sweep ends the room after that.
        let lifetime = grace + self.backend.rooms.max_lifetime;
        match self.queue.put(room, grace, lifetime).await {
            Err(StorageError::NoSuchQueue) => {
                self.queue.ensure_exists().await?;
                self.queue.put(room, grace, lifetime).await
            }
            put => put,
        }
    }

    /// Processes the hints that are due without waiting for the pause to end.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Processes hints whose grace period is over, batch by batch, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                // If it stops here, the messages are received again after their lease.
                processed = self.process_batch() => match processed {
                    Ok(LARGEST_BATCH) => Duration::ZERO,
                    Ok(_) => PAUSE,
                    Err(error) => {
                        if !self.backend.is_closed(&error) {
                            warn!(%error, "ended conferences could not be processed, trying again");
                        }
                        PAUSE
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Returns the number of messages received.
    async fn process_batch(&self) -> Result<usize, PoolError> {
        self.backend.background.check_can_tag()?;
        let messages = match self.queue.receive(LARGEST_BATCH, LEASE).await {
            Err(StorageError::NoSuchQueue) => return Ok(0),
            received => received?,
        };
        let number = messages.len();
        let empty = self.keep_empty_rooms(messages).await?;
        if !empty.is_empty() {
            sleep(MIN_TIME_EMPTY).await;
            self.end_rooms_still_empty(empty).await?;
        }
        Ok(number)
    }

    /// First reading: keeps the rooms that exist, are handed out and are empty. The messages of all others are done.
    async fn keep_empty_rooms(
        &self,
        messages: Vec<LeasedMessage>,
    ) -> Result<Vec<(LeasedMessage, Conference)>, PoolError> {
        let names: BTreeSet<_> = messages.iter().filter_map(|message| message.room.clone()).collect();
        if names.is_empty() {
            for poison in messages {
                self.discard(&poison).await;
            }
            return Ok(Vec::new());
        }
        let mut found = self.backend.background.find_by_names(&Vec::from_iter(names)).await?;
        found.retain(|_, room| room.is_handed_out());
        if !found.is_empty() {
            let presence = self.backend.background.presence().await?;
            found.retain(|_, room| !presence.is_occupied(room));
        }
        let mut empty = Vec::new();
        for message in messages {
            match message.room.as_ref().and_then(|name| found.remove(name)) {
                Some(room) => empty.push((message, room)),
                None => self.discard(&message).await,
            }
        }
        Ok(empty)
    }

    /// Second reading: ends the rooms that are still empty.
    async fn end_rooms_still_empty(&self, rooms: Vec<(LeasedMessage, Conference)>) -> Result<(), PoolError> {
        let (mut snapshot, mut failed) = (PresenceSnapshot::take(&self.backend.background).await?, 0);
        for (message, room) in rooms {
            if Instant::now() >= message.lease_ends {
                continue;
            }
            snapshot.refresh(&self.backend.background).await?;
            if snapshot.presence.is_occupied(&room) {
                info!(room = %room.name, "participants are back in a room whose conference had ended");
            } else {
                let is_running = snapshot.presence.is_running(&room.name);
                match end_if_unchanged(&self.backend.background, &room, EndReason::ConferenceEnded, is_running).await {
                    Ok(_) => {}
                    // As in a sweep. The message is received again.
                    Err(error) if failed == MAX_FAILURES => return Err(error.into()),
                    Err(error) => {
                        warn!(room = %room.name, %error, "room of an ended conference could not be ended");
                        failed += 1;
                        continue;
                    }
                }
            }
            self.discard(&message).await;
        }
        Ok(())
    }

    async fn discard(&self, message: &LeasedMessage) {
        if let Err(error) = self.queue.discard(message).await {
            info!(%error, "message of an ended conference could not be deleted, it is received again");
        }
    }
}
