//! The pool of rooms made in advance: who gets which room, and what is left when something stops half-way.
//!
//! A room's life: provisioned (VMR, no tag) → message hidden until it is replicated → leased and checked by one
//! instance → **claimed** (message deleted) → **tagged** → handed out → ended → deleted. The order claim, tag, answer
//! is what keeps two citizens apart; every step may be the process's last and leaves something that repairs itself.

mod census;
mod drain;
mod ended;
mod error;
mod fill;
mod hand_out;
mod look;
mod maintenance;
mod patience;
mod provision;
mod stash;
mod status;
mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use crate::config::{PoolConfig, RoomConfig};
use crate::domain::Clock;
use crate::domain::{Marks, Pins, RoomName, Tag};
use crate::outbound::calls::create_split;
use crate::pexip::{Conference, ConferenceId, NewConference, PexipClient, PexipError};
use crate::storage::queue::RoomQueue;
use crate::tasks::in_own_task;
use crate::telemetry::audit::{self, AuditContext};
use crate::telemetry::metrics::DESTROYED;

pub use census::Census;
pub use drain::Drained;
use ended::Ended;
pub use error::PoolError;
pub use fill::Filled;
pub use hand_out::{HandedOut, NoRoom, RoomSource, TakeRoomError, Undelivered};
pub use maintenance::MaintenanceReport;
pub use patience::{OnProgress, Progress};
use provision::Refill;
use stash::Stash;
pub use status::{PoolStatus, SweepDue};
use sweep::Sweep;

/// Kept between a room's last use by us and the moment from which it may be somebody else's or swept.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);

/// Rooms being destroyed in the background at a time; beyond it they are left to the sweep.
const MOST_DESTROYING: usize = 256;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct RoomPool(Arc<Inner>);

struct Inner {
    config: PoolConfig,
    rooms: RoomConfig,
    /// How long a request may take, everything in it.
    request_deadline: Duration,
    queue: RoomQueue,
    pexip: PexipClient,
    clock: Clock,
    stash: Stash,
    refill: Refill,
    sweep: Sweep,
    ended: Ended,
    direct_slots: Semaphore,
    /// For the timer's run: one at a time, whoever else asks for it is told so at once.
    maintaining: Semaphore,
    destroying: Arc<Semaphore>,
}

impl RoomPool {
    /// A pool over this queue and this node. Nothing runs in the background.
    pub fn new(
        config: PoolConfig,
        rooms: RoomConfig,
        request_deadline: Duration,
        queue: RoomQueue,
        pexip: PexipClient,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            stash: Stash::new(&config),
            refill: Refill::new(config.target),
            sweep: Sweep::default(),
            ended: Ended::over(&queue),
            direct_slots: Semaphore::new(config.direct_max),
            maintaining: Semaphore::new(1),
            destroying: Arc::new(Semaphore::new(MOST_DESTROYING)),
            config,
            rooms,
            request_deadline,
            queue,
            pexip,
            clock,
        }))
    }

    /// Begins what hand-outs need in the background; it goes on until `stop` is cancelled.
    pub fn start(&self, stop: CancellationToken) {
        if self.0.config.target > 0 {
            tokio::spawn(Arc::clone(&self.0).keep_stash_filled(stop.clone()));
        }
        tokio::spawn(Arc::clone(&self.0).repay_rooms_taken(stop));
    }

    /// Begins to look after rooms that are [noted](Self::note_ended) as ended; it goes on until `stop` is cancelled.
    pub fn look_after_ended_rooms(&self, stop: CancellationToken) {
        tokio::spawn(Arc::clone(&self.0).look_after_ended_rooms(stop));
    }

    /// Hands out a room that carries `tag`.
    ///
    /// The work runs in a task of its own and ends well when the caller hangs up: what comes back here un-received,
    /// or is dropped before it is [delivered](Undelivered::deliver), is destroyed.
    pub async fn take(&self, tag: Tag) -> Result<Undelivered, TakeRoomError> {
        let deadline = Instant::now() + self.0.request_deadline;
        let (answer, taken) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        let work = async move {
            let result = create_split(inner.hand_out_a_room(&tag, deadline, || answer.is_closed())).await;
            // If nobody waits any more, the room in here is dropped, and by that destroyed.
            let _ = answer.send(result.map(|room| Undelivered::new(Arc::clone(&inner), room)));
        };
        tokio::spawn(work.in_current_span());
        // The task ends without an answer only by a panic, which has been reported where it happened.
        taken.await.unwrap_or(Err(TakeRoomError::Interrupted))
    }

    /// The room of this name as Pexip has it now, if it was handed out.
    pub async fn find_handed_out(&self, name: &RoomName) -> Result<Option<Conference>, PexipError> {
        let found = self.0.pexip.for_a_look().find_by_name(name).await?;
        Ok(found.filter(|conference| conference.tag.is_some()))
    }

    /// Ends the room of this name: removes the VMR, so that nobody can join any more, then disconnects a call that
    /// is running in it, as far as that works. False if there is no such room. `trail` says who
    /// asked.
    pub async fn end(&self, name: RoomName, trail: AuditContext) -> Result<bool, PexipError> {
        let inner = Arc::clone(&self.0);
        // A caller who hangs up after the delete must not leave the call running.
        let work = async move {
            let Some(conference) = inner.pexip.find_by_name(&name).await? else { return Ok(false) };
            match inner.pexip.delete(conference.id).await {
                // What a lost answer leaves open, a second look settles; not by the id alone, for the node may have come
                // back from a backup in between.
                Err(error) if error.is_ambiguous() => {
                    delete_if_there(&inner.pexip, Some(conference.id), &name).await?;
                }
                settled => settled?,
            }
            trail.room_deleted();
            if let Err(error) = inner.pexip.disconnect(&name).await {
                warn!(room = %name, %error, "the room is deleted, but its call could not be disconnected");
            }
            Ok(true)
        };
        in_own_task(work).await
    }

    /// Notes that the conferences in these rooms have ended, so that the rooms are looked at once
    /// `ROOM_END_GRACE_SECONDS` have passed. Returns when that is safe in the queue, or knowingly dropped: the sweep is
    /// behind it.
    pub async fn note_ended(&self, rooms: BTreeSet<RoomName>) {
        self.0.note_ended(rooms).await;
    }

    /// Brings the pool up to its target; what the timer calls. One run at a time, the others report `busy`.
    pub async fn maintain(&self) -> MaintenanceReport {
        self.0.maintain().await
    }

    /// Rooms that this instance keeps leased and checked.
    pub fn stashed(&self) -> usize {
        self.0.stash.len()
    }

    /// Rooms that this instance took and has not made anew yet.
    pub fn owed(&self) -> usize {
        self.0.refill.owed()
    }

    /// What can be observed of the pool. Changes nothing.
    pub async fn status(&self, on_progress: OnProgress<'_>) -> Result<PoolStatus, PoolError> {
        self.0.status(on_progress).await
    }

    /// Brings the pool up to its target at an operator's word, and leaves the sweep to the timer.
    pub async fn fill(&self, on_progress: OnProgress<'_>) -> Result<Filled, PoolError> {
        self.0.fill(on_progress).await
    }

    /// Empties the pool: claims each message and deletes its room, if it is untagged, unchanged and nobody is in it.
    pub async fn drain(&self, on_progress: OnProgress<'_>) -> Drained {
        self.0.drain(on_progress).await
    }
}

impl Inner {
    fn new_conference(&self, tag: Option<Tag>, marks: Marks) -> NewConference {
        // A machine without a random source must not go on: its PINs could be guessed.
        let mut rng = UnwrapErr(SysRng);
        NewConference {
            name: self.rooms.prefix.mint(self.clock.now(), &mut rng),
            pins: Pins::draw(&self.rooms.host_pin(), &mut rng),
            tag,
            marks,
            automatic_participants: self.rooms.automatic_participants.clone(),
        }
    }

    /// Destroys a room that cannot be handed out, in the background; the sweep is behind it. Without an id it may not
    /// even have been made.
    fn destroy(&self, id: Option<ConferenceId>, name: RoomName, reason: &'static str) {
        audit::room_destroyed(&name, reason);
        DESTROYED.count([]);
        let Ok(place) = Arc::clone(&self.destroying).try_acquire_owned() else { return };
        let pexip = self.pexip.in_background();
        tokio::spawn(async move {
            let _place = place;
            for pause in [0, 1, 5] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                match delete_if_there(&pexip, id, &name).await {
                    Ok(()) => return,
                    Err(error) => info!(room = %name, %error, "a destroyed room could not be deleted yet"),
                }
            }
        });
    }
}

/// Deletes the room of this name. Its id is looked at too, where it is known: a node that came back from a backup in
/// the meantime counts its ids again.
async fn delete_if_there(pexip: &PexipClient, id: Option<ConferenceId>, name: &RoomName) -> Result<(), PexipError> {
    let found = match id {
        Some(id) => pexip.read(id).await?.filter(|room| room.name == *name),
        None => pexip.find_by_name(name).await?,
    };
    if let Some(room) = found {
        pexip.delete(room.id).await?;
    }
    Ok(())
}

impl std::fmt::Debug for RoomPool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RoomPool").field("queue", &self.0.queue).finish_non_exhaustive()
    }
}
