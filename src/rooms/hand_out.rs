use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::Inner;
use super::stash::{NoReadyRoom, ReadyRoom, Seen};
use crate::config::WhenEmpty;
use crate::domain::{Marks, Tag};
use crate::outbound::CallFailure;
use crate::pexip::{Conference, NewConference, PexipError, TagSlot};
use crate::storage::queue::Claim;
use crate::telemetry::metrics::{CLAIM_CONFLICTS, DIRECT_CREATES};

/// Rooms that one request tries before it gives up: each may turn out to be gone or somebody else's.
const MOST_TRIES: usize = 4;

/// Times that a tag is written after answers that may have been lost.
const MOST_TAG_ATTEMPTS: u32 = 3;

/// Less than this is not worth a claim: the tag would hardly be written, and the room be lost.
const LEAST_TIME_TO_TAG: Duration = Duration::from_secs(1);

/// Kept for answering after the last upstream call.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// Why a room is destroyed that was made for a request, as far as is known.
const UNKNOWN_TO_ALL: &str = "it may have been made, and nobody has it";

/// Where a handed-out room came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomSource {
    /// Made in advance; can be joined now.
    Pool,
    /// Made just now; can be joined after this time.
    Direct { joinable_after: Duration },
}

/// A room that carries its citizen's tag on Pexip.
#[derive(Debug)]
pub struct HandedOut {
    pub conference: Conference,
    pub source: RoomSource,
}

/// A handed-out room on its way to the caller. Dropped before it is delivered, it is destroyed: nobody knows it.
pub struct Undelivered {
    pool: Arc<Inner>,
    room: Option<HandedOut>,
}

impl Undelivered {
    pub(super) fn new(pool: Arc<Inner>, room: HandedOut) -> Self {
        Self { pool, room: Some(room) }
    }

    /// The room, at the moment its answer is written.
    pub fn deliver(mut self) -> HandedOut {
        self.room.take().expect("taken here only, and `self` is gone afterwards")
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            self.pool.destroy(Some(room.conference.id), room.conference.name, "the caller is gone");
        }
    }
}

impl std::fmt::Debug for Undelivered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Undelivered").field("room", &self.room).finish_non_exhaustive()
    }
}

/// Why no room is handed out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TakeRoomError {
    /// The pool has none, and none was made.
    #[error("no room: {0}")]
    NoRoom(#[from] NoRoom),
    /// Pexip does not let us check or tag a room.
    #[error(transparent)]
    Pexip(#[from] PexipError),
    /// The task that did the work is gone.
    #[error("the work was interrupted")]
    Interrupted,
}

/// What stands between an empty pool and a room made now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoRoom {
    #[error("the pool is empty and POOL_EMPTY=refuse")]
    Refused,
    #[error("the pool is empty and POOL_DIRECT_MAX rooms are being made already")]
    TooManyDirect,
    #[error("the hard cap of twice POOL_MAX_ROOMS is reached")]
    HardCap,
    #[error("the pool is empty and making a room failed: {0}")]
    DirectFailed(PexipError),
    #[error("no room in time")]
    OutOfTime,
}

/// What trying one room came to.
enum Attempt {
    Tagged(Conference),
    /// It was gone or somebody else's; another one may do.
    TryNext,
    /// The queue does not say whose it is; another one would fare no better.
    QueueInTrouble,
}

impl Inner {
    /// The claim protocol, for one request. Runs to its end whether or not anybody waits.
    pub(super) async fn hand_out_a_room(
        self: &Arc<Self>,
        tag: &Tag,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<HandedOut, TakeRoomError> {
        let deadline = deadline - ANSWER_MARGIN;
        self.pexip.check_can_tag()?;
        self.check_hard_cap().await?;
        if self.config.target == 0 {
            return self.make_direct(tag, deadline).await;
        }
        for _ in 0..MOST_TRIES {
            match self.stash.take(self.moment(), deadline).await {
                Ok(room) => match self.claim_and_tag(room, tag, deadline, &caller_is_gone).await? {
                    Attempt::Tagged(conference) => {
                        self.refill.owe_one();
                        return Ok(HandedOut { conference, source: RoomSource::Pool });
                    }
                    Attempt::TryNext => {}
                    Attempt::QueueInTrouble => break,
                },
                Err(NoReadyRoom::Pexip(error)) => return Err(error.into()),
                Err(NoReadyRoom::Queue(error)) => {
                    warn!(%error, "going on without the queue");
                    break;
                }
                Err(NoReadyRoom::Empty) => break,
            }
        }
        self.make_direct(tag, deadline).await
    }

    /// Counts anew before it refuses: rooms end without this instance's doing.
    async fn check_hard_cap(&self) -> Result<(), TakeRoomError> {
        let cap = 2 * self.config.max_rooms;
        if self.refill.rooms_known() >= cap && self.count_rooms().await? >= cap {
            return Err(NoRoom::HardCap.into());
        }
        Ok(())
    }

    async fn claim_and_tag(
        &self,
        room: ReadyRoom,
        tag: &Tag,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<Attempt, TakeRoomError> {
        let (_stake, slot) = match self.make_ready_to_claim(&room, deadline, caller_is_gone).await {
            Ok(ready) => ready,
            Err(reason) => {
                self.stash.give_back(room, self.moment());
                return reason.map_or(Ok(Attempt::TryNext), Err);
            }
        };
        // Deleting the message is what makes the room ours. In the other order a late tag could land on a room that
        // another citizen has. If we stop after this line, the room is untagged and the sweep removes it.
        match self.queue.claim(&room.message).await {
            Ok(Claim::Ours) => {}
            Ok(Claim::Lost) => {
                CLAIM_CONFLICTS.count([]);
                return Ok(Attempt::TryNext);
            }
            Err(error) => {
                warn!(room = %room.conference.name, %error, "claim without a clear answer, room abandoned");
                return Ok(Attempt::QueueInTrouble);
            }
        }
        self.tag_or_destroy(slot, room.conference, room.seen, tag, deadline).await
    }

    /// Has everything that the tag needs before the room is claimed: a claim that cannot be followed by its tag would cost
    /// a room. Fails without a reason to give where it is this room that cannot be claimed.
    async fn make_ready_to_claim(
        &self,
        room: &ReadyRoom,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<(SemaphorePermit<'_>, TagSlot), Option<TakeRoomError>> {
        let saturated = |_| TakeRoomError::from(PexipError::Saturated);
        // Few at a time: what lies between claim and tag when the node stops taking tags is lost.
        let stake = timeout_at(deadline, self.stash.stake()).await.map_err(saturated)?;
        // The place is taken after the room, not before: those who wait for a room would hold the places that the stash's
        // own check needs.
        let slot = self.pexip.reserve_tagging().await.map_err(TakeRoomError::from)?;
        // Once more: while this one waited, others may have found out that no tag is taken.
        self.pexip.check_can_tag().map_err(TakeRoomError::from)?;
        // Nor is a room claimed for nobody, or for a tag that there is no time for.
        if caller_is_gone() || Instant::now() + LEAST_TIME_TO_TAG > deadline {
            return Err(Some(NoRoom::OutOfTime.into()));
        }
        if room.is_claimable(self.moment()) { Ok((stake, slot)) } else { Err(None) }
    }

    /// A claimed room is handed out or destroyed, never put back.
    async fn tag_or_destroy(
        &self,
        mut slot: TagSlot,
        mut conference: Conference,
        seen: Seen,
        tag: &Tag,
        deadline: Instant,
    ) -> Result<Attempt, TakeRoomError> {
        conference.marks.handed_out = Some(self.clock.now_utc());
        let written = timeout_at(deadline, self.write_tag(&mut slot, &conference, seen, tag, deadline)).await;
        let written = written.unwrap_or(Err(CallFailure::Timeout.into()));
        slot.settle(&written);
        match written {
            Ok(()) => {
                conference.tag = Some(tag.clone());
                Ok(Attempt::Tagged(conference))
            }
            Err(PexipError::NotFound) => {
                info!(room = %conference.name, "room vanished from Pexip before it was tagged");
                self.refill.owe_one();
                Ok(Attempt::TryNext)
            }
            Err(error) => {
                self.refill.owe_one();
                self.destroy(Some(conference.id), conference.name, "it could not be tagged");
                Err(error.into())
            }
        }
    }

    /// The same PATCH again where the answer may have been lost: it is idempotent and the room is ours alone. But not
    /// by an id that was seen before some trouble: the node may have come back from a backup, and the id be another
    /// room's.
    async fn write_tag(
        &self,
        slot: &mut TagSlot,
        room: &Conference,
        mut seen: Seen,
        tag: &Tag,
        deadline: Instant,
    ) -> Result<(), PexipError> {
        let mut attempt = 1;
        loop {
            let Err(error) = self.write_tag_once(slot, room, &mut seen, tag).await else { return Ok(()) };
            // A wait that is known is worth a claimed room, if it ends in time.
            let pause = error.retry_in().unwrap_or(Duration::from_millis(100) * attempt);
            let passes = error.is_ambiguous() || error.retry_in().is_some();
            if !passes || attempt == MOST_TAG_ATTEMPTS || Instant::now() + pause >= deadline {
                return Err(error);
            }
            attempt += 1;
            sleep(pause).await;
        }
    }

    async fn write_tag_once(
        &self,
        slot: &mut TagSlot,
        room: &Conference,
        seen: &mut Seen,
        tag: &Tag,
    ) -> Result<(), PexipError> {
        let failure_epoch = self.pexip.failure_epoch();
        if !seen.holds(failure_epoch) {
            slot.give_way();
            let looked = Seen::now(failure_epoch);
            let now = self.pexip.read(room.id).await?.filter(|now| now.name == room.name);
            let others = |now: &Conference| now.tag.as_ref().is_some_and(|there| there.expose() != tag.expose());
            if now.is_none_or(|now| others(&now)) {
                return Err(PexipError::NotFound);
            }
            *seen = looked;
        }
        self.pexip.tag(slot, room.id, tag, &room.marks).await
    }

    /// Makes a room for this request, with its tag from the start.
    async fn make_direct(&self, tag: &Tag, deadline: Instant) -> Result<HandedOut, TakeRoomError> {
        if self.config.when_empty == WhenEmpty::Refuse {
            return Err(NoRoom::Refused.into());
        }
        let _slot = self.direct_slots.try_acquire().map_err(|_| NoRoom::TooManyDirect)?;
        let marks = Marks { ready_until: None, handed_out: Some(self.clock.now_utc()) };
        let new = self.new_conference(Some(tag.clone()), marks);
        match timeout_at(deadline, self.create_and_read(&new)).await {
            Ok(Ok(conference)) => {
                DIRECT_CREATES.count([]);
                self.refill.rooms_grew(1);
                let source = RoomSource::Direct { joinable_after: self.config.ready_delay };
                Ok(HandedOut { conference, source })
            }
            Ok(Err(error)) => Err(NoRoom::DirectFailed(error).into()),
            Err(_) => {
                self.destroy(None, new.name, UNKNOWN_TO_ALL);
                Err(NoRoom::OutOfTime.into())
            }
        }
    }

    /// Creates a conference and reads what the answer needs: Pexip answers a create without a body.
    ///
    /// Looks the name up also where the create failed ambiguously: it may have been made. What is not found then may be
    /// there all the same, and is destroyed.
    async fn create_and_read(&self, new: &NewConference) -> Result<Conference, PexipError> {
        let created = self.pexip.create(new).await;
        if let Err(error) = &created
            && !error.may_have_created()
        {
            return Err(error.clone());
        }
        let error = match self.pexip.find_by_name(&new.name).await {
            Ok(Some(conference)) => return Ok(conference),
            Ok(None) => created.as_ref().err().cloned().unwrap_or(PexipError::NotFound),
            Err(error) => error,
        };
        self.destroy(created.ok(), new.name.clone(), UNKNOWN_TO_ALL);
        Err(error)
    }
}
