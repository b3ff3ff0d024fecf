//! Hands out one room per request.

mod from_pool;
mod source;
mod tag;
mod undelivered;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use super::backend::Backend;
use super::counter::PoolCounter;
use super::destroy::Destroyer;
use super::provision::Provisioner;
use super::{NoRoom, TakeRoomError};
use crate::domain::Tag;
use crate::outbound::calls::timed_create;
use source::{SourceError, choose_source};

pub(super) use from_pool::PoolSource;
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
    destroyer: Destroyer,
}

impl HandOut {
    pub(super) fn new(
        backend: Arc<Backend>,
        counter: Arc<PoolCounter>,
        pool: PoolSource,
        provisioner: Arc<Provisioner>,
        destroyer: Destroyer,
    ) -> Self {
        Self { backend, counter, pool, provisioner, destroyer }
    }

    /// Hands out a room that carries `tag`.
    ///
    /// Runs in a task of its own, so that a caller who hangs up does not cancel it half-way. A room that is not
    /// received here, or is dropped before it is [delivered](Undelivered::deliver), is destroyed.
    pub(super) async fn take(self: &Arc<Self>, tag: Tag) -> Result<Undelivered, TakeRoomError> {
        let deadline = Instant::now() + self.backend.request_deadline;
        let (answer, taken) = oneshot::channel();
        let hand_out = Arc::clone(self);
        let work = async move {
            let result = timed_create(hand_out.find_room(&tag, deadline, || answer.is_closed())).await;
            // If the caller is gone, the room is dropped here, and so destroyed.
            let _ = answer.send(result.map(|room| Undelivered::new(hand_out.destroyer.clone(), room)));
        };
        tokio::spawn(work.in_current_span());
        // The task ends without an answer only if it panics. The panic hook has logged where.
        taken.await.unwrap_or(Err(TakeRoomError::Interrupted))
    }

    async fn find_room(
        &self,
        tag: &Tag,
        deadline: Instant,
        caller_is_gone: impl Fn() -> bool,
    ) -> Result<HandedOut, TakeRoomError> {
        let deadline = deadline - ANSWER_MARGIN;
        self.backend.pexip.check_can_tag()?;
        self.check_hard_cap().await?;
        let mut source_error = None;
        loop {
            let source = choose_source(&self.backend.config, source_error)?;
            let (room, joinable_after) = match source {
                Source::Pool => (self.pool.take(tag, deadline, &caller_is_gone).await, None),
                Source::Direct => {
                    let created = self.provisioner.create_direct(tag, deadline).await;
                    (created.map_err(SourceError::DirectFailed), Some(self.backend.config.ready_delay))
                }
            };
            match room {
                Ok(conference) => return Ok(HandedOut { conference, source, joinable_after }),
                Err(reason) => source_error = Some(reason),
            }
        }
    }

    /// Counts again before it refuses: rooms also end without this instance noticing.
    async fn check_hard_cap(&self) -> Result<(), TakeRoomError> {
        let cap = 2 * self.backend.config.max_rooms;
        if self.counter.rooms_known() >= cap && self.counter.rooms().await? >= cap {
            return Err(NoRoom::HardCap.into());
        }
        Ok(())
    }
}
