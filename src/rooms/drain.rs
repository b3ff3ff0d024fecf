use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::look::Look;
use super::patience::{OnProgress, Progress, RetryBudget};
use super::{Inner, PoolError};
use crate::pexip::{Conference, PexipError};
use crate::storage::queue::{Claim, LARGEST_BATCH, LeasedMessage, QueueError};

/// Pause before the next look for messages that are hidden or leased.
const PAUSE: Duration = Duration::from_secs(2);

/// What a drain found and did. What it was stopped in is repaired by leases that run out and by the sweep.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// Rooms deleted, and their messages before them.
    pub deleted: usize,
    /// Messages deleted whose room was gone.
    pub without_room: usize,
    /// Messages deleted whose room has been handed out; the room is left alone.
    pub handed_out: usize,
    /// Messages deleted whose room has somebody in it; the room is left to the sweep.
    pub occupied: usize,
    /// Messages deleted whose room was changed meanwhile; the room is left alone.
    pub changed: usize,
    /// Messages left, with their rooms, because somebody changed the rooms' marks.
    pub unmarked: usize,
    /// Messages left because they are no room names of ours.
    pub foreign: usize,
    /// Messages that somebody else has claimed, or perhaps we; their rooms are left alone.
    pub lost: usize,
    /// Messages that stayed hidden or leased to somebody else.
    pub out_of_sight: usize,
    /// Rooms without a tag that are there still, for the sweep. `None` if it did not come to counting them.
    pub left_to_sweep: Option<usize>,
    /// Why the pool is not empty.
    pub stopped_by: Option<PoolError>,
}

/// A drain under way.
struct Drain<'a> {
    pool: &'a Inner,
    patience: RetryBudget<'a>,
    drained: Drained,
    /// Ids of the messages that are not for us: they come back when their leases end.
    left: HashSet<String>,
    look: Option<Look>,
    /// Messages that were dealt with.
    done: usize,
}

impl Inner {
    /// Takes the pool apart: claims each message and deletes its room.
    pub(super) async fn drain(&self, on_progress: OnProgress<'_>) -> Drained {
        let mut drain = Drain {
            pool: self,
            patience: RetryBudget::new(on_progress),
            drained: Drained::default(),
            left: HashSet::new(),
            look: None,
            done: 0,
        };
        drain.drained.stopped_by = drain.run().await.err();
        drain.drained
    }
}

impl Drain<'_> {
    async fn run(&mut self) -> Result<(), PoolError> {
        // Before anything is leased: where Pexip cannot be used, a lease would only hide the room from everybody.
        let census = self.pool.observe(&mut self.patience).await?.census;
        self.patience.tell(Progress::Planned(census.messages));
        self.take_all_apart().await?;
        let census = self.pool.observe(&mut self.patience).await?.census;
        self.drained.left_to_sweep = Some(census.ready + census.warming + census.past_age);
        Ok(())
    }

    /// Until no message is left but those that are not for us, or none has come into sight for as long as a message
    /// can be hidden or leased: then somebody keeps it, a running instance perhaps.
    async fn take_all_apart(&mut self) -> Result<(), PoolError> {
        let lease = self.pool.config.lease;
        let longest_hidden = self.pool.config.ready_delay + lease;
        let mut last_seen = Instant::now();
        while Instant::now() < self.patience.until {
            let mut batch = match self.pool.queue.receive(LARGEST_BATCH, lease).await {
                Err(QueueError::NoSuchQueue) => return Ok(()),
                received => received?,
            };
            batch.retain(|message| !self.left.contains(message.id()));
            if !batch.is_empty() {
                last_seen = Instant::now();
                self.take_apart(batch).await?;
                continue;
            }
            let messages = self.pool.look_at_messages().await?.unwrap_or(0);
            self.drained.out_of_sight = messages.saturating_sub(self.left.len());
            if self.drained.out_of_sight == 0 || last_seen.elapsed() > longest_hidden {
                return Ok(());
            }
            self.patience.pause(PAUSE, format!("{} messages are hidden or leased", self.drained.out_of_sight)).await;
        }
        Err(PoolError::OutOfTime)
    }

    async fn take_apart(&mut self, batch: Vec<LeasedMessage>) -> Result<(), PoolError> {
        let names: Vec<_> = batch.iter().filter_map(|message| message.room.clone()).collect();
        let mut found = match names.as_slice() {
            [] => HashMap::new(),
            names => self.patience.call(async || self.pool.pexip.in_background().find_by_names(names).await).await?,
        };
        for message in batch {
            // While Pexip was waited for, somebody else may have received it. It comes back if not.
            if Instant::now() >= message.lease_ends {
                continue;
            }
            let room = message.room.as_ref().and_then(|name| found.remove(name));
            *self.take_one_apart(&message, room).await? += 1;
            self.done += 1;
            self.patience.tell(Progress::Done(self.done));
        }
        Ok(())
    }

    /// Returns where it is to be counted.
    async fn take_one_apart(
        &mut self,
        message: &LeasedMessage,
        room: Option<Conference>,
    ) -> Result<&mut usize, PoolError> {
        if message.room.is_none() {
            self.left.insert(message.id().to_owned());
            return Ok(&mut self.drained.foreign);
        }
        if room.as_ref().is_some_and(|room| !room.is_handed_out() && room.marks.ready_until.is_none()) {
            self.left.insert(message.id().to_owned());
            return Ok(&mut self.drained.unmarked);
        }
        // First the claim: of all who know the message only one may decide what becomes of its room. If we stop after
        // this line, the room is untagged and the sweep removes it.
        match self.pool.queue.claim(message).await {
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
            if self.is_occupied(&room).await? {
                return Ok(&mut self.drained.occupied);
            }
            match self.pool.delete_if_unchanged(&room).await {
                Ok(true) => return Ok(&mut self.drained.deleted),
                Ok(false) => return Ok(&mut self.drained.changed),
                Err(error) => self.patience.wait_out(error).await?,
            }
        }
    }

    /// By one look, unlike the sweep: nobody was given this room, so nobody can be on the way back into it.
    async fn is_occupied(&mut self, room: &Conference) -> Result<bool, PexipError> {
        let look = match self.look.take().filter(Look::counts) {
            Some(look) => look,
            None => self.patience.call(async || Look::now(&self.pool.pexip).await).await?,
        };
        Ok(self.look.insert(look).presence.is_occupied(&room.name))
    }
}
