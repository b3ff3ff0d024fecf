//! Provisions one room for each room taken from the pool. The maintenance run provisions what this misses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::PoolError;
use super::counter::PoolCounter;
use super::provision::Provisioner;

/// Time limit of one refill. The maintenance run provisions what is still missing then.
const MAX_DURATION: Duration = Duration::from_secs(50);

/// Pause after a refill that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Pause after a refill that found the pool full: others have made its rooms, or there are more than the target.
const PAUSE_WHILE_FULL: Duration = Duration::from_millis(250);

/// Rooms that this instance owes the pool.
pub(super) struct Refill {
    counter: Arc<PoolCounter>,
    provisioner: Arc<Provisioner>,
    owed: AtomicUsize,
    /// The pool's target: more rooms than that would find the pool full.
    max_owed: usize,
    wake: Notify,
    /// One provisioning run at a time: two would both count the same gap.
    provisioning: Semaphore,
}

impl Refill {
    pub(super) fn new(target: usize, counter: Arc<PoolCounter>, provisioner: Arc<Provisioner>) -> Self {
        let (owed, wake, provisioning) = (AtomicUsize::new(0), Notify::new(), Semaphore::new(1));
        Self { counter, provisioner, owed, max_owed: target, wake, provisioning }
    }

    /// Records that one room was taken from the pool.
    pub(super) fn owe_one(&self) {
        let _ = self
            .owed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| (owed < self.max_owed).then_some(owed + 1));
        self.wake.notify_one();
    }

    pub(super) fn owed(&self) -> usize {
        self.owed.load(Ordering::Relaxed)
    }

    /// Waits for the exclusive right to provision rooms for the pool.
    pub(super) async fn acquire_provisioning(&self) -> SemaphorePermit<'_> {
        self.provisioning.acquire().await.expect("the semaphore is never closed")
    }

    /// Provisions rooms as they are owed, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            while self.owed() > 0 {
                let pause = match self.provision_owed().await {
                    Ok(0) => PAUSE_WHILE_FULL,
                    Ok(_) => continue,
                    Err(error) => {
                        if !self.counter.is_closed(&error) {
                            warn!(%error, "the pool could not be refilled, trying again");
                        }
                        PAUSE_AFTER_FAILURE
                    }
                };
                if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                    return;
                }
            }
            if stop.run_until_cancelled(self.wake.notified()).await.is_none() {
                return;
            }
        }
    }

    /// Provisions what is missing of the owed rooms. Returns how many were missing.
    async fn provision_owed(&self) -> Result<usize, PoolError> {
        let _permit = self.acquire_provisioning().await;
        // Reset before counting: rooms taken meanwhile are still counted, so those stay owed.
        let owed = self.owed.swap(0, Ordering::Relaxed);
        match self.counter.count_missing(owed).await {
            Ok(missing) => {
                self.provisioner.provision_many(missing, Instant::now() + MAX_DURATION).await;
                Ok(missing)
            }
            Err(error) => {
                self.owed.fetch_add(owed, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}
