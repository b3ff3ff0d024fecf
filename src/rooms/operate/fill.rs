//! `maxconf pool fill`: tops up the pool to its target.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::observe;
use super::retry_budget::{OnProgress, Progress, RetryBudget};
use crate::config::PoolConfig;
use crate::outbound::DEFAULT_RETRY_AFTER;
use crate::pexip::{PexipError, TokenError};
use crate::rooms::counter::PoolCounter;
use crate::rooms::provision::{BATCH, Provisioned, Provisioner};
use crate::rooms::{Census, PoolError};

/// What a fill did.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Rooms in the pool when it started.
    pub in_pool_before: usize,
    /// Rooms that were missing then.
    pub to_make: usize,
    /// Rooms put into the pool.
    pub made: usize,
    /// Rooms that can be joined. `None` if they were not waited for.
    pub joinable: Option<usize>,
    /// Why rooms are still missing, or cannot be joined.
    pub stopped_by: Option<PoolError>,
}

/// A fill in progress.
pub(super) struct Fill<'a> {
    pub(super) config: &'a PoolConfig,
    pub(super) counter: &'a PoolCounter,
    pub(super) provisioner: &'a Arc<Provisioner>,
}

impl Fill<'_> {
    pub(super) async fn run(&self, on_progress: OnProgress<'_>) -> Result<Filled, PoolError> {
        let mut retries = RetryBudget::new(on_progress);
        let census = observe(self.counter, &mut retries).await?.census;
        let mut filled = self.plan(&census);
        filled.stopped_by = self.provision(&mut filled, &census, &mut retries).await.err();
        Ok(filled)
    }

    /// Waits for the node first, and in the end for rooms that can be joined; `limit` is for all of it.
    pub(super) async fn run_and_wait(&self, limit: Duration, on_progress: OnProgress<'_>) -> Result<Filled, PoolError> {
        let mut retries = RetryBudget::with_limit(on_progress, limit);
        let census = self.wait_for_pexip(&mut retries).await?;
        let mut filled = self.plan(&census);
        let work = async {
            self.provision(&mut filled, &census, &mut retries).await?;
            self.wait_until_joinable(&mut filled, &census, &mut retries).await
        };
        filled.stopped_by = work.await.err();
        Ok(filled)
    }

    fn plan(&self, census: &Census) -> Filled {
        let (in_pool_before, to_make) = (census.in_pool(), census.missing(self.config));
        Filled { in_pool_before, to_make, made: 0, joinable: None, stopped_by: None }
    }

    /// Counts the pool as soon as the node answers.
    async fn wait_for_pexip(&self, retries: &mut RetryBudget<'_>) -> Result<Census, PoolError> {
        loop {
            let error = match observe(self.counter, retries).await {
                Ok(observed) => return Ok(observed.census),
                Err(PoolError::Pexip(error)) => error,
                Err(error) => return Err(error),
            };
            match &error {
                // A node that is starting may answer with a page of its web server.
                PexipError::Busy { .. }
                | PexipError::NoToken(TokenError::Busy { .. } | TokenError::Failed(_))
                | PexipError::Failed(_)
                | PexipError::Saturated
                | PexipError::Suspended { .. }
                | PexipError::OverBudget { .. } => {}
                PexipError::AccountRefused { .. }
                | PexipError::NoToken(TokenError::Refused { .. })
                | PexipError::Rejected { .. }
                | PexipError::NotFound => {
                    return Err(error.into());
                }
            }
            let pause = error.retry_in().unwrap_or(DEFAULT_RETRY_AFTER);
            if Instant::now() + pause > retries.until {
                return Err(error.into());
            }
            retries.pause(pause, error.to_string()).await;
        }
    }

    async fn provision(
        &self,
        filled: &mut Filled,
        census: &Census,
        retries: &mut RetryBudget<'_>,
    ) -> Result<(), PoolError> {
        retries.report(Progress::Planned(filled.to_make));
        // First creates the queue if it is missing: a room whose message cannot be put is left to the sweep.
        if filled.to_make > 0 {
            self.counter.count_messages_creating_queue().await?;
        }
        // Instances of the service may fill the pool at the same time.
        loop {
            let count = BATCH.min(self.counter.still_missing(filled.to_make, filled.made, census.messages).await);
            if count == 0 {
                return Ok(());
            }
            if Instant::now() >= retries.until {
                return Err(PoolError::OutOfTime);
            }
            let Provisioned { made, cause, .. } = self.provisioner.provision_many(count, retries.until).await;
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
    }

    /// Waits until as many rooms can be joined as the pool had and lacked; those handed out meanwhile count as well.
    async fn wait_until_joinable(
        &self,
        filled: &mut Filled,
        before: &Census,
        retries: &mut RetryBudget<'_>,
    ) -> Result<(), PoolError> {
        let wanted = filled.in_pool_before + filled.to_make;
        retries.report(Progress::Planned(wanted));
        loop {
            let census = observe(self.counter, retries).await?.census;
            let joinable = census.messages.min(census.ready);
            filled.joinable = Some(joinable);
            retries.report(Progress::Done(joinable));
            if joinable + census.handed_out.saturating_sub(before.handed_out) >= wanted {
                return Ok(());
            }
            if Instant::now() + DEFAULT_RETRY_AFTER > retries.until {
                return Err(PoolError::OutOfTime);
            }
            retries.pause(DEFAULT_RETRY_AFTER, format!("{joinable} of {wanted} rooms can be joined")).await;
        }
    }
}
