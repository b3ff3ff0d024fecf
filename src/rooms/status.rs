use super::census::Census;
use super::patience::{OnProgress, RetryBudget};
use super::sweep::Reason;
use super::{Inner, PoolError};
use crate::pexip::Listing;
use crate::storage::queue::QueueError;

/// The pool at one moment, for an operator. Found by reading only: not even a missing queue is made.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// The queue's name.
    pub queue: String,
    /// False before the first maintenance run or fill, which makes it; or where the name is a wrong one.
    pub queue_exists: bool,
    /// What the names of our rooms begin with.
    pub prefix: String,
    pub census: Census,
    /// Messages that were put aside because they are no room names, approximately.
    pub poison_messages: usize,
    /// From `POOL_TARGET_SIZE`.
    pub target: usize,
    /// From `POOL_MAX_ROOMS`.
    pub max_rooms: usize,
    /// Rooms that a fill would make.
    pub missing: usize,
    pub sweep: SweepDue,
}

/// Rooms that the sweep ends next, by reason; those of the first two only once nobody is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepDue {
    pub unused: usize,
    pub past_lifetime: usize,
    pub past_absolute_lifetime: usize,
}

impl Inner {
    pub(super) async fn status(&self, on_progress: OnProgress<'_>) -> Result<PoolStatus, PoolError> {
        let Observed { queue_exists, census, listing } = self.observe(&mut RetryBudget::new(on_progress)).await?;
        let poison_messages = self.queue.approximate_poison_count().await?;
        let mut sweep = SweepDue::default();
        for (_, reason) in self.sweepable(&listing) {
            match reason {
                Reason::Unused => sweep.unused += 1,
                Reason::PastLifetime => sweep.past_lifetime += 1,
                Reason::PastAbsoluteLifetime => sweep.past_absolute_lifetime += 1,
            }
        }
        Ok(PoolStatus {
            queue: self.queue.name().to_owned(),
            queue_exists,
            prefix: self.rooms.prefix.as_str().to_owned(),
            census,
            poison_messages,
            target: self.config.target,
            max_rooms: self.config.max_rooms,
            missing: census.missing(&self.config),
            sweep,
        })
    }

    /// A census that changes nothing, for which it is waited where Pexip asks for it.
    pub(super) async fn observe(&self, patience: &mut RetryBudget<'_>) -> Result<Observed, PoolError> {
        let messages = self.look_at_messages().await?;
        let listing = patience.call(async || self.pexip.in_background().list_ours().await).await?;
        let census = self.census(messages.unwrap_or(0), &listing);
        Ok(Observed { queue_exists: messages.is_some(), census, listing })
    }

    /// Messages in the queue, as far as is known; `None` if there is no queue.
    pub(super) async fn look_at_messages(&self) -> Result<Option<usize>, QueueError> {
        match self.queue.approximate_count().await {
            Err(QueueError::NoSuchQueue) => Ok(None),
            counted => counted.map(Some),
        }
    }
}

/// What was found by reading only.
pub(super) struct Observed {
    pub(super) queue_exists: bool,
    pub(super) census: Census,
    pub(super) listing: Listing,
}
