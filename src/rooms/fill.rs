use std::sync::Arc;

use tokio::time::Instant;

use super::patience::{OnProgress, Progress, RetryBudget};
use super::provision::Provisioned;
use super::{Inner, PoolError};

/// Rooms made before the progress is told again.
const AT_A_TIME: usize = 4;

/// What a fill did.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Rooms in the pool when it began.
    pub in_pool_before: usize,
    /// Rooms that were missing then.
    pub to_make: usize,
    /// Rooms put into the pool.
    pub made: usize,
    /// Why there are not all of them.
    pub stopped_by: Option<PoolError>,
}

impl Inner {
    /// Tops up to the target as a maintenance run does, without its sweep and with patience for Pexip's limits.
    pub(super) async fn fill(self: &Arc<Self>, on_progress: OnProgress<'_>) -> Result<Filled, PoolError> {
        let mut patience = RetryBudget::new(on_progress);
        let census = self.observe(&mut patience).await?.census;
        let to_make = census.missing(&self.config);
        let mut filled = Filled { in_pool_before: census.in_pool(), to_make, made: 0, stopped_by: None };
        patience.tell(Progress::Planned(to_make));
        filled.stopped_by = self.make(&mut filled, &mut patience).await.err();
        Ok(filled)
    }

    async fn make(self: &Arc<Self>, filled: &mut Filled, patience: &mut RetryBudget<'_>) -> Result<(), PoolError> {
        // Makes the queue if it is missing: a room whose message cannot be put is a room for the sweep.
        if filled.to_make > 0 {
            self.count_messages().await?;
        }
        while filled.made < filled.to_make {
            if Instant::now() >= patience.until {
                return Err(PoolError::OutOfTime);
            }
            let count = AT_A_TIME.min(filled.to_make - filled.made);
            let Provisioned { made, cause, .. } = self.provision_many(count, patience.until).await;
            filled.made += made;
            if made > 0 {
                patience.got_on();
                patience.tell(Progress::Done(filled.made));
            }
            match cause {
                Some(PoolError::Pexip(error)) => patience.wait_out(error).await?,
                Some(error) => return Err(error),
                None => {}
            }
        }
        Ok(())
    }
}
