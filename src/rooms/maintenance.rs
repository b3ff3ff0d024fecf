//! The maintenance run that the timer starts: count, top up, sweep. At Pexip's opening the pool is topped up as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::Census;
use super::backend::Backend;
use super::counter::PoolCounter;
use super::ended::EndedRooms;
use super::instant::InstantRooms;
use super::provision::{BATCH, Provisioned, Provisioner};
use super::refill::Refill;
use super::sweep::Sweeper;
use crate::config::{RoomSource, WhenEmpty};
use crate::pexip::Listing;
use crate::telemetry::metrics::{INSTANT_ON, POISON, POOL_TARGET};

/// Time limit of a run. The timer fires every minute, and the Functions host kills the process of a function that
/// exceeds its limit.
const MAX_DURATION: Duration = Duration::from_secs(50);

/// Time limit of the sweep of instant rooms, which comes first: the rest is for the pool.
const MAX_INSTANT_SWEEP: Duration = Duration::from_secs(15);

/// How long a run waits for a refill that is under way in this instance.
const MAX_WAIT_FOR_REFILL: Duration = Duration::from_secs(20);

/// What a maintenance run found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintenanceReport {
    /// Another run or a refill is under way in this instance.
    Busy,
    /// The run ended.
    Done {
        census: Census,
        /// Rooms put into the pool.
        made: usize,
        /// Rooms that are still missing.
        failed: usize,
        /// Rooms ended because their time is over. `None` if the sweep stopped early.
        swept: Option<usize>,
    },
    /// The pool could not be counted.
    Failed,
}

/// Runs maintenance, one run at a time.
pub(super) struct Maintenance {
    backend: Arc<Backend>,
    counter: Arc<PoolCounter>,
    provisioner: Arc<Provisioner>,
    refill: Arc<Refill>,
    sweeper: Arc<Sweeper>,
    ended: Arc<EndedRooms>,
    instant: Arc<InstantRooms>,
    running: Semaphore,
}

impl Maintenance {
    pub(super) fn new(
        backend: Arc<Backend>,
        counter: Arc<PoolCounter>,
        provisioner: Arc<Provisioner>,
        refill: Arc<Refill>,
        sweeper: Arc<Sweeper>,
        ended: Arc<EndedRooms>,
        instant: Arc<InstantRooms>,
    ) -> Self {
        Self { backend, counter, provisioner, refill, sweeper, ended, instant, running: Semaphore::new(1) }
    }

    /// Tops up to the target, then sweeps: requests that wait for a room come first.
    pub(super) async fn run(&self) -> MaintenanceReport {
        self.ended.wake();
        let until = Instant::now() + MAX_DURATION;
        let Ok(_running) = self.running.try_acquire() else { return MaintenanceReport::Busy };
        self.report_settings();
        // First: nobody stays in a room that is over while rooms are made.
        self.sweep_instant_rooms(until.min(Instant::now() + MAX_INSTANT_SWEEP)).await;
        let Some(_provisioning) = self.provisioning().await else { return MaintenanceReport::Busy };
        let Some((census, listing, made, failed)) = self.count_and_provision(until).await else {
            return MaintenanceReport::Failed;
        };
        let swept = self.sweep(&listing, until).await;
        self.count_poison_messages().await;
        info!(
            messages = census.messages,
            ready = census.ready,
            warming = census.warming,
            past_age = census.past_age,
            handed_out = census.handed_out,
            unmarked = census.unmarked,
            made,
            failed,
            swept,
            budget_left = self.backend.pexip.budget_left(),
            "maintenance run ended"
        );
        MaintenanceReport::Done { census, made, failed, swept }
    }

    /// Tops up to the target, and says whether no room is missing now. Sweeps nothing: of the slots that share a prefix
    /// only one may.
    pub(super) async fn top_up(&self) -> bool {
        let until = Instant::now() + MAX_DURATION;
        let Ok(_running) = self.running.try_acquire() else { return false };
        let Some(_provisioning) = self.provisioning().await else { return false };
        let Some((_, _, made, failed)) = self.count_and_provision(until).await else { return false };
        info!(made, failed, "pool topped up at Pexip's opening");
        failed == 0
    }

    /// `None` while a refill is under way. Waits: under steady load there is always one.
    async fn provisioning(&self) -> Option<SemaphorePermit<'_>> {
        timeout(MAX_WAIT_FOR_REFILL, self.refill.acquire_provisioning()).await.ok()
    }

    /// So that alerts can tell a pool that is empty from one that nobody needs.
    fn report_settings(&self) {
        let config = &self.backend.config;
        let has_instant_rooms = config.source == RoomSource::Instant || config.when_empty == WhenEmpty::Instant;
        POOL_TARGET.set(config.target, []);
        INSTANT_ON.set(usize::from(has_instant_rooms), []);
    }

    /// Nothing to do where no Conferencing Node can look up a room.
    async fn sweep_instant_rooms(&self, until: Instant) {
        if !self.backend.has_policy {
            return;
        }
        let error = match timeout_at(until, self.instant.sweep(until)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) if self.backend.is_closed(&error) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "out of time".to_owned(),
        };
        warn!(error, "sweep of instant rooms stopped early");
    }

    /// What there was, the rooms put into the pool, and the number of those still missing. `None` if the pool could not
    /// be counted.
    async fn count_and_provision(&self, until: Instant) -> Option<(Census, Listing, usize, usize)> {
        let error = match timeout_at(until, self.counter.take_census()).await {
            Ok(Ok((census, listing))) => {
                let Provisioned { made, failed, .. } = self.provision_missing(census, until).await;
                return Some((census, listing, made, failed));
            }
            Ok(Err(error)) if self.backend.is_closed(&error) => return None,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "counting the pool took too long".to_owned(),
        };
        warn!(error, "maintenance run: the pool could not be counted");
        None
    }

    /// Provisions what `census` lacks, less what others have put into the queue since: at Pexip's opening all
    /// instances, and the operator's command, fill the pool at the same time.
    async fn provision_missing(&self, census: Census, until: Instant) -> Provisioned {
        let missing = census.missing(&self.backend.config);
        let mut made = 0;
        while Instant::now() < until {
            let batch = BATCH.min(self.counter.still_missing(missing, made, census.messages).await);
            if batch == 0 {
                return Provisioned { made, failed: 0, cause: None };
            }
            let Provisioned { made: more, failed, cause } = self.provisioner.provision_many(batch, until).await;
            made += more;
            if failed > 0 {
                return Provisioned { made, failed: missing - made, cause };
            }
        }
        Provisioned { made, failed: missing - made, cause: None }
    }

    /// The number of rooms that were ended. `None` if the sweep stopped early.
    async fn sweep(&self, listing: &Listing, until: Instant) -> Option<usize> {
        let error = match timeout_at(until, self.sweeper.sweep(listing, until)).await {
            Ok(Ok(swept)) => return Some(swept),
            Ok(Err(error)) if self.backend.is_closed(&error) => return None,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "out of time".to_owned(),
        };
        warn!(error, "sweep stopped early");
        None
    }

    /// For the metric only.
    async fn count_poison_messages(&self) {
        match self.counter.count_poison_messages().await {
            Ok(messages) => POISON.set(messages, []),
            Err(error) => info!(%error, "poison messages could not be counted"),
        }
    }
}
