//! Limits on this instance's calls to the management node, which serves all instances and its own conferences.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::PexipError;
use super::contact::Contact;
use crate::config::PexipConfig;
use crate::outbound::breaker::{Admitted, Breaker};

/// Window of the request budget.
const MINUTE: Duration = Duration::from_secs(60);

/// Who waits for a call. Decides how much of the limits it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A citizen: create and delete.
    Foreground,
    /// An agent's widget, which may poll without limit.
    AgentRead,
    /// No caller: refill, sweep.
    Background,
}

/// Concurrency slots, request budget and circuit breakers.
#[derive(Debug)]
pub(super) struct Admission {
    max_in_flight: usize,
    in_flight: Arc<Semaphore>,
    /// Slots that agents' reads and background work may use. Of three or more, one is left to creates and deletes.
    agent_reads: Arc<Semaphore>,
    background: Arc<Semaphore>,
    budget: Budget,
    /// Fed by every call.
    node: Arc<Breaker>,
    /// Fed by tagging only: a node that lists rooms but refuses tags would otherwise cost a room per create.
    tagging: Arc<Breaker>,
    longest_wait: Duration,
    contact: Arc<Contact>,
}

/// Permit to make one call: a concurrency slot, a call of the budget and the circuit breaker's admission. Returned if
/// dropped unused.
#[derive(Debug)]
pub(super) struct CallPermit {
    admission: Arc<Admission>,
    /// Taken with the permit and not with the call: after an outage only one probe is admitted, and a room must not be
    /// claimed for a call that would be refused.
    call: Option<Admitted>,
    sent: bool,
    _slots: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// Permit to tag one room, which may take several calls.
#[derive(Debug)]
pub struct TagPermit {
    first_call: Option<CallPermit>,
    tagging: Admitted,
}

impl TagPermit {
    pub(super) fn new(first_call: CallPermit, tagging: Admitted) -> Self {
        Self { first_call: Some(first_call), tagging }
    }

    /// The call permit that is part of it. Each further call needs its own.
    pub(super) fn take_first_call(&mut self) -> Option<CallPermit> {
        self.first_call.take()
    }

    /// Returns its call permit, so that another call can be made first: with only one slot that call would wait
    /// forever.
    pub fn release_first_call(&mut self) {
        self.first_call = None;
    }

    /// Reports the result of tagging. A room that no longer exists is no failure of the node.
    pub fn settle<T>(self, result: &Result<T, PexipError>) {
        match result {
            Ok(_) | Err(PexipError::NotFound) => self.tagging.succeeded(),
            Err(_) => self.tagging.failed(None),
        }
    }
}

impl Admission {
    pub(super) fn new(config: &PexipConfig, contact: Arc<Contact>) -> Self {
        let share = (config.max_in_flight.saturating_sub(1) / 2).max(1);
        Self {
            max_in_flight: config.max_in_flight,
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            agent_reads: Arc::new(Semaphore::new(share)),
            background: Arc::new(Semaphore::new(share)),
            budget: Budget::new(config.requests_per_minute as usize),
            node: Breaker::pausing({
                let contact = Arc::clone(&contact);
                move || contact.pause()
            }),
            tagging: Breaker::new(),
            longest_wait: config.request_timeout,
            contact,
        }
    }

    /// Waits for a slot, at most for the timeout of a call, then takes a call from the budget.
    pub(super) async fn permit(self: &Arc<Self>, urgency: Urgency) -> Result<CallPermit, PexipError> {
        self.node.check()?;
        // Before the wait too: whoever is over budget then holds no place in the queue.
        drop(self.budget.check(urgency)?);
        let share = match urgency {
            Urgency::Foreground => None,
            Urgency::AgentRead => Some(&self.agent_reads),
            Urgency::Background => Some(&self.background),
        };
        let slots = async {
            let of_share = match share {
                Some(share) => Some(Arc::clone(share).acquire_owned().await.ok()?),
                None => None,
            };
            Some((Arc::clone(&self.in_flight).acquire_owned().await.ok()?, of_share))
        };
        // `None` cannot happen, because the semaphores are never closed.
        let Ok(Some(slots)) = timeout(self.longest_wait, slots).await else {
            return Err(PexipError::Saturated);
        };
        let call = self.node.admit()?;
        self.budget.spend(urgency)?;
        Ok(CallPermit { admission: Arc::clone(self), call: Some(call), sent: false, _slots: slots })
    }

    /// The admission of the circuit breaker of tagging.
    pub(super) fn admit_tagging(&self) -> Result<Admitted, PexipError> {
        Ok(self.tagging.admit()?)
    }

    /// Counts a call that is made on the permit of another: the fetch of a token, or a repetition.
    pub(super) fn count_call(&self) -> Result<(), PexipError> {
        self.budget.spend(Urgency::Foreground)
    }

    /// Notes the result of a call that no permit belongs to. Says whether Pexip is closed by it.
    pub(super) fn note_closed<T>(&self, result: &Result<T, PexipError>) -> bool {
        self.contact.note(result);
        result.as_ref().is_err_and(|error| self.contact.closed(error).is_some())
    }

    /// Whether the circuit breaker of the node lets calls through.
    pub(super) fn check_node(&self) -> Result<(), PexipError> {
        Ok(self.node.check()?)
    }

    /// Whether the circuit breakers allow to tag a room now.
    pub(super) fn check_can_tag(&self) -> Result<(), PexipError> {
        Ok(self.node.check().and_then(|()| self.tagging.check())?)
    }

    /// Whether one of the circuit breakers is open.
    pub(super) fn is_open(&self) -> bool {
        self.node.is_open() || self.tagging.is_open()
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Calls left in the budget.
    pub(super) fn budget_left(&self) -> usize {
        self.budget.left()
    }
}

impl CallPermit {
    /// Marks the call as sent: from now on it counts, even if it is cancelled.
    pub(super) fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// Reports the result of the call.
    pub(super) fn settle<T>(mut self, result: &Result<T, PexipError>) {
        let Some(call) = self.call.take() else { return };
        match result {
            Err(error) if error.is_node_failure() => call.failed(error.retry_after()),
            Ok(_) | Err(_) => call.succeeded(),
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        if !self.sent {
            self.admission.budget.refund();
        }
    }
}

/// Request budget: a sliding window of 60 s. Background work may use two thirds of it; agents' reads leave 30 calls per
/// full 60, so that a widget that polls without limit neither blocks creates nor refill and sweep.
#[derive(Debug)]
struct Budget {
    limit: usize,
    /// When the calls of the last minute were made. Never locked across an await.
    spent: Mutex<VecDeque<Instant>>,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self { limit, spent: Mutex::default() }
    }

    fn spend(&self, urgency: Urgency) -> Result<(), PexipError> {
        self.check(urgency)?.push_back(Instant::now());
        Ok(())
    }

    /// The calls of the last minute, if there is one left for this urgency.
    fn check(&self, urgency: Urgency) -> Result<MutexGuard<'_, VecDeque<Instant>>, PexipError> {
        let limit = match urgency {
            Urgency::Foreground => self.limit,
            Urgency::AgentRead => self.limit - self.limit / 60 * 30,
            Urgency::Background => (self.limit - self.limit / 3).max(1),
        };
        let spent = self.spent();
        if spent.len() >= limit {
            let next_to_expire = spent[spent.len() - limit];
            return Err(PexipError::OverBudget { retry_in: (next_to_expire + MINUTE) - Instant::now() });
        }
        Ok(spent)
    }

    fn refund(&self) {
        self.spent().pop_back();
    }

    fn left(&self) -> usize {
        self.limit.saturating_sub(self.spent().len())
    }

    fn spent(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        let mut spent = self.spent.lock();
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
    async fn no_minute_has_more_calls_than_the_budget_and_the_last_third_is_for_the_foreground() {
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
    async fn agent_reads_leave_calls_for_others() {
        for (limit, reads) in [(59, 59), (60, 30), (100, 70), (300, 150)] {
            let budget = Budget::new(limit);
            let spent = (0..limit).take_while(|_| budget.spend(Urgency::AgentRead).is_ok()).count();
            assert_eq!((spent, budget.left()), (reads, limit - reads));
        }
        let budget = Budget::new(300);
        while budget.spend(Urgency::AgentRead).is_ok() {}
        assert!(budget.spend(Urgency::Background).is_ok() && budget.spend(Urgency::Foreground).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_not_sent_is_not_counted() {
        let budget = Budget::new(1);
        budget.spend(Urgency::Foreground).unwrap();
        budget.refund();
        assert!(budget.spend(Urgency::Foreground).is_ok());
    }
}
