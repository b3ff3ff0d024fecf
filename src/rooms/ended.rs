//! Ends rooms whose conference has ended, and finishes deletes that were interrupted.
//!
//! An event is a hint, never a reason: it may be late, repeated, forged, or come from one node while the conference
//! continues on another. The hint stays in a queue until the grace period is over. Then presence is read twice, and a
//! room that was empty both times is deleted. The same queue says which deletes have begun.

mod message;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::PoolError;
use super::backend::Backend;
use super::delete::{EndReason, Outcome, end_if_empty, finish};
use super::instant::InstantRooms;
use super::sweep::{MAX_FAILURES, MIN_TIME_EMPTY};
use crate::domain::RoomName;
use crate::pexip::{Conference, Presence};
use crate::storage::StorageError;
use crate::storage::queue::{LARGEST_BATCH, LeasedMessage};

pub(super) use message::EndedMessage;

/// Longer than two readings, a full batch and its deletions take. On a very slow node the rest is received again.
/// Longer than the replication of a delete to the Conferencing Nodes, which let people in until then.
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
    instant: Arc<InstantRooms>,
    wake: Notify,
    note_permits: Arc<Semaphore>,
}

impl EndedRooms {
    pub(super) fn new(backend: Arc<Backend>, instant: Arc<InstantRooms>) -> Self {
        Self { backend, instant, wake: Notify::new(), note_permits: Arc::new(Semaphore::new(MAX_BEING_NOTED)) }
    }

    /// Puts a hint for each of these rooms into the queue.
    pub(super) async fn note(self: &Arc<Self>, rooms: BTreeSet<RoomName>) {
        let number = rooms.len();
        let permitted = rooms.into_iter().map_while(|room| {
            let permit = Arc::clone(&self.note_permits).try_acquire_owned().ok()?;
            Some((room, permit))
        });
        let permitted: Vec<_> = permitted.collect();
        if permitted.len() < number {
            let left = number - permitted.len();
            warn!(rooms = left, "too many ended conferences at once, rooms left to the sweep");
        }
        let ended = Arc::clone(self);
        // In a task of its own: a node that hangs up does not send the event again.
        let noting = tokio::spawn(async move {
            for (room, _permit) in permitted {
                let hint = EndedMessage::Hint(room);
                if let Err(error) = hint.put(&ended.backend).await {
                    warn!(room = %hint.room(), %error, "ended conference could not be noted, room left to the sweep");
                }
            }
        });
        let _ = timeout(MAX_NOTE_WAIT, noting).await;
    }

    /// Processes the messages that are due without waiting for the pause to end.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Processes the messages that are due, batch by batch, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut pause = PAUSE;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = sleep(pause) => {}
            }
            pause = tokio::select! {
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
        }
    }

    /// Returns the number of messages received.
    async fn process_batch(&self) -> Result<usize, PoolError> {
        self.backend.background.check_can_tag()?;
        let messages = match self.backend.ended_queue.receive(LARGEST_BATCH, LEASE).await {
            Err(StorageError::NoSuchQueue) => return Ok(0),
            received => received?,
        };
        let number = messages.len();
        let (mut instant, mut on_pexip) = (Vec::new(), Vec::new());
        for message in messages {
            match self.backend.instant.prefix.parse_name(message.text()) {
                Some(room) => instant.push((message, room)),
                None => on_pexip.push(message),
            }
        }
        let (of_instant, of_pool) = tokio::join!(self.end_instant_rooms(instant), self.end_rooms(on_pexip));
        of_instant.and(of_pool)?;
        Ok(number)
    }

    /// Ends rooms on Pexip, and finishes deletes of them that have begun.
    async fn end_rooms(&self, messages: Vec<LeasedMessage>) -> Result<(), PoolError> {
        let (mut hints, mut begun) = (Vec::new(), Vec::new());
        for message in messages {
            match EndedMessage::read(&message, &self.backend.rooms.prefix) {
                Some(EndedMessage::Hint(name)) => hints.push((message, name)),
                Some(deletion) => begun.push((message, deletion)),
                None => self.discard(&message).await,
            }
        }
        let names: BTreeSet<_> = hints
            .iter()
            .map(|(_, name)| name)
            .chain(begun.iter().map(|(_, deletion)| deletion.room()))
            .cloned()
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let found = self.backend.background.find_by_names(&Vec::from_iter(names)).await?;
        let presence = if begun.is_empty() && found.is_empty() {
            Presence::default()
        } else {
            self.backend.background.presence().await?
        };
        self.finish_deletions(begun, &found, &presence).await?;
        let empty = self.keep_empty_rooms(hints, found, &presence).await;
        if !empty.is_empty() {
            sleep(MIN_TIME_EMPTY).await;
            self.end_rooms_still_empty(empty).await?;
        }
        Ok(())
    }

    /// Ends the instant rooms that are open and that nobody is in on two readings. The messages of all others are done.
    async fn end_instant_rooms(&self, messages: Vec<(LeasedMessage, RoomName)>) -> Result<(), PoolError> {
        let (mut rooms, mut failed) = (Vec::new(), 0);
        for (message, room) in messages {
            match self.instant.dialled_if_endable(&room).await {
                Ok(Some(dialled)) => rooms.push((message, room, dialled)),
                Ok(None) => self.discard(&message).await,
                // As in a sweep. The message is received again.
                Err(error) if failed == MAX_FAILURES => return Err(error.into()),
                Err(error) => {
                    warn!(%room, %error, "instant room of an ended conference could not be read");
                    failed += 1;
                }
            }
        }
        for pause in [Duration::ZERO, MIN_TIME_EMPTY] {
            if rooms.is_empty() {
                return Ok(());
            }
            sleep(pause).await;
            let presence = self.backend.background.presence().await?;
            let (occupied, empty): (Vec<_>, Vec<_>) =
                rooms.into_iter().partition(|(_, room, dialled)| presence.has_people(room, dialled));
            for (message, room, _) in occupied {
                info!(%room, "participants are back in a room whose conference had ended");
                self.discard(&message).await;
            }
            rooms = empty;
        }
        for (message, room, dialled) in rooms {
            if Instant::now() >= message.lease_ends {
                continue;
            }
            match self.end_instant_room_if_empty(&room, dialled).await {
                Ok(()) => self.discard(&message).await,
                Err(error) if failed == MAX_FAILURES => return Err(error),
                Err(error) => {
                    warn!(%room, %error, "instant room of an ended conference could not be ended");
                    failed += 1;
                }
            }
        }
        Ok(())
    }

    async fn end_instant_room_if_empty(&self, room: &RoomName, dialled: Vec<String>) -> Result<(), PoolError> {
        // Once more: people can come back at any time.
        if !self.backend.background.presence_in(room).await?.has_people(room, &dialled) {
            self.instant.end_empty(room, dialled).await?;
        }
        Ok(())
    }

    /// Finishes deletes that have begun. A message is deleted at its second receive or later, once nothing is left to
    /// do. The second receive disconnects participants who joined before the delete was replicated.
    async fn finish_deletions(
        &self,
        begun: Vec<(LeasedMessage, EndedMessage)>,
        found: &HashMap<RoomName, Conference>,
        presence: &Presence,
    ) -> Result<(), PoolError> {
        let mut failed = 0;
        for (message, deletion) in begun {
            let room = deletion.room();
            match finish(&self.backend.background, &deletion, found.get(room), presence).await {
                Ok(true) if message.receives > 1 => self.discard(&message).await,
                Ok(_) => {}
                // As in a sweep.
                Err(error) if failed == MAX_FAILURES => return Err(error.into()),
                Err(error) => {
                    warn!(%room, %error, "delete that was begun could not be finished, trying again");
                    failed += 1;
                }
            }
        }
        Ok(())
    }

    /// First reading: keeps the rooms that exist, are handed out and are empty. The messages of all others are done.
    async fn keep_empty_rooms(
        &self,
        hints: Vec<(LeasedMessage, RoomName)>,
        mut found: HashMap<RoomName, Conference>,
        presence: &Presence,
    ) -> Vec<(LeasedMessage, Conference)> {
        found.retain(|_, room| room.is_handed_out() && !presence.is_occupied(room));
        let mut empty = Vec::new();
        for (message, name) in hints {
            match found.remove(&name) {
                Some(room) => empty.push((message, room)),
                None => self.discard(&message).await,
            }
        }
        empty
    }

    /// Second reading: ends the rooms that are still empty.
    async fn end_rooms_still_empty(&self, rooms: Vec<(LeasedMessage, Conference)>) -> Result<(), PoolError> {
        let (presence, mut failed) = (self.backend.background.presence().await?, 0);
        for (message, room) in rooms {
            if Instant::now() >= message.lease_ends {
                continue;
            }
            let ended = if presence.is_occupied(&room) {
                Ok(Outcome::Occupied)
            } else {
                end_if_empty(&self.backend, &room, EndReason::ConferenceEnded, &presence).await
            };
            match ended {
                Ok(Outcome::Deleted | Outcome::Changed) => {}
                Ok(Outcome::Occupied) => {
                    info!(room = %room.name, "participants are back in a room whose conference had ended");
                }
                // As in a sweep. The message is received again.
                Err(error) if failed == MAX_FAILURES => return Err(error),
                Err(error) => {
                    warn!(room = %room.name, %error, "room of an ended conference could not be ended");
                    failed += 1;
                    continue;
                }
            }
            self.discard(&message).await;
        }
        Ok(())
    }

    async fn discard(&self, message: &LeasedMessage) {
        if let Err(error) = self.backend.ended_queue.discard(message).await {
            info!(%error, "message of an ended conference could not be deleted, it is received again");
        }
    }
}
