//! What an operator's commands do with the pool.

mod drain;
mod fill;
mod retry_budget;
mod status;

use std::sync::Arc;

use super::counter::PoolCounter;
use super::provision::Provisioner;
use super::sweep::Sweeper;
use super::{Census, PoolError};
use crate::config::PoolConfig;
use crate::domain::RoomNamePrefix;
use crate::pexip::{Listing, PexipClient};
use crate::storage::queue::RoomQueue;
use retry_budget::RetryBudget;

pub use drain::Drained;
pub use fill::Filled;
pub use retry_budget::{OnProgress, Progress};
pub use status::{PoolStatus, SweepDue};

/// The operator's commands. Each waits where Pexip, or our own limits, ask for time.
pub(super) struct Operations {
    queue: RoomQueue,
    pexip: PexipClient,
    config: PoolConfig,
    prefix: RoomNamePrefix,
    counter: Arc<PoolCounter>,
    provisioner: Arc<Provisioner>,
    sweeper: Arc<Sweeper>,
}

impl Operations {
    pub(super) fn new(
        queue: &RoomQueue,
        pexip: &PexipClient,
        config: &PoolConfig,
        prefix: &RoomNamePrefix,
        counter: &Arc<PoolCounter>,
        provisioner: &Arc<Provisioner>,
        sweeper: &Arc<Sweeper>,
    ) -> Self {
        Self {
            queue: queue.clone(),
            pexip: pexip.in_background(),
            config: config.clone(),
            prefix: prefix.clone(),
            counter: Arc::clone(counter),
            provisioner: Arc::clone(provisioner),
            sweeper: Arc::clone(sweeper),
        }
    }

    /// Reads the state of the pool. Changes nothing, so it does not create a missing queue.
    pub(super) async fn status(&self, on_progress: OnProgress<'_>) -> Result<PoolStatus, PoolError> {
        let observed = observe(&self.counter, &mut RetryBudget::new(on_progress)).await?;
        Ok(PoolStatus {
            queue: self.queue.name().to_owned(),
            queue_exists: observed.queue_exists,
            prefix: self.prefix.as_str().to_owned(),
            poison_messages: self.counter.poison_messages().await?,
            target: self.config.target,
            max_rooms: self.config.max_rooms,
            missing: observed.census.missing(&self.config),
            sweep: SweepDue::count(&self.sweeper.sweepable(&observed.listing)),
            census: observed.census,
        })
    }

    /// Tops up to the target as a maintenance run does, without its sweep.
    pub(super) async fn fill(&self, on_progress: OnProgress<'_>) -> Result<Filled, PoolError> {
        fill::run(&self.config, &self.counter, &self.provisioner, on_progress).await
    }

    /// Empties the pool: claims each message and deletes its room.
    pub(super) async fn drain(&self, on_progress: OnProgress<'_>) -> Drained {
        drain::run(&self.config, &self.queue, &self.pexip, &self.counter, on_progress).await
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
    let messages = counter.messages().await?;
    let listing = retries.call(async || counter.list().await).await?;
    let census = counter.census(messages.unwrap_or(0), &listing);
    Ok(Observed { queue_exists: messages.is_some(), census, listing })
}
