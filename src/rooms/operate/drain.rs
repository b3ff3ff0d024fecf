//! `maxconf pool drain`: empties the pool.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::observe;
use super::retry_budget::{OnProgress, Progress, RetryBudget};
use crate::pexip::Conference;
use crate::rooms::PoolError;
use crate::rooms::backend::Backend;
use crate::rooms::claim::{Claim, claim};
use crate::rooms::counter::PoolCounter;
use crate::rooms::delete::{Outcome, delete_if_empty};
use crate::storage::StorageError;
use crate::storage::queue::{LARGEST_BATCH, LeasedMessage};

/// Pause before messages that are hidden or leased are looked for again.
const PAUSE: Duration = Duration::from_secs(2);

/// What a drain found and did. If it is stopped, expired leases and the sweep repair what it was working on.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// Rooms deleted, each after its message.
    pub deleted: usize,
    /// Messages deleted whose room does not exist.
    pub without_room: usize,
    /// Messages deleted whose room is handed out. The room stays.
    pub handed_out: usize,
    /// Messages deleted whose room is occupied. The room is left to the sweep.
    pub occupied: usize,
    /// Messages deleted whose room was changed meanwhile. The room stays.
    pub changed: usize,
    /// Messages left, with their rooms, because others changed the rooms' marks.
    pub unmarked: usize,
    /// Messages left because they are not room names of ours.
    pub foreign: usize,
    /// Messages claimed by others, or perhaps by us. Their rooms stay.
    pub lost: usize,
    /// Messages that stayed hidden or leased to others.
    pub out_of_sight: usize,
    /// Rooms without a tag that still exist, for the sweep. `None` if they were not counted.
    pub left_to_sweep: Option<usize>,
    /// Why the pool is not empty.
    pub stopped_by: Option<PoolError>,
}

/// A drain in progress.
struct Drain<'a> {
    backend: &'a Backend,
    counter: &'a PoolCounter,
    retries: RetryBudget<'a>,
    drained: Drained,
    /// Ids of the messages that a drain must not delete. They return when their leases end.
    left: HashSet<String>,
    /// Messages processed.
    done: usize,
}

pub(super) async fn run(backend: &Backend, counter: &PoolCounter, on_progress: OnProgress<'_>) -> Drained {
    let mut drain = Drain {
        backend,
        counter,
        retries: RetryBudget::new(on_progress),
        drained: Drained::default(),
        left: HashSet::new(),
        done: 0,
    };
    drain.drained.stopped_by = drain.run().await.err();
    drain.drained
}

impl Drain<'_> {
    async fn run(&mut self) -> Result<(), PoolError> {
        // Before anything is leased: if Pexip or the records cannot be used, a lease would only hide the room from all
        // instances.
        self.backend.records.probe().await?;
        let census = observe(self.counter, &mut self.retries).await?.census;
        self.retries.report(Progress::Planned(census.messages));
        self.drain_messages().await?;
        let census = observe(self.counter, &mut self.retries).await?.census;
        self.drained.left_to_sweep = Some(census.ready + census.warming + census.past_age);
        Ok(())
    }

    /// Ends when only messages are left that a drain must not delete, or none has appeared for as long as a message can
    /// be hidden or leased: then another receiver, perhaps a running instance, keeps it.
    async fn drain_messages(&mut self) -> Result<(), PoolError> {
        let longest_hidden = self.backend.config.ready_delay + self.backend.config.lease;
        let mut last_received = Instant::now();
        while Instant::now() < self.retries.until {
            let mut batch = match self.backend.queue.receive(LARGEST_BATCH, self.backend.config.lease).await {
                Err(StorageError::NoSuchQueue) => return Ok(()),
                received => received?,
            };
            batch.retain(|message| !self.left.contains(message.id()));
            if !batch.is_empty() {
                last_received = Instant::now();
                self.drain_batch(batch).await?;
                continue;
            }
            let messages = self.counter.count_messages().await?.unwrap_or(0);
            self.drained.out_of_sight = messages.saturating_sub(self.left.len());
            if self.drained.out_of_sight == 0 || last_received.elapsed() > longest_hidden {
                return Ok(());
            }
            self.retries.pause(PAUSE, format!("{} messages are hidden or leased", self.drained.out_of_sight)).await;
        }
        Err(PoolError::OutOfTime)
    }

    async fn drain_batch(&mut self, batch: Vec<LeasedMessage>) -> Result<(), PoolError> {
        let names: Vec<_> = batch.iter().filter_map(|message| message.room.clone()).collect();
        let mut found = match names.as_slice() {
            [] => HashMap::new(),
            names => self.retries.call(async || self.backend.background.find_by_names(names).await).await?,
        };
        for message in batch {
            // Others may have received it during the wait for Pexip. If not, it returns.
            if Instant::now() >= message.lease_ends {
                continue;
            }
            let room = message.room.as_ref().and_then(|name| found.remove(name));
            *self.drain_message(&message, room).await? += 1;
            self.done += 1;
            self.retries.report(Progress::Done(self.done));
        }
        Ok(())
    }

    /// Returns the counter to increment.
    async fn drain_message(
        &mut self,
        message: &LeasedMessage,
        room: Option<Conference>,
    ) -> Result<&mut usize, PoolError> {
        let Some(name) = &message.room else {
            self.left.insert(message.id().to_owned());
            return Ok(&mut self.drained.foreign);
        };
        if room.as_ref().is_some_and(|room| !room.is_handed_out() && room.marks.ready_until.is_none()) {
            self.left.insert(message.id().to_owned());
            return Ok(&mut self.drained.unmarked);
        }
        // The claim comes first: of all who hold the message only one may decide about its room. If the process stops
        // after this line, the room has no tag and the sweep deletes it.
        match claim(self.backend, message, name).await {
            Ok(Claim::Ours) => {}
            Ok(Claim::Lost) => return Ok(&mut self.drained.lost),
            Err(error) if error.is_ambiguous() => return Ok(&mut self.drained.lost),
            Err(error) => return Err(error.into()),
        }
        let Some(room) = room else { return Ok(&mut self.drained.without_room) };
        if room.is_handed_out() {
            return Ok(&mut self.drained.handed_out);
        }
        loop {
            // One reading, unlike in the sweep: no citizen has this room, so none can be about to come back.
            match delete_if_empty(&self.backend.background, &room, false).await {
                Ok(Outcome::Deleted) => return Ok(&mut self.drained.deleted),
                Ok(Outcome::Occupied) => return Ok(&mut self.drained.occupied),
                Ok(Outcome::Changed) => return Ok(&mut self.drained.changed),
                Err(error) => self.retries.wait_out(error).await?,
            }
        }
    }
}
