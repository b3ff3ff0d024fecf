use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::PexipError;
use crate::config::PexipConfig;
use crate::outbound::breaker::{Admitted, Breaker};

/// The budget's window.
const MINUTE: Duration = Duration::from_secs(60);

/// Who waits for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A citizen, or who asks for them.
    Foreground,
    /// An agent who looks at a room, as often as the agent's widget likes.
    Look,
    /// Nobody: refill, sweep.
    Background,
}

/// The bounds on this instance's calls: the node serves the whole fleet and its own conferences.
#[derive(Debug)]
pub(super) struct Admission {
    in_flight: Arc<Semaphore>,
    /// The places that the background may fill, so that it never has all of them.
    background: Arc<Semaphore>,
    budget: Budget,
    /// What every call says about the node.
    node: Arc<Breaker>,
    /// What writing tags says: a node that lists rooms and refuses each tag would destroy a room per create.
    tagging: Arc<Breaker>,
    longest_wait: Duration,
}

/// The right to make one call, so that a room is claimed only when the call that tags it can be made. Dropped unused,
/// it gives back its place and its share of the budget.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    /// The node's breaker waits for the call's outcome. Taken here and not with the call: after an outage one probe
    /// is let through, and a room must not be claimed for a call that would be refused.
    call: Option<Admitted>,
    sent: bool,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// The right to tag one room, however many calls that takes.
#[derive(Debug)]
pub struct TagSlot {
    first_call: Option<Permit>,
    tagging: Admitted,
}

impl TagSlot {
    /// The permit that came with the slot; after it each call needs one of its own.
    pub(super) fn first_call(&mut self) -> Option<Permit> {
        self.first_call.take()
    }

    /// Lets another call go first: with one place in all, it would wait for this one's.
    pub fn give_way(&mut self) {
        self.first_call = None;
    }

    /// Says what the tagging came to in the end. A room that is gone says nothing about the next one.
    pub fn settle<T>(self, result: &Result<T, PexipError>) {
        match result {
            Ok(_) | Err(PexipError::NotFound) => self.tagging.succeeded(),
            Err(_) => self.tagging.failed(None),
        }
    }
}

impl Admission {
    pub(super) fn new(config: &PexipConfig) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            background: Arc::new(Semaphore::new((config.max_in_flight / 2).max(1))),
            budget: Budget::new(config.requests_per_minute as usize),
            node: Breaker::new(),
            tagging: Breaker::new(),
            longest_wait: config.request_timeout,
        }
    }

    /// Waits for a place, at most as long as a call may take, and takes a share of the budget.
    pub(super) async fn permit(self: &Arc<Self>, urgency: Urgency) -> Result<Permit, PexipError> {
        self.node.check()?;
        let places = async {
            let background = match urgency {
                Urgency::Foreground | Urgency::Look => None,
                Urgency::Background => Arc::clone(&self.background).acquire_owned().await.ok(),
            };
            Some((Arc::clone(&self.in_flight).acquire_owned().await.ok()?, background))
        };
        // The semaphores are never closed, so nothing but the time-out is left.
        let Ok(Some(places)) = timeout(self.longest_wait, places).await else {
            return Err(PexipError::Saturated);
        };
        let call = self.node.admit()?;
        self.budget.spend(urgency)?;
        Ok(Permit { admission: Arc::clone(self), call: Some(call), sent: false, _places: places })
    }

    /// A permit, and the word of the breaker that watches tags.
    pub(super) async fn tag_slot(self: &Arc<Self>, urgency: Urgency) -> Result<TagSlot, PexipError> {
        let tagging = self.tagging.admit()?;
        Ok(TagSlot { first_call: Some(self.permit(urgency).await?), tagging })
    }

    /// Whether a room could be tagged now, as far as the breakers know.
    pub(super) fn check_can_tag(&self) -> Result<(), PexipError> {
        Ok(self.node.check().and_then(|()| self.tagging.check())?)
    }

    /// Whether one of the breakers is open.
    pub(super) fn is_open(&self) -> bool {
        self.node.is_open() || self.tagging.is_open()
    }

    /// Calls that the budget allows in this minute still.
    pub(super) fn budget_left(&self) -> usize {
        self.budget.left()
    }
}

impl Permit {
    /// From now on the call counts, also where nobody waits for its answer any more: the node has it.
    pub(super) fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// Says what the call came to.
    pub(super) fn settle<T>(mut self, result: &Result<T, PexipError>) {
        let Some(call) = self.call.take() else { return };
        match result {
            Err(error) if error.is_the_nodes_trouble() => call.failed(error.asks_to_wait()),
            Ok(_) | Err(_) => call.succeeded(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.sent {
            self.admission.budget.refund();
        }
    }
}

/// At most so many calls in any 60 seconds; the last third is not the background's, and looks leave 30 of each whole 60:
/// one widget that asks on and on must neither leave citizens without rooms nor stop what makes and ends them.
#[derive(Debug)]
struct Budget {
    limit: usize,
    /// When the calls of the last minute were made. Never held across an await.
    spent: Mutex<VecDeque<Instant>>,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self { limit, spent: Mutex::default() }
    }

    fn spend(&self, urgency: Urgency) -> Result<(), PexipError> {
        let limit = match urgency {
            Urgency::Foreground => self.limit,
            Urgency::Look => self.limit - self.limit / 60 * 30,
            Urgency::Background => (self.limit - self.limit / 3).max(1),
        };
        let mut spent = self.spent();
        if spent.len() >= limit {
            let oldest_in_the_way = spent[spent.len() - limit];
            return Err(PexipError::OverBudget { retry_in: (oldest_in_the_way + MINUTE) - Instant::now() });
        }
        spent.push_back(Instant::now());
        Ok(())
    }

    fn refund(&self) {
        self.spent().pop_back();
    }

    fn left(&self) -> usize {
        self.limit.saturating_sub(self.spent().len())
    }

    fn spent(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        while spent.front().is_some_and(|at| at.elapsed() >= MINUTE) {
            spent.pop_front();
        }
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_than_the_budget_and_the_last_third_is_the_foregrounds() {
        let budget = Budget::new(9);
        for _ in 0..6 {
            budget.spend(Urgency::Background).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let refused = budget.spend(Urgency::Background);
        assert_eq!(refused, Err(PexipError::OverBudget { retry_in: Duration::from_secs(54) }));
        for _ in 0..3 {
            budget.spend(Urgency::Foreground).unwrap();
        }
        assert!(budget.spend(Urgency::Foreground).is_err());

        tokio::time::advance(Duration::from_secs(54)).await;
        assert_eq!(budget.left(), 1);
        assert!(budget.spend(Urgency::Background).is_err(), "five of six are within the minute, and three more");
        assert!(budget.spend(Urgency::Foreground).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn looks_leave_calls_to_everybody_else() {
        for (limit, looks) in [(59, 59), (60, 30), (100, 70), (300, 150)] {
            let budget = Budget::new(limit);
            let spent = (0..limit).take_while(|_| budget.spend(Urgency::Look).is_ok()).count();
            assert_eq!((spent, budget.left()), (looks, limit - looks));
        }
        let budget = Budget::new(300);
        while budget.spend(Urgency::Look).is_ok() {}
        assert!(budget.spend(Urgency::Background).is_ok() && budget.spend(Urgency::Foreground).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_not_made_is_not_counted() {
        let budget = Budget::new(1);
        budget.spend(Urgency::Foreground).unwrap();
        budget.refund();
        assert!(budget.spend(Urgency::Foreground).is_ok());
    }
}
