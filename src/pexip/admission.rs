//! Limits on this instance's calls to the management node, which serves all instances and its own conferences.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::PexipError;
use super::contact::Contact;
use super::places::{Place, Places};
use crate::config::PexipConfig;
use crate::outbound::breaker::{Admitted, Breaker};

/// Window of the request budget.
const MINUTE: Duration = Duration::from_secs(60);

/// Who waits for a call. Decides how much of the limits it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A citizen: create, and the delete of a room that is there. Comes first.
    Foreground,
    /// An agent's widget, which may poll without limit.
    AgentRead,
    /// A delete that looks for its room, which may not be there.
    DeleteLookUp,
    /// No caller: refill, sweep.
    Background,
}

/// All but [`Urgency::Foreground`].
const OTHERS: [Urgency; 3] = [Urgency::AgentRead, Urgency::DeleteLookUp, Urgency::Background];

/// Places for concurrent calls, request budget and circuit breakers.
#[derive(Debug)]
pub(super) struct Admission {
    max_in_flight: usize,
    places: Arc<Places>,
    /// How many calls each of [`OTHERS`] may have in line and in flight.
    shares: [Arc<Semaphore>; OTHERS.len()],
    budget: Budget,
    misses: Misses,
    /// Fed by every call.
    node: Arc<Breaker>,
    /// Fed by tagging only: a node that lists rooms but refuses tags would otherwise cost a room per create.
    tagging: Arc<Breaker>,
    longest_wait: Duration,
    contact: Arc<Contact>,
}

/// Permit to make one call: a place in flight, a call of the budget and the circuit breaker's admission. Returned if
/// dropped unused.
#[derive(Debug)]
pub(super) struct CallPermit {
    /// Taken with the permit and not with the call: after an outage only one probe is admitted, and a room must not be
    /// claimed for a call that would be refused.
    call: Option<Admitted>,
    of_budget: KeptCall,
    _place: Place,
    _share: Option<OwnedSemaphorePermit>,
}

/// A call of the budget. Returned if dropped before the call is sent.
#[derive(Debug)]
pub struct KeptCall {
    admission: Arc<Admission>,
    urgency: Urgency,
    is_sent: bool,
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
        // Less than half each, and about half together: of two or more, some are left to creates.
        let share = (config.max_in_flight.saturating_sub(1) / 2).max(1);
        Self {
            max_in_flight: config.max_in_flight,
            places: Places::new(config.max_in_flight, config.max_in_flight.div_ceil(2)),
            shares: OTHERS.map(|_| Arc::new(Semaphore::new(share))),
            budget: Budget::new(config.requests_per_minute as usize),
            misses: Misses::new(config.requests_per_minute as usize),
            node: Breaker::pausing({
                let contact = Arc::clone(&contact);
                move || contact.pause()
            }),
            tagging: Breaker::new(),
            longest_wait: config.request_timeout,
            contact,
        }
    }

    /// Takes a call from the budget.
    pub(super) fn keep_call(self: &Arc<Self>, urgency: Urgency) -> Result<KeptCall, PexipError> {
        self.budget.spend(urgency)?;
        Ok(KeptCall { admission: Arc::clone(self), urgency, is_sent: false })
    }

    /// Waits for a place, at most for the timeout of a call, then takes a call from the budget if none was `kept`.
    pub(super) async fn permit(
        self: &Arc<Self>,
        urgency: Urgency,
        kept: Option<KeptCall>,
    ) -> Result<CallPermit, PexipError> {
        self.node.check()?;
        if kept.is_none() {
            // Before the wait too: whoever is over budget then holds no place in line.
            drop(self.budget.check(urgency)?);
        }
        let share = OTHERS.iter().position(|other| *other == urgency).map(|other| Arc::clone(&self.shares[other]));
        let wait = async {
            let share = match share {
                // `None` cannot happen, because the semaphores are never closed.
                Some(share) => share.acquire_owned().await.ok(),
                None => None,
            };
            (self.places.take(urgency == Urgency::Foreground).await, share)
        };
        let Ok((place, share)) = timeout(self.longest_wait, wait).await else { return Err(PexipError::Saturated) };
        let call = self.node.admit()?;
        let of_budget = kept.map_or_else(|| self.keep_call(urgency), Ok)?;
        Ok(CallPermit { call: Some(call), of_budget, _place: place, _share: share })
    }

    /// Refuses a delete's look-up by a client whose look-ups have found no room too often.
    pub(super) fn check_misses(&self, client: &str) -> Result<(), PexipError> {
        self.misses.check(client)
    }

    /// Counts a delete's look-up by this client that found no room.
    pub(super) fn note_miss(&self, client: &str) {
        self.misses.note(client);
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
        self.of_budget.is_sent = true;
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

impl Drop for KeptCall {
    fn drop(&mut self) {
        if !self.is_sent {
            self.admission.budget.refund(self.urgency);
        }
    }
}

/// Request budget: a sliding window of 60 s. Of each 60 calls, agents' reads get at most 30, and none once 40 are used.
/// Background work gets a sixth; beyond that, none once two thirds are used.
#[derive(Debug)]
struct Budget {
    limit: usize,
    /// Never locked across an await.
    spent: Mutex<Spent>,
}

/// The calls of the last minute.
#[derive(Debug, Default)]
struct Spent {
    calls: VecDeque<(Instant, Urgency)>,
    agent_reads: usize,
    background: usize,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self { limit, spent: Mutex::default() }
    }

    fn spend(&self, urgency: Urgency) -> Result<(), PexipError> {
        let mut spent = self.check(urgency)?;
        spent.calls.push_back((Instant::now(), urgency));
        if let Some(count) = spent.count(urgency) {
            *count += 1;
        }
        Ok(())
    }

    /// The calls of the last minute, if there is one left for this urgency.
    fn check(&self, urgency: Urgency) -> Result<MutexGuard<'_, Spent>, PexipError> {
        let all_but = |per_sixty: usize| self.limit - self.limit / 60 * per_sixty;
        let mut spent = self.spent();
        let (limit, own) = match urgency {
            Urgency::Foreground | Urgency::DeleteLookUp => (self.limit, self.limit),
            Urgency::AgentRead => (all_but(20), all_but(30)),
            Urgency::Background if spent.background < self.limit / 6 => (self.limit, self.limit),
            Urgency::Background => ((self.limit - self.limit / 3).max(1), self.limit),
        };
        // When the call expires that takes the last place of each limit.
        let over = spent.calls.len().checked_sub(limit).map(|index| spent.calls[index].0);
        let own_spent = spent.count(urgency).map_or(0, |count| *count);
        let over_own = own_spent
            .checked_sub(own)
            .and_then(|index| spent.calls.iter().filter(|(_, of)| *of == urgency).nth(index).map(|(at, _)| *at));
        match over.max(over_own) {
            None => Ok(spent),
            Some(at) => Err(PexipError::OverBudget { retry_in: (at + MINUTE) - Instant::now() }),
        }
    }

    fn refund(&self, urgency: Urgency) {
        let mut spent = self.spent();
        if let Some(latest) = spent.calls.iter().rposition(|(_, of)| *of == urgency) {
            spent.calls.remove(latest);
            spent.forget(urgency);
        }
    }

    fn left(&self) -> usize {
        self.limit.saturating_sub(self.spent().calls.len())
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        let mut spent = self.spent.lock();
        while let Some((_, urgency)) = spent.calls.pop_front_if(|(at, _)| at.elapsed() >= MINUTE) {
            spent.forget(urgency);
        }
        spent
    }
}

impl Spent {
    /// The number of calls of this urgency, if a limit depends on it.
    fn count(&mut self, urgency: Urgency) -> Option<&mut usize> {
        match urgency {
            Urgency::AgentRead => Some(&mut self.agent_reads),
            Urgency::Background => Some(&mut self.background),
            Urgency::Foreground | Urgency::DeleteLookUp => None,
        }
    }

    fn forget(&mut self, urgency: Urgency) {
        if let Some(count) = self.count(urgency) {
            *count -= 1;
        }
    }
}

/// Deletes' look-ups that found no room, by client. A client that deletes missing rooms without limit uses up a sixth of
/// this instance's budget, and no other client's deletes.
#[derive(Debug)]
struct Misses {
    /// Of one client in a minute.
    limit: usize,
    /// When. Has no client without one. Never locked across an await.
    by_client: Mutex<HashMap<String, VecDeque<Instant>>>,
}

impl Misses {
    fn new(budget: usize) -> Self {
        Self { limit: (budget / 6).max(1), by_client: Mutex::default() }
    }

    fn check(&self, client: &str) -> Result<(), PexipError> {
        let mut by_client = self.by_client.lock();
        by_client.retain(|_, misses| {
            while misses.pop_front_if(|at| at.elapsed() >= MINUTE).is_some() {}
            !misses.is_empty()
        });
        let latest = by_client.get(client).and_then(|misses| misses.iter().rev().nth(self.limit - 1));
        latest.map_or(Ok(()), |at| Err(PexipError::OverBudget { retry_in: (*at + MINUTE) - Instant::now() }))
    }

    fn note(&self, client: &str) {
        self.by_client.lock().entry(client.to_owned()).or_default().push_back(Instant::now());
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
    async fn background_work_has_a_sixth_whatever_others_have_used() {
        let budget = Budget::new(300);
        let spend = |urgency, most| (0..most).take_while(|_| budget.spend(urgency).is_ok()).count();
        assert_eq!(spend(Urgency::DeleteLookUp, 50), 50);
        assert_eq!(spend(Urgency::AgentRead, 300), 150);
        assert_eq!(spend(Urgency::Foreground, 50), 50);
        assert_eq!(spend(Urgency::Background, 300), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_client_whose_look_ups_find_no_room_is_refused() {
        let misses = Misses::new(300);
        for _ in 0..50 {
            misses.check("a").unwrap();
            misses.note("a");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(misses.check("a"), Err(PexipError::OverBudget { retry_in: Duration::from_secs(10) }));
        misses.check("b").unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        misses.check("a").unwrap();
        tokio::time::advance(MINUTE).await;
        misses.check("b").unwrap();
        assert!(misses.by_client.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_not_sent_is_not_counted() {
        let budget = Budget::new(1);
        budget.spend(Urgency::Foreground).unwrap();
        budget.refund(Urgency::Foreground);
        assert!(budget.spend(Urgency::Foreground).is_ok());
    }
}
