//! What an operator's commands do with the pool.

mod conflicts;
mod drain;
mod fill;
mod retry_budget;

use std::sync::Arc;
use std::time::Duration;

use super::backend::Backend;
use super::counter::PoolCounter;
use super::delete::EndReason;
use super::provision::Provisioner;
use super::sweep::{Sweeper, unrecognised_legs};
use super::{Census, PoolError};
use crate::pexip::{Conference, Listing};
use crate::storage::StorageError;
use fill::Fill;
use retry_budget::RetryBudget;

pub(crate) use conflicts::ClaimConflicts;
pub(crate) use drain::Drained;
pub(crate) use fill::Filled;
pub(crate) use retry_budget::{OnProgress, Progress};

/// The pool at one time.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// The queue's name.
    pub queue: String,
    /// False before the first maintenance run or fill, which creates it, or if its name is wrong.
    pub queue_exists: bool,
    /// What the names of our rooms begin with.
    pub prefix: String,
    pub census: Census,
    /// Messages that were set aside because they are not room names, approximately.
    pub poison_messages: usize,
    /// An error if the room records cannot be read.
    pub conflicts: Result<ClaimConflicts, StorageError>,
    /// From `POOL_TARGET_SIZE`.
    pub target: usize,
    /// From `POOL_MAX_ROOMS`.
    pub max_rooms: usize,
    /// Rooms that a fill would provision.
    pub missing: usize,
    pub sweep: SweepDue,
    /// Dialled legs in our rooms that count as people, because they are not of the room's automatic participants.
    pub unrecognised_legs: usize,
}

/// Rooms that the sweep ends next, by reason. Those of the first two only once they are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepDue {
    pub unused: usize,
    pub past_lifetime: usize,
    pub past_absolute_lifetime: usize,
}

impl SweepDue {
    fn count(sweepable: &[(&Conference, EndReason)]) -> Self {
        let count = |reason| sweepable.iter().filter(|(_, due)| *due == reason).count();
        Self {
            unused: count(EndReason::Unused),
            past_lifetime: count(EndReason::PastLifetime),
            past_absolute_lifetime: count(EndReason::PastAbsoluteLifetime),
        }
    }
}

/// The operator's commands. Each waits where Pexip, or our own limits, ask for time.
pub(super) struct Operations {
    backend: Arc<Backend>,
    counter: Arc<PoolCounter>,
    provisioner: Arc<Provisioner>,
    sweeper: Arc<Sweeper>,
}

impl Operations {
    pub(super) fn new(
        backend: Arc<Backend>,
        counter: Arc<PoolCounter>,
        provisioner: Arc<Provisioner>,
        sweeper: Arc<Sweeper>,
    ) -> Self {
        Self { backend, counter, provisioner, sweeper }
    }

    /// Reads the state of the pool. Changes nothing, so it does not create a missing queue.
    pub(super) async fn status(&self, on_progress: OnProgress<'_>) -> Result<PoolStatus, PoolError> {
        let mut retries = RetryBudget::new(on_progress);
        let observed = observe(&self.counter, &mut retries).await?;
        let presence = retries.call(async || self.backend.background.presence().await).await?;
        Ok(PoolStatus {
            queue: self.backend.queue.name().to_owned(),
            queue_exists: observed.queue_exists,
            prefix: self.backend.rooms.prefix.as_str().to_owned(),
            poison_messages: self.counter.count_poison_messages().await?,
            conflicts: conflicts::find(&self.backend).await,
            target: self.backend.config.target,
            max_rooms: self.backend.config.max_rooms,
            missing: observed.census.missing(&self.backend.config),
            sweep: SweepDue::count(&self.sweeper.sweepable(&observed.listing)),
            unrecognised_legs: unrecognised_legs(&observed.listing, &presence),
            census: observed.census,
        })
    }

    /// Tops up to the target as a maintenance run does, without its sweep. With a limit, waits for Pexip first and for
    /// rooms that can be joined in the end.
    pub(super) async fn fill(&self, wait: Option<Duration>, on_progress: OnProgress<'_>) -> Result<Filled, PoolError> {
        let fill = Fill { config: &self.backend.config, counter: &self.counter, provisioner: &self.provisioner };
        match wait {
            None => fill.run(on_progress).await,
            Some(limit) => fill.run_and_wait(limit, on_progress).await,
        }
    }

    /// Empties the pool: claims each message and deletes its room.
    pub(super) async fn drain(&self, on_progress: OnProgress<'_>) -> Drained {
        drain::run(&self.backend, &self.counter, on_progress).await
    }
}

/// The state of the pool, found by reading only.
struct Observed {
    queue_exists: bool,
    census: Census,
    listing: Listing,
}

/// Takes a census without changing anything. Waits if Pexip asks for time.
async fn observe(counter: &PoolCounter, retries: &mut RetryBudget<'_>) -> Result<Observed, PoolError> {
    let messages = counter.count_messages().await?;
    let listing = retries.call(async || counter.list().await).await?;
    let census = counter.census(messages.unwrap_or(0), &listing);
    Ok(Observed { queue_exists: messages.is_some(), census, listing })
}
