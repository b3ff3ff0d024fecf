//! Hands out one room per request.

mod from_pool;
mod keyed;
mod source;
mod tag;
mod undelivered;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, warn};

use super::backend::Backend;
use super::counter::PoolCounter;
use super::destroy::{DestroyReason, Destroyer};
use super::instant::InstantRooms;
use super::provision::Provisioner;
use super::room::{ReadResult, Room, WantedRoom};
use super::{NoRoom, TakeRoomError};
use crate::config::RoomSource;
use crate::domain::RoomName;
use crate::outbound::calls::timed_create;
use crate::pexip::Conference;
use crate::storage::StorageError;
use crate::storage::records::Changed;
use crate::tasks::SingleFlight;
use keyed::{Begun, Run};
use source::{SourceError, choose_source};

pub(super) use from_pool::PoolSource;
pub use keyed::CreateKey;
pub(crate) use source::Source;
pub use undelivered::{HandedOut, Undelivered};

/// Time reserved for the answer after the last outbound call.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// Hands out rooms: checks that there is capacity, then tries one source after another.
pub(super) struct HandOut {
    backend: Arc<Backend>,
    counter: Arc<PoolCounter>,
    pool: PoolSource,
    provisioner: Arc<Provisioner>,
    instant: Arc<InstantRooms>,
    destroyer: Destroyer,
    replays: SingleFlight<RoomName, ReadResult<Conference>>,
}

impl HandOut {
    pub(super) fn new(
        backend: Arc<Backend>,
        counter: Arc<PoolCounter>,
        pool: PoolSource,
        provisioner: Arc<Provisioner>,
        instant: Arc<InstantRooms>,
        destroyer: Destroyer,
        replays: SingleFlight<RoomName, ReadResult<Conference>>,
    ) -> Self {
        Self { backend, counter, pool, provisioner, instant, destroyer, replays }
    }

    /// Hands out a room that carries the wanted tag.
    ///
    /// Runs in a task of its own, so that a caller who hangs up does not cancel it half-way. A room that is not
    /// received here, or is dropped before it is [delivered](Undelivered::deliver), is destroyed; with a key it is
    /// kept.
    pub(super) async fn take(
        self: &Arc<Self>,
        wanted: WantedRoom,
        key: Option<CreateKey>,
    ) -> Result<Undelivered, TakeRoomError> {
        let deadline = Instant::now() + self.backend.request_deadline;
        let (answer, taken) = oneshot::channel();
        let hand_out = Arc::clone(self);
        // Boxed, because its future is large, and it is moved several times before it runs.
        let work = Box::pin(async move {
            let deadline = deadline - ANSWER_MARGIN;
            let result = match key {
                None => timed_create(hand_out.take_once(&wanted, deadline, || answer.is_closed()))
                    .await
                    .map(|room| Undelivered::new(hand_out.destroyer.clone(), room)),
                Some(key) => {
                    timed_create(Box::pin(hand_out.take_keyed(&wanted, &key, deadline))).await.map(Undelivered::kept)
                }
            };
            // If the caller is gone, the room is dropped here.
            let _ = answer.send(result);
        });
        tokio::spawn(work.in_current_span());
        // The task ends without an answer only if it panics. The panic hook has logged where.
        taken.await.unwrap_or(Err(TakeRoomError::Interrupted))
    }

    async fn take_once(
        &self,
        wanted: &WantedRoom,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<HandedOut, TakeRoomError> {
        let failed = match self.backend.config.source {
            RoomSource::Pool => self.backend.pexip.check_can_tag().err(),
            // No call to Pexip stands between an instant room and its caller.
            RoomSource::Instant => None,
        };
        self.find_room(wanted, deadline, caller_is_gone, failed.map(SourceError::from)).await
    }

    /// The room of this key: a new one, or that of an earlier request, which needs no capacity.
    async fn take_keyed(
        &self,
        wanted: &WantedRoom,
        key: &CreateKey,
        deadline: Instant,
    ) -> Result<HandedOut, TakeRoomError> {
        // Past the deadline nobody knows whether the record was made: it runs out.
        let begun = timeout_at(deadline, keyed::begin(&self.backend, key)).await;
        match begun.unwrap_or(Err(StorageError::Timeout.into()))? {
            Begun::Run(run) => self.find_room_for(run, wanted, deadline).await,
            Begun::Replay(earlier) => {
                keyed::replay(&self.backend, &self.instant, &self.replays, &wanted.tag, earlier).await
            }
        }
    }

    async fn find_room_for(
        &self,
        run: Run,
        wanted: &WantedRoom,
        deadline: Instant,
    ) -> Result<HandedOut, TakeRoomError> {
        // The caller may be gone: the key finds the room again.
        let room = match self.take_once(wanted, deadline, || false).await {
            Ok(room) => room,
            Err(error) => {
                if !error.may_have_left_room() {
                    run.give_up().await;
                }
                return Err(error);
            }
        };
        match run.finish(&room, deadline).await {
            Ok(Changed::Ours(_)) => Ok(room),
            Ok(Changed::Lost) => {
                warn!(room = %room.room.name(), "another run has taken over the key, room not answered");
                self.destroyer.destroy_handed_out(room.room, DestroyReason::KeyTakenOver);
                Err(TakeRoomError::InProgress { retry_in: keyed::SHORTEST_WAIT })
            }
            Err(error) => {
                warn!(room = %room.room.name(), %error, "room could not be noted for its key, kept unanswered");
                Err(error.into())
            }
        }
    }

    async fn find_room(
        &self,
        wanted: &WantedRoom,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
        mut source_error: Option<SourceError>,
    ) -> Result<HandedOut, TakeRoomError> {
        loop {
            let source = choose_source(&self.backend.config, source_error)?;
            let (room, joinable_after) = match source {
                Source::Pool => {
                    // Of any age: a room of the pool exists already. Only an unknown number is counted.
                    let taken = match self.counter.check_hard_cap(Duration::MAX).await {
                        Ok(false) => self.pool.take(&wanted.tag, deadline, &caller_is_gone).await,
                        Ok(true) => return Err(NoRoom::HardCap.into()),
                        Err(error) => Err(error.into()),
                    };
                    (taken.map(Room::OnPexip), None)
                }
                Source::Instant => {
                    let made = self.instant.make(wanted, deadline).await;
                    (made.map(Room::Instant).map_err(SourceError::from), None)
                }
                Source::Direct => {
                    let created = self.provisioner.create_direct(&wanted.tag, deadline, &caller_is_gone).await;
                    (
                        created.map(Room::OnPexip).map_err(SourceError::DirectFailed),
                        Some(self.backend.config.ready_delay),
                    )
                }
            };
            match room {
                Ok(room) => return Ok(HandedOut { room, source, joinable_after, is_replay: false }),
                Err(reason) => {
                    if let SourceError::InstantFailed(error) = &reason {
                        warn!(%error, "instant room could not be made");
                    }
                    source_error = Some(reason);
                }
            }
        }
    }
}
