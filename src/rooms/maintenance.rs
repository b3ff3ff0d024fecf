use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::Inner;
use super::census::Census;
use super::provision::Provisioned;
use crate::pexip::Listing;
use crate::telemetry::metrics::POISON;

/// A run ends by then: the timer comes every minute, and the Functions host kills the process of a function that
/// overstays.
const LONGEST_RUN: Duration = Duration::from_secs(50);

/// How long a run waits for a refill that is under way in this instance.
const LONGEST_QUEUE: Duration = Duration::from_secs(20);

/// What a maintenance run found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintenanceReport {
    /// Another run, or a refill, is under way in this instance.
    Busy,
    /// The run came to its end.
    Done {
        census: Census,
        /// Rooms put into the pool.
        made: usize,
        /// Rooms that are missing still.
        failed: usize,
        /// Rooms ended because their time was over; a cause where the sweep broke off.
        swept: Result<usize, String>,
    },
    /// The state of the pool could not be read.
    Failed(String),
}

impl Inner {
    /// Tops up to the target, then sweeps: those who wait for a room come first.
    pub(super) async fn maintain(self: &Arc<Self>) -> MaintenanceReport {
        let Ok(_run) = self.maintaining.try_acquire() else { return MaintenanceReport::Busy };
        let until = Instant::now() + LONGEST_RUN;
        self.ended.wake();
        // Behind a refill, or the next one: under steady load there is always one.
        let Ok(_turn) = timeout(LONGEST_QUEUE, self.refill.turn.acquire()).await else {
            return MaintenanceReport::Busy;
        };
        match timeout_at(until, self.take_census()).await {
            Ok(Ok((census, listing))) => {
                let missing = census.missing(&self.config);
                let Provisioned { made, failed, .. } = self.provision_many(missing, until).await;
                let swept = self.sweep_within(&listing, until).await;
                self.count_poison().await;
                info!(
                    messages = census.messages,
                    ready = census.ready,
                    warming = census.warming,
                    past_age = census.past_age,
                    handed_out = census.handed_out,
                    unmarked = census.unmarked,
                    made,
                    failed,
                    swept = swept.as_ref().ok(),
                    budget_left = self.pexip.budget_left(),
                    "maintenance run ended"
                );
                MaintenanceReport::Done { census, made, failed, swept }
            }
            Ok(Err(error)) => {
                warn!(%error, "maintenance run: the pool could not be counted");
                MaintenanceReport::Failed(error.to_string())
            }
            Err(_) => {
                let error = "counting the pool took too long";
                warn!(error, "maintenance run: the pool could not be counted");
                MaintenanceReport::Failed(error.to_owned())
            }
        }
    }

    /// Only to be told: nothing hangs on it.
    async fn count_poison(&self) {
        match self.queue.approximate_poison_count().await {
            Ok(messages) => POISON.is(messages, []),
            Err(error) => info!(%error, "messages that were put aside could not be counted"),
        }
    }

    async fn sweep_within(&self, listing: &Listing, until: Instant) -> Result<usize, String> {
        let swept = match timeout_at(until, self.sweep(listing, until)).await {
            Ok(swept) => swept.map_err(|error| error.to_string()),
            Err(_) => Err("out of time".to_owned()),
        };
        if let Err(error) = &swept {
            warn!(error, "the sweep broke off");
        }
        swept
    }
}
