//! Fills the pool as soon as Pexip is back after its closing time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::maintenance::Maintenance;
use crate::outbound::DEFAULT_RETRY_AFTER;

/// From then on the timer fills the pool: its runs come as often.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Watches for Pexip's return: without it, an instance that makes no calls would wait for its next maintenance run.
pub(super) struct Reopening {
    backend: Arc<Backend>,
    maintenance: Arc<Maintenance>,
}

impl Reopening {
    pub(super) fn new(backend: Arc<Backend>, maintenance: Arc<Maintenance>) -> Self {
        Self { backend, maintenance }
    }

    /// Each time that Pexip is back after it was found closed, fills the pool. Runs until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let fill_at_each_opening = async {
            loop {
                self.backend.pexip.wait_until_closed().await;
                self.wait_for_pexip().await;
                self.fill().await;
            }
        };
        stop.run_until_cancelled(fill_at_each_opening).await;
    }

    /// Probes the node as often as its circuit breaker allows.
    async fn wait_for_pexip(&self) {
        let probe = async {
            while let Err(error) = self.backend.background.count_ours().await {
                sleep(error.retry_in().unwrap_or(DEFAULT_RETRY_AFTER)).await;
            }
        };
        tokio::select! {
            () = probe => {}
            () = self.backend.pexip.wait_until_back() => {}
        }
    }

    /// A node that has just been started may still refuse work.
    async fn fill(&self) {
        let mut pause = DEFAULT_RETRY_AFTER;
        while !self.maintenance.top_up().await
            && self.backend.pexip.closed_by_latest_call().is_none()
            && pause < LONGEST_PAUSE
        {
            sleep(pause).await;
            pause *= 2;
        }
    }
}
