//! `maxconf pool fill`: tops up the pool to its target.

use std::sync::Arc;

use tokio::time::Instant;

use super::observe;
use super::retry_budget::{OnProgress, Progress, RetryBudget};
use crate::config::PoolConfig;
use crate::rooms::PoolError;
use crate::rooms::counter::PoolCounter;
use crate::rooms::provision::{Provisioned, Provisioner};

/// Rooms provisioned between two reports of progress.
const BATCH: usize = 4;

/// What a fill did.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Rooms in the pool when it started.
    pub in_pool_before: usize,
    /// Rooms that were missing then.
    pub to_make: usize,
    /// Rooms put into the pool.
    pub made: usize,
    /// Why rooms are still missing.
    pub stopped_by: Option<PoolError>,
}

pub(super) async fn run(
    config: &PoolConfig,
    counter: &PoolCounter,
    provisioner: &Arc<Provisioner>,
    on_progress: OnProgress<'_>,
) -> Result<Filled, PoolError> {
    let mut retries = RetryBudget::new(on_progress);
    let census = observe(counter, &mut retries).await?.census;
    let to_make = census.missing(config);
    let mut filled = Filled { in_pool_before: census.in_pool(), to_make, made: 0, stopped_by: None };
    retries.report(Progress::Planned(to_make));
    filled.stopped_by = provision(&mut filled, counter, provisioner, &mut retries).await.err();
    Ok(filled)
}

async fn provision(
    filled: &mut Filled,
    counter: &PoolCounter,
    provisioner: &Arc<Provisioner>,
    retries: &mut RetryBudget<'_>,
) -> Result<(), PoolError> {
    // First creates the queue if it is missing: a room whose message cannot be put is left to the sweep.
    if filled.to_make > 0 {
        counter.messages_creating_queue().await?;
    }
    while filled.made < filled.to_make {
        if Instant::now() >= retries.until {
            return Err(PoolError::OutOfTime);
        }
        let count = BATCH.min(filled.to_make - filled.made);
        let Provisioned { made, cause, .. } = provisioner.provision_many(count, retries.until).await;
        filled.made += made;
        if made > 0 {
            retries.reset();
            retries.report(Progress::Done(filled.made));
        }
        match cause {
            Some(PoolError::Pexip(error)) => retries.wait_out(error).await?,
            Some(error) => return Err(error),
            None => {}
        }
    }
    Ok(())
}
