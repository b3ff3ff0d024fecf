//! The life of a room: provisioned, handed out to one citizen, ended.
//!
//! A room is provisioned (a VMR without a tag); its message is hidden until the room is replicated; one instance leases
//! and checks it; **claims** it (makes its record and deletes the message); **tags** it; hands it out; it ends and is
//! deleted. The order claim, tag, answer keeps two citizens apart. The process may stop after any step: leases and the
//! sweep repair it.

mod backend;
mod census;
mod claim;
mod counter;
mod delete;
mod destroy;
mod ended;
mod error;
mod fitness;
mod hand_out;
mod instant;
mod maintenance;
mod missing;
mod operate;
mod prefetch;
mod provision;
mod refill;
mod reopening;
mod room;
mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::config::RoomSource;
use crate::domain::{
    Clock, ForeignRoomName, GivenValidity, IdempotencyKey, InvalidValidity, RoomName, UuiData, Validity,
};
use crate::pexip::{Closed, Conference, LookUp, PexipClient, PexipError, PolicyAnswer};
use crate::storage::StorageError;
use crate::storage::queue::RoomQueue;
use crate::storage::records::RecordStore;
use crate::tasks::{BackgroundTask, NextFlight, SingleFlight, run_to_completion, supervise};
use backend::Backend;
use counter::PoolCounter;
use destroy::Destroyer;
use ended::EndedRooms;
use hand_out::{HandOut, PoolSource};
use instant::{InstantEnd, InstantRooms};
use maintenance::Maintenance;
use missing::MissingRooms;
use operate::Operations;
use prefetch::{Fill, Prefetch};
use provision::Provisioner;
use refill::Refill;
use reopening::Reopening;
use room::ReadResult;
use sweep::Sweeper;

pub use backend::Settings;
pub(crate) use census::Census;
pub(crate) use error::{NoRoom, PoolError, TakeRoomError};
pub use hand_out::{CreateKey, HandedOut, Undelivered};
pub(crate) use maintenance::MaintenanceReport;
pub(crate) use operate::{ClaimConflicts, Drained, Filled, OnProgress, PoolStatus, Progress};
pub use room::{InstantRoom, Room, WantedRoom};

/// Composes the components and starts their tasks. Cheap to clone.
#[derive(Clone)]
pub struct RoomPool {
    backend: Arc<Backend>,
    prefetch: Arc<Prefetch>,
    fill: Arc<Fill>,
    hand_out: Arc<HandOut>,
    instant: Arc<InstantRooms>,
    counter: Arc<PoolCounter>,
    refill: Arc<Refill>,
    reopening: Arc<Reopening>,
    ended: Arc<EndedRooms>,
    maintenance: Arc<Maintenance>,
    operations: Arc<Operations>,
    reads: Arc<RoomReads>,
    missing: Arc<MissingRooms>,
}

/// Reads of rooms in progress: those of one room share a call that begins after them, because another instance may end
/// the room meanwhile. Nothing is kept after the answer.
#[derive(Default)]
struct RoomReads {
    rooms: NextFlight<RoomName, ReadResult<Conference>>,
    objects: NextFlight<RoomName, ReadResult<(Conference, Box<RawValue>)>>,
    foreign: NextFlight<ForeignRoomName, ReadResult<Conference<ForeignRoomName>>>,
    /// By repetitions of a key. Not shared with others, whose read may have begun before the room was handed out.
    replays: SingleFlight<RoomName, ReadResult<Conference>>,
}

impl RoomPool {
    /// A pool over this queue, these records and this node. Starts no task.
    pub fn new(settings: Settings, queue: RoomQueue, records: RecordStore, pexip: PexipClient, clock: Clock) -> Self {
        let backend = Arc::new(Backend::new(settings, queue, records, pexip, clock));
        let destroyer = Destroyer::new(backend.clone());
        let counter = Arc::new(PoolCounter::new(backend.clone()));
        let provisioner = Arc::new(Provisioner::new(backend.clone(), counter.clone(), destroyer.clone()));
        let refill = Arc::new(Refill::new(backend.config.target, counter.clone(), provisioner.clone()));
        let prefetch = Arc::new(Prefetch::new(backend.clone()));
        let fill = Arc::new(Fill::new(backend.clone(), prefetch.clone()));
        let source = PoolSource::new(backend.clone(), prefetch.clone(), refill.clone(), destroyer.clone());
        let instant = Arc::new(InstantRooms::new(backend.clone()));
        let reads = RoomReads::default();
        let hand_out = HandOut::new(
            backend.clone(),
            counter.clone(),
            source,
            provisioner.clone(),
            instant.clone(),
            destroyer,
            reads.replays.clone(),
        );
        let sweeper = Arc::new(Sweeper::new(backend.clone()));
        let ended = Arc::new(EndedRooms::new(backend.clone(), instant.clone()));
        let operations = Operations::new(backend.clone(), counter.clone(), provisioner.clone(), sweeper.clone());
        let maintenance = Maintenance::new(
            backend.clone(),
            counter.clone(),
            provisioner,
            refill.clone(),
            sweeper,
            ended.clone(),
            instant.clone(),
        );
        let (hand_out, maintenance, operations) = (Arc::new(hand_out), Arc::new(maintenance), Arc::new(operations));
        let reopening = Arc::new(Reopening::new(backend.clone(), maintenance.clone()));
        let (reads, missing) = (Arc::new(reads), Arc::default());
        Self {
            backend,
            prefetch,
            fill,
            hand_out,
            instant,
            counter,
            refill,
            reopening,
            ended,
            maintenance,
            operations,
            reads,
            missing,
        }
    }

    /// Starts the background tasks. They run until `stop` is cancelled.
    pub fn start(&self, stop: &CancellationToken) {
        if self.backend.config.target > 0 {
            let counter = Arc::clone(&self.counter);
            // So that the first create does not wait for it. If it fails, that create counts.
            tokio::spawn(async move { counter.check_hard_cap(Duration::MAX).await });
            let fill = Arc::clone(&self.fill);
            supervise(BackgroundTask::Prefetch, stop.clone(), move |stop| Arc::clone(&fill).run(stop));
        }
        let refill = Arc::clone(&self.refill);
        supervise(BackgroundTask::Refill, stop.clone(), move |stop| Arc::clone(&refill).run(stop));
        let reopening = Arc::clone(&self.reopening);
        supervise(BackgroundTask::Reopening, stop.clone(), move |stop| Arc::clone(&reopening).run(stop));
        let ended = Arc::clone(&self.ended);
        supervise(BackgroundTask::EndedRooms, stop.clone(), move |stop| Arc::clone(&ended).run(stop));
    }

    /// The validity of a room that is made now, if the caller may give one.
    pub fn validity(&self, given: Result<&GivenValidity, InvalidValidity>) -> Result<Validity, InvalidValidity> {
        let given = match (self.backend.config.source, given) {
            (RoomSource::Pool, Ok(given)) if given.is_empty() => given,
            (RoomSource::Pool, _) => return Err(InvalidValidity::Unsupported),
            (RoomSource::Instant, given) => given?,
        };
        let instant = &self.backend.instant;
        given.validity(self.backend.clock.now_utc(), instant.lifetime, instant.max_lifetime)
    }

    /// Hands out a room that carries the wanted tag; with a `key`, the room of an earlier request if there is one. Also
    /// completes if the caller disconnects: the room is then destroyed, as it is if it is dropped before it is
    /// [delivered](Undelivered::deliver). With a `key` it is kept.
    pub async fn take(&self, wanted: WantedRoom, key: Option<CreateKey>) -> Result<Undelivered, TakeRoomError> {
        self.hand_out.take(wanted, key).await
    }

    /// The key of a create by this caller, given by tenant and client, for this case.
    pub fn create_key(
        &self,
        caller: [&str; 2],
        key: &IdempotencyKey,
        uui_data: &UuiData,
        validity: &GivenValidity,
    ) -> CreateKey {
        CreateKey::new(&self.backend.records, caller, key, uui_data, validity)
    }

    /// The answer to a Conferencing Node that looks up a room, within 2 s.
    pub async fn answer(&self, look_up: &LookUp) -> Result<PolicyAnswer, StorageError> {
        self.instant.answer(look_up).await
    }

    fn is_instant(&self, name: &RoomName) -> bool {
        name.has_prefix(&self.backend.instant.prefix)
    }

    /// The room of this name as it is stored now, if it was handed out; an instant room while it can be joined.
    pub async fn find_handed_out(&self, name: &RoomName) -> Result<Option<Room>, TakeRoomError> {
        if self.is_instant(name) {
            return Ok(self.instant.find_open(name).await?.map(Room::Instant));
        }
        let (pexip, asked) = (self.backend.pexip.for_reads(), name.clone());
        let found = self.reads.rooms.run(name.clone(), async move { pexip.find_by_name(&asked).await }).await?;
        Ok(found.filter(|conference| conference.tag.is_some()).map(Room::OnPexip))
    }

    /// The foreign room of this name as Pexip stores it now. Other services than a conference are no rooms.
    pub async fn find_foreign(
        &self,
        name: &ForeignRoomName,
    ) -> Result<Option<Conference<ForeignRoomName>>, PexipError> {
        let (pexip, asked) = (self.backend.pexip.for_reads(), name.clone());
        let found = self.reads.foreign.run(name.clone(), async move { pexip.find_foreign(&asked).await }).await?;
        Ok(found.filter(|conference| conference.service_type == "conference"))
    }

    /// The conference object of this room as the management node has it, if the room was handed out. It has none of an
    /// instant room.
    pub async fn find_object_of_handed_out(&self, name: &RoomName) -> Result<Option<Box<RawValue>>, PexipError> {
        if self.is_instant(name) {
            return Ok(None);
        }
        let (pexip, asked) = (self.backend.pexip.for_reads(), name.clone());
        let found = self.reads.objects.run(name.clone(), async move { pexip.find_object(&asked).await }).await?;
        Ok(found.filter(|(conference, _)| conference.tag.is_some()).map(|(_, object)| object))
    }

    /// Ends the room of this name: deletes it, so that nobody can join any more, then disconnects its conference.
    /// Returns whether there was such a room. Calls `on_deleted` at once when the room is deleted, and continues if the
    /// caller hangs up. `client` is the id of the Entra client that asks.
    pub async fn end(
        &self,
        name: RoomName,
        client: String,
        on_deleted: impl FnOnce() + Send + 'static,
    ) -> Result<bool, TakeRoomError> {
        if self.is_instant(&name) {
            let instant = Arc::clone(&self.instant);
            let ended = run_to_completion(async move {
                let has_ended = instant.end(&name, InstantEnd::Deleted).await?;
                if has_ended {
                    on_deleted();
                }
                Ok::<_, StorageError>(has_ended)
            });
            return Ok(ended.await?);
        }
        let failure_epoch = self.backend.pexip.failure_epoch();
        if self.missing.contains(&name, failure_epoch).await {
            return Ok(false);
        }
        let (backend, reads, missing) = (Arc::clone(&self.backend), Arc::clone(&self.reads), Arc::clone(&self.missing));
        // A caller who hangs up after the delete must not leave the conference running.
        let deleted = run_to_completion(async move {
            let on_deleted = || {
                reads.replays.outdate(&name);
                on_deleted();
            };
            let was_there = delete::end_on_request(&backend, &name, &client, on_deleted).await?;
            if !was_there {
                missing.note(name, failure_epoch, backend.clock.now_utc()).await;
            }
            Ok::<_, PexipError>(was_there)
        });
        Ok(deleted.await?)
    }

    /// Records that the conferences in these rooms have ended, so that the rooms are ended after
    /// `ROOM_END_GRACE_SECONDS`. Returns when the queue has them, or after a short wait. The sweep ends rooms that are
    /// lost here.
    pub async fn note_ended(&self, rooms: BTreeSet<RoomName>) {
        self.ended.note(rooms).await;
    }

    /// Brings the pool to its target and sweeps. Called by the timer. One run at a time; others report `Busy`.
    pub async fn maintain(&self) -> MaintenanceReport {
        self.maintenance.run().await
    }

    /// `Some` if `error` came about because Pexip is closed.
    pub(crate) fn closed(&self, error: &TakeRoomError) -> Option<Closed> {
        match error {
            TakeRoomError::Pexip(error)
            | TakeRoomError::TagUnconfirmed(error)
            | TakeRoomError::NoRoom(NoRoom::DirectFailed(error) | NoRoom::DirectUnconfirmed(error)) => {
                self.backend.pexip.closed(error)
            }
            // The pool is empty because nothing can be made.
            TakeRoomError::NoRoom(NoRoom::Refused | NoRoom::TooManyDirect | NoRoom::OutOfTime) => {
                self.backend.pexip.closed_by_latest_call()
            }
            TakeRoomError::Closed(closed) => Some(*closed),
            TakeRoomError::NoRoom(NoRoom::HardCap | NoRoom::DirectUnfit(_))
            | TakeRoomError::InvalidInstantRoom(_)
            | TakeRoomError::Records(_)
            | TakeRoomError::KeyReused
            | TakeRoomError::InProgress { .. }
            | TakeRoomError::RoomEnded
            | TakeRoomError::Interrupted => None,
        }
    }

    /// Ready rooms that this instance keeps.
    pub fn prefetched(&self) -> usize {
        self.prefetch.len()
    }

    /// Rooms that this instance took from the pool and has not replaced yet.
    pub fn owed(&self) -> usize {
        self.refill.owed()
    }

    /// Reads the state of the pool. Changes nothing.
    pub async fn status(&self, on_progress: OnProgress<'_>) -> Result<PoolStatus, PoolError> {
        self.operations.status(on_progress).await
    }

    /// Brings the pool to its target, for an operator. Does not sweep. With a limit to `wait`, waits for Pexip first
    /// and for rooms that can be joined in the end.
    pub async fn fill(&self, wait: Option<Duration>, on_progress: OnProgress<'_>) -> Result<Filled, PoolError> {
        self.operations.fill(wait, on_progress).await
    }

    /// Empties the pool: claims each message and deletes its room if it is untagged, unchanged and empty.
    pub async fn drain(&self, on_progress: OnProgress<'_>) -> Drained {
        self.operations.drain(on_progress).await
    }
}

impl std::fmt::Debug for RoomPool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RoomPool").finish_non_exhaustive()
    }
}
