//! The claim protocol: takes a prefetched room, claims it, tags it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::source::SourceError;
use super::tag::write_tag;
use crate::domain::Tag;
use crate::pexip::{Conference, PexipError, TagPermit};
use crate::rooms::backend::Backend;
use crate::rooms::claim::{Claim, claim};
use crate::rooms::destroy::{DestroyReason, Destroyer};
use crate::rooms::prefetch::{NoPrefetchedRoom, Observation, Prefetch, PrefetchedRoom};
use crate::rooms::refill::Refill;
use crate::rooms::{NoRoom, TakeRoomError};

/// Rooms that one request claims: each may turn out to be deleted on Pexip.
const MAX_TRIES: usize = 4;

/// With less time than this left a room is not claimed: it would probably not be tagged, and be lost.
const MIN_TIME_TO_TAG: Duration = Duration::from_secs(1);

/// Rooms between claim and tag where few concurrent calls are configured; otherwise as many as calls, less one. A node
/// that stops accepting tags costs these rooms, and those that are tried until the circuit breaker opens.
const MIN_BETWEEN_CLAIM_AND_TAG: usize = 4;

/// Concurrency slots at the node that claims leave to other calls, however slow queue and records are.
const SLOTS_FOR_OTHERS: usize = 2;

/// Claims and tags rooms that were provisioned in advance.
pub(in crate::rooms) struct PoolSource {
    backend: Arc<Backend>,
    prefetch: Arc<Prefetch>,
    refill: Arc<Refill>,
    destroyer: Destroyer,
    /// Bounds claims under way, which hold a call permit each while queue and records answer.
    claiming: Semaphore,
    between_claim_and_tag: Semaphore,
}

/// What a claim and its tag need.
struct Prepared<'a> {
    claiming: SemaphorePermit<'a>,
    between_claim_and_tag: SemaphorePermit<'a>,
    tag_permit: TagPermit,
}

/// The result of trying one room.
enum Attempt {
    Tagged(Conference),
    /// The room cannot be claimed any more, or is deleted. Another one may work.
    TryNext,
    /// The room is claimed by others, and its message is gone. Another one may work.
    Conflict,
    /// Queue or records did not say whether the claim succeeded. Another claim would fail as well.
    StorageFailed,
}

/// Why a room was not claimed.
enum NotClaimed {
    /// This room cannot be claimed any more.
    RoomExpired,
    /// No record can be made, or no message deleted.
    StorageFailed,
    /// No room can be claimed for this request.
    Failed(SourceError),
}

impl From<PexipError> for NotClaimed {
    fn from(error: PexipError) -> Self {
        Self::Failed(error.into())
    }
}

impl PoolSource {
    pub(in crate::rooms) fn new(
        backend: Arc<Backend>,
        prefetch: Arc<Prefetch>,
        refill: Arc<Refill>,
        destroyer: Destroyer,
    ) -> Self {
        let claiming = Semaphore::new(backend.pexip.max_in_flight().saturating_sub(SLOTS_FOR_OTHERS).max(1));
        let between_claim_and_tag = (backend.pexip.max_in_flight() - 1).max(MIN_BETWEEN_CLAIM_AND_TAG);
        let between_claim_and_tag = Semaphore::new(between_claim_and_tag);
        Self { backend, prefetch, refill, destroyer, claiming, between_claim_and_tag }
    }

    /// A room that carries `tag`.
    pub(super) async fn take(
        &self,
        tag: &Tag,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<Conference, SourceError> {
        let mut tries = 0;
        // A conflict also removes its message, so it does not count as a try.
        while tries < MAX_TRIES && Instant::now() < deadline {
            let room = match self.prefetch.take(deadline).await {
                Ok(room) => room,
                Err(NoPrefetchedRoom::Empty) => return Err(SourceError::PoolEmpty),
                // What is left of our limits is for creates, so it may be enough for a direct room.
                Err(NoPrefetchedRoom::Pexip(error @ (PexipError::OverBudget { .. } | PexipError::Saturated))) => {
                    return Err(SourceError::NotChecked(error));
                }
                Err(NoPrefetchedRoom::Pexip(error)) => return Err(error.into()),
                Err(NoPrefetchedRoom::Storage(error)) => {
                    warn!(%error, "storage unavailable, creating without the pool");
                    return Err(SourceError::StorageFailed);
                }
            };
            match self.claim_and_tag(room, tag, deadline, &caller_is_gone).await? {
                Attempt::Tagged(conference) => {
                    self.refill.owe_one();
                    return Ok(conference);
                }
                Attempt::TryNext => tries += 1,
                Attempt::Conflict => {}
                Attempt::StorageFailed => return Err(SourceError::StorageFailed),
            }
        }
        Err(SourceError::PoolEmpty)
    }

    async fn claim_and_tag(
        &self,
        room: PrefetchedRoom,
        tag: &Tag,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<Attempt, SourceError> {
        let Prepared { claiming, between_claim_and_tag: _until_tagged, tag_permit } =
            match self.prepare_claim(&room, deadline, caller_is_gone).await {
                Ok(prepared) => prepared,
                Err(reason) => {
                    self.prefetch.give_back(room);
                    return match reason {
                        NotClaimed::RoomExpired => Ok(Attempt::TryNext),
                        NotClaimed::StorageFailed => Ok(Attempt::StorageFailed),
                        NotClaimed::Failed(error) => Err(error),
                    };
                }
            };
        // In the other order, a late tag could land on a room that another citizen has. If the process stops after this
        // line, the room has no tag and the sweep deletes it.
        let claimed = claim(&self.backend, &room.message, &room.conference.name).await;
        drop(claiming);
        match claimed {
            Ok(Claim::Ours) => {}
            Ok(Claim::Lost) => return Ok(Attempt::Conflict),
            Err(_) => return Ok(Attempt::StorageFailed),
        }
        self.tag_or_destroy(tag_permit, room.conference, room.observed, tag, deadline).await
    }

    /// Obtains everything that the tag needs before the room is claimed: a claim that no tag can follow would cost the
    /// room.
    async fn prepare_claim(
        &self,
        room: &PrefetchedRoom,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<Prepared<'_>, NotClaimed> {
        let permits = async {
            Ok::<_, AcquireError>((self.between_claim_and_tag.acquire().await?, self.claiming.acquire().await?))
        };
        let permits = timeout_at(deadline, permits).await.map_err(|_| PexipError::Saturated)?;
        let (between_claim_and_tag, claiming) = permits.expect("the semaphores are never closed");
        // After the room, not before it: requests that wait for a room would hold the call permits that the check of
        // the prefetched rooms needs.
        let tag_permit = self.backend.pexip.reserve_tagging().await?;
        // Again: while this request waited, others may have found that the node accepts no tags.
        self.backend.pexip.check_can_tag()?;
        if self.backend.records.check().is_err() || self.backend.queue.is_circuit_open() {
            return Err(NotClaimed::StorageFailed);
        }
        // No claim for a caller who is gone, nor without time for the tag.
        if caller_is_gone() || Instant::now() + MIN_TIME_TO_TAG > deadline {
            return Err(NotClaimed::Failed(SourceError::Final(NoRoom::OutOfTime.into())));
        }
        if self.prefetch.is_claimable(room) {
            Ok(Prepared { claiming, between_claim_and_tag, tag_permit })
        } else {
            Err(NotClaimed::RoomExpired)
        }
    }

    /// A claimed room is handed out or destroyed, never put back.
    async fn tag_or_destroy(
        &self,
        tag_permit: TagPermit,
        mut conference: Conference,
        observed: Observation,
        tag: &Tag,
        deadline: Instant,
    ) -> Result<Attempt, SourceError> {
        conference.marks.handed_out = Some(self.backend.clock.now_utc());
        match write_tag(&self.backend.pexip, tag_permit, &conference, observed, tag, deadline).await {
            Ok(()) => {
                conference.tag = Some(tag.clone());
                Ok(Attempt::Tagged(conference))
            }
            Err(PexipError::NotFound) => {
                info!(room = %conference.name, "room deleted on Pexip before it was tagged");
                self.refill.owe_one();
                Ok(Attempt::TryNext)
            }
            Err(error) => {
                self.refill.owe_one();
                self.destroyer.destroy(Some(conference.id), conference.name, DestroyReason::TagFailed);
                Err(SourceError::Final(TakeRoomError::TagUnconfirmed(error)))
            }
        }
    }
}
