//! Rooms of which Pexip says that their conference has ended.
//!
//! An event is a hint and never a reason: it may be late, doubled, forged, or of one node only while the call goes on
//! on another. Kept in the queue until the grace has passed, it makes us look, and look again; a room that nobody was
//! in both times is deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::look::Look;
use super::sweep::{BETWEEN_LOOKS, Deletion, MOST_FAILED};
use super::{Inner, PoolError};
use crate::domain::RoomName;
use crate::pexip::Conference;
use crate::storage::queue::{LARGEST_BATCH, LeasedMessage, QueueError, RoomQueue};

/// Longer than two looks at a full batch and its deletions take, unless the node is very slow. Then the rest comes again.
const LEASE: Duration = Duration::from_secs(180);

/// Pause after a batch that was not full.
const PAUSE: Duration = Duration::from_secs(15);

/// Rooms on their way into the queue at a time; beyond it they are left to the sweep.
const MOST_NOTED: usize = 1024;

/// How long whoever reports is kept waiting until it is in the queue. A Conferencing Node waits 7 s in all, and sends
/// one event after another.
const LONGEST_NOTING: Duration = Duration::from_secs(1);

/// The rooms that wait to be looked at.
pub(super) struct Ended {
    queue: RoomQueue,
    wake: Notify,
    noting: Arc<Semaphore>,
}

impl Ended {
    pub(super) fn over(queue: &RoomQueue) -> Self {
        Self { queue: queue.of_ended_rooms(), wake: Notify::new(), noting: Arc::new(Semaphore::new(MOST_NOTED)) }
    }

    /// Has the rooms looked at that are due.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Inner {
    pub(super) async fn note_ended(self: &Arc<Self>, rooms: BTreeSet<RoomName>) {
        let number = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
        let Ok(place) = Arc::clone(&self.ended.noting).try_acquire_many_owned(number) else {
            warn!(rooms = number, "too many ended conferences at a time, left to the sweep");
            return;
        };
        let inner = Arc::clone(self);
        // In a task of its own: a node that hangs up has its reasons, and will not repeat what it was told is done.
        let noting = tokio::spawn(async move {
            let _place = place;
            for room in rooms {
                if let Err(error) = inner.put_ended(&room).await {
                    warn!(%room, %error, "an ended conference could not be noted, its room is left to the sweep");
                }
            }
        });
        let _ = timeout(LONGEST_NOTING, noting).await;
    }

    async fn put_ended(&self, room: &RoomName) -> Result<(), QueueError> {
        let grace = self.rooms.end_grace;
        // What is not looked at by then is the sweep's.
        let lifetime = grace + self.rooms.max_lifetime;
        match self.ended.queue.put(room, grace, lifetime).await {
            Err(QueueError::NoSuchQueue) => {
                self.ended.queue.ensure_exists().await?;
                self.ended.queue.put(room, grace, lifetime).await
            }
            put => put,
        }
    }

    /// Looks at ended rooms whose grace has passed, batch by batch, until `stop`.
    pub(super) async fn look_after_ended_rooms(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                // Stopped half-way its messages are received again once their lease has run out.
                looked_at = self.look_after_a_batch() => match looked_at {
                    Ok(LARGEST_BATCH) => Duration::ZERO,
                    Ok(_) => PAUSE,
                    Err(error) => {
                        warn!(%error, "ended conferences could not be looked at, their rooms are tried again");
                        PAUSE
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.ended.wake.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Returns how many messages it was about.
    async fn look_after_a_batch(&self) -> Result<usize, PoolError> {
        self.pexip.check_can_tag()?;
        let messages = match self.ended.queue.receive(LARGEST_BATCH, LEASE).await {
            Err(QueueError::NoSuchQueue) => return Ok(0),
            received => received?,
        };
        let number = messages.len();
        let perhaps_over = self.look_for_the_first_time(messages).await?;
        if !perhaps_over.is_empty() {
            sleep(BETWEEN_LOOKS).await;
            self.look_again(perhaps_over).await?;
        }
        Ok(number)
    }

    /// Ends the rooms in which nobody is this time either.
    async fn look_again(&self, perhaps_over: Vec<(LeasedMessage, Conference)>) -> Result<(), PoolError> {
        let (mut look, mut failed) = (Look::now(&self.pexip).await?, 0);
        for (message, room) in perhaps_over {
            if Instant::now() >= message.lease_ends {
                continue;
            }
            if !look.counts() {
                look = Look::now(&self.pexip).await?;
            }
            if look.presence.is_occupied(&room.name) {
                info!(room = %room.name, "somebody is back in a room whose conference had ended");
            } else {
                let running = look.presence.is_running(&room.name);
                match self.end_if_unchanged(&Deletion { room: &room, reason: "ended", running }).await {
                    Ok(_) => {}
                    // As in a sweep; its message comes again.
                    Err(error) if failed == MOST_FAILED => return Err(error.into()),
                    Err(error) => {
                        warn!(room = %room.name, %error, "a room whose conference has ended could not be ended yet");
                        failed += 1;
                        continue;
                    }
                }
            }
            self.done_with(&message).await;
        }
        Ok(())
    }

    /// The rooms that are there, handed out, and empty. What is said about all others is settled by that.
    async fn look_for_the_first_time(
        &self,
        messages: Vec<LeasedMessage>,
    ) -> Result<Vec<(LeasedMessage, Conference)>, PoolError> {
        let names: BTreeSet<_> = messages.iter().filter_map(|message| message.room.clone()).collect();
        if names.is_empty() {
            for junk in messages {
                self.done_with(&junk).await;
            }
            return Ok(Vec::new());
        }
        let pexip = self.pexip.in_background();
        let mut found = pexip.find_by_names(&Vec::from_iter(names)).await?;
        found.retain(|_, room| room.is_handed_out());
        if !found.is_empty() {
            let presence = pexip.presence().await?;
            found.retain(|name, _| !presence.is_occupied(name));
        }
        let mut perhaps_over = Vec::new();
        for message in messages {
            match message.room.as_ref().and_then(|name| found.remove(name)) {
                Some(room) => perhaps_over.push((message, room)),
                None => self.done_with(&message).await,
            }
        }
        Ok(perhaps_over)
    }

    async fn done_with(&self, message: &LeasedMessage) {
        if let Err(error) = self.ended.queue.discard(message).await {
            info!(%error, "a message about an ended conference could not be deleted, and comes again");
        }
    }
}
