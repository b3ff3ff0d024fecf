//! The calls this instance may make to the management node in a minute, and who may use how many of them.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::PexipError;

/// Window of the request budget.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

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

/// Request budget: a sliding window of 60 s. Of each 60 calls, agents' reads get at most 30, and none once 40 are used.
/// Background work gets a sixth; beyond that, none once two thirds are used.
#[derive(Debug)]
pub(super) struct Budget {
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
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, spent: Mutex::default() }
    }

    /// Takes a call. Returns when it was taken, for its [refund](Self::refund).
    pub(super) fn spend(&self, urgency: Urgency) -> Result<Instant, PexipError> {
        let mut spent = self.spent_if_left(urgency)?;
        let now = Instant::now();
        spent.calls.push_back((now, urgency));
        if let Some(count) = spent.count(urgency) {
            *count += 1;
        }
        Ok(now)
    }

    /// Whether there is a call left for this urgency.
    pub(super) fn check(&self, urgency: Urgency) -> Result<(), PexipError> {
        self.spent_if_left(urgency).map(drop)
    }

    /// The calls of the last minute, if there is one left for this urgency.
    fn spent_if_left(&self, urgency: Urgency) -> Result<MutexGuard<'_, Spent>, PexipError> {
        let all_but = |per_sixty: usize| self.limit - self.limit / 60 * per_sixty;
        let mut spent = self.spent();
        let (limit, own) = match urgency {
            Urgency::Foreground | Urgency::DeleteLookUp => (self.limit, self.limit),
            Urgency::AgentRead => (all_but(20), all_but(30)),
            Urgency::Background if spent.background < self.limit / 6 => (self.limit, self.limit),
            Urgency::Background => ((self.limit - self.limit / 3).max(1), self.limit),
        };
        // For each limit that is used up: when the call expires that frees it.
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

    /// Returns the call that was taken then, unless it has left the minute: others of this urgency may have been sent.
    pub(super) fn refund(&self, urgency: Urgency, taken_at: Instant) {
        let mut spent = self.spent();
        if let Some(index) = spent.calls.iter().rposition(|call| *call == (taken_at, urgency)) {
            spent.calls.remove(index);
            spent.forget(urgency);
        }
    }

    pub(super) fn left(&self) -> usize {
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
    async fn a_call_that_was_not_sent_is_not_counted() {
        let budget = Budget::new(1);
        let taken_at = budget.spend(Urgency::Foreground).unwrap();
        budget.refund(Urgency::Foreground, taken_at);
        assert!(budget.spend(Urgency::Foreground).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_refund_of_a_call_that_has_left_the_minute_takes_no_other_out_of_it() {
        let budget = Budget::new(2);
        let kept = budget.spend(Urgency::Foreground).unwrap();
        tokio::time::advance(Duration::from_secs(30)).await;
        budget.spend(Urgency::Foreground).unwrap();
        tokio::time::advance(Duration::from_secs(31)).await;
        budget.refund(Urgency::Foreground, kept);
        assert_eq!(budget.left(), 1);
    }
}
