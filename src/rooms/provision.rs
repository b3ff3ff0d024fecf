//! Creates rooms: in advance for the pool, or directly for one request.

use std::sync::Arc;
use std::time::Duration;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::backend::Backend;
use super::counter::PoolCounter;
use super::destroy::{DestroyReason, Destroyer};
use super::fitness::{check_fitness, check_tag};
use super::{NoRoom, PoolError};
use crate::domain::{Marks, Pins, Tag};
use crate::outbound::CallFailure;
use crate::pexip::{Conference, NewConference, PexipError};
use crate::telemetry::metrics::DIRECT_CREATES;

/// Rooms provisioned between two counts of the messages, where several instances and the operator fill the pool at the
/// same time: each may exceed its target by this.
pub(super) const BATCH: usize = 2;

/// Rooms provisioned concurrently where few calls may be in flight.
const MIN_CONCURRENT: usize = 2;

/// With less time than this left no direct room is made: its answer would probably be lost.
const MIN_TIME_FOR_DIRECT: Duration = Duration::from_secs(1);

/// Age up to which a count of the rooms allows a direct room.
const MAX_COUNT_AGE: Duration = Duration::from_secs(60);

/// Creates rooms and puts their messages.
pub(super) struct Provisioner {
    backend: Arc<Backend>,
    counter: Arc<PoolCounter>,
    destroyer: Destroyer,
    /// Rooms provisioned concurrently: a third of the calls that may be in flight. Half of these calls are for background
    /// work, agents' reads and deletes together, and some must be left to reads and deletes.
    max_concurrent: usize,
    /// Bounds direct creates in flight, to three times the concurrent calls: while some rooms are created, others wait for
    /// their shared look-up. With more a failing node would cost more rooms.
    direct_permits: Semaphore,
}

/// The result of provisioning several rooms.
#[derive(Debug)]
pub(super) struct Provisioned {
    /// Rooms put into the pool.
    pub(super) made: usize,
    /// Rooms still missing because one could not be provisioned.
    pub(super) failed: usize,
    /// Why.
    pub(super) cause: Option<PoolError>,
}

impl Provisioner {
    pub(super) fn new(backend: Arc<Backend>, counter: Arc<PoolCounter>, destroyer: Destroyer) -> Self {
        let calls = backend.pexip.max_in_flight();
        let max_concurrent = (calls / 3).max(MIN_CONCURRENT);
        let direct_permits = Semaphore::new(backend.config.direct_max.min(3 * calls));
        Self { backend, counter, destroyer, max_concurrent, direct_permits }
    }

    /// Provisions `count` rooms before `until`. Stops at the first failure, because the node may be failing.
    pub(super) async fn provision_many(self: &Arc<Self>, count: usize, until: Instant) -> Provisioned {
        let (mut left, mut made, mut failed, mut cause) = (count, 0, 0, None);
        let mut tasks = JoinSet::new();
        while (left > 0 && failed == 0 && Instant::now() < until) || !tasks.is_empty() {
            while left > 0 && failed == 0 && tasks.len() < self.max_concurrent && Instant::now() < until {
                left -= 1;
                let provisioner = Arc::clone(self);
                tasks.spawn(async move { provisioner.provision().await });
            }
            match tasks.join_next().await {
                Some(Ok(Ok(()))) => made += 1,
                Some(Ok(Err(error))) => {
                    if !self.backend.is_closed(&error) {
                        warn!(%error, "room could not be provisioned");
                    }
                    failed += 1;
                    cause = Some(error);
                }
                // It panicked. The panic hook has logged where.
                Some(Err(_)) => {
                    failed += 1;
                    cause = Some(PoolError::Interrupted);
                }
                None => break,
            }
        }
        self.counter.add_rooms(made);
        Provisioned { made, failed: failed + if failed > 0 { left } else { 0 }, cause }
    }

    /// Creates one room and puts its message, hidden until the room is replicated.
    ///
    /// If the process stops in between, no message names the room and the sweep deletes it once its mark is past.
    async fn provision(&self) -> Result<(), PoolError> {
        let ready_until = self.backend.clock.now_utc() + self.backend.config.room_max_age;
        let new = self.new_conference(None, Marks { ready_until: Some(ready_until), handed_out: None });
        let pexip = &self.backend.background;
        let id = match pexip.create(&new).await {
            Ok(id) => id,
            // The room may exist although the answer was lost. Only a room that is found gets a message.
            Err(error) if error.may_have_created() => pexip.find_by_name(&new.name).await?.ok_or(error)?.id,
            Err(error) => return Err(error.into()),
        };
        // The message expires no later than the mark says, so that the sweep knows that no message names an old room.
        let lifetime = Duration::try_from(ready_until - self.backend.clock.now_utc()).unwrap_or_default();
        if lifetime <= self.backend.config.ready_delay + self.backend.config.lease {
            self.destroyer.destroy(Some(id), new.name, DestroyReason::ProvisionTooSlow);
            return Err(PoolError::ProvisionTooSlow);
        }
        if let Err(error) = self.backend.queue.put(&new.name, self.backend.config.ready_delay, lifetime).await {
            // Not after a lost answer: the message may exist, and the room may be handed out by now.
            if !error.is_ambiguous() {
                self.destroyer.destroy(Some(id), new.name, DestroyReason::MessageNotPut);
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Creates a room for one request, with its tag from the start. Waits in line while `POOL_DIRECT_MAX` others are
    /// being created.
    pub(super) async fn create_direct(
        &self,
        tag: &Tag,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<Conference, NoRoom> {
        let _permit = self.wait_for_direct_permit(deadline).await?;
        let counted = timeout_at(deadline, self.counter.check_hard_cap(MAX_COUNT_AGE)).await;
        if counted.unwrap_or(Err(CallFailure::Timeout.into())).map_err(NoRoom::DirectFailed)? {
            return Err(NoRoom::HardCap);
        }
        // No room for a caller who is gone, nor without time for the answer.
        if caller_is_gone() || Instant::now() + MIN_TIME_FOR_DIRECT > deadline {
            return Err(NoRoom::OutOfTime);
        }
        let marks = Marks { ready_until: None, handed_out: Some(self.backend.clock.now_utc()) };
        let new = self.new_conference(Some(tag.clone()), marks);
        let Ok(created) = timeout_at(deadline, self.create_and_find(&new)).await else {
            self.destroyer.destroy(None, new.name, DestroyReason::CreateUnconfirmed);
            return Err(NoRoom::DirectUnconfirmed(CallFailure::Timeout.into()));
        };
        let conference = created?;
        DIRECT_CREATES.count([]);
        self.counter.add_rooms(1);
        Ok(conference)
    }

    async fn wait_for_direct_permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, NoRoom> {
        if self.backend.config.direct_max == 0 {
            return Err(NoRoom::TooManyDirect);
        }
        let permit = timeout_at(deadline - MIN_TIME_FOR_DIRECT, self.direct_permits.acquire()).await;
        Ok(permit.map_err(|_| NoRoom::TooManyDirect)?.expect("the semaphore is never closed"))
    }

    /// Creates a conference and looks it up for what the answer needs: Pexip answers a create without a body.
    ///
    /// Looks the name up after an ambiguous failure as well, because the room may have been created. A room that is not
    /// found may still exist, and is destroyed.
    async fn create_and_find(&self, new: &NewConference) -> Result<Conference, NoRoom> {
        // Before the room is made: without its look-up it would be destroyed.
        let look_up = self.backend.pexip.keep_call().map_err(NoRoom::DirectFailed)?;
        let created = self.backend.pexip.create(new).await;
        if let Err(error) = &created
            && !error.may_have_created()
        {
            return Err(NoRoom::DirectFailed(error.clone()));
        }
        let error = match self.backend.pexip.find_created(&new.name, look_up).await {
            Ok(Some(conference)) => {
                let fitness = check_fitness(&conference, &self.backend.rooms.host_pin());
                return match fitness.and_then(|()| check_tag(&conference, new.tag.as_ref())) {
                    Ok(()) => Ok(conference),
                    Err(unfit) => {
                        self.destroyer.destroy(Some(conference.id), conference.name, DestroyReason::RoomUnfit);
                        Err(NoRoom::DirectUnfit(unfit))
                    }
                };
            }
            Ok(None) => created.as_ref().err().cloned().unwrap_or(PexipError::NotFound),
            Err(error) => error,
        };
        self.destroyer.destroy(created.ok(), new.name.clone(), DestroyReason::CreateUnconfirmed);
        Err(NoRoom::DirectUnconfirmed(error))
    }

    fn new_conference(&self, tag: Option<Tag>, marks: Marks) -> NewConference {
        // Panics on a machine without a random source: its PINs could be guessed.
        let mut rng = UnwrapErr(SysRng);
        NewConference {
            name: self.backend.rooms.prefix.mint(self.backend.clock.now(), &mut rng),
            pins: Pins::draw(&self.backend.rooms.host_pin(), &mut rng),
            tag,
            marks,
            automatic_participants: self.backend.rooms.automatic_participants.clone(),
            properties: self.backend.rooms.properties.clone(),
        }
    }
}
