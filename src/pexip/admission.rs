//! Limits on this instance's calls to the management node, which serves all instances and its own conferences.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::PexipError;
use super::budget::{Budget, Urgency};
use super::call_slots::{CallSlot, CallSlots, Turn};
use super::contact::Contact;
use super::misses::Misses;
use crate::config::PexipConfig;
use crate::outbound::breaker::{Admitted, Breaker};

/// All but [`Urgency::Foreground`].
const OTHERS: [Urgency; 3] = [Urgency::AgentRead, Urgency::DeleteLookUp, Urgency::Background];

/// Slots for concurrent calls, request budget and circuit breakers.
#[derive(Debug)]
pub(super) struct Admission {
    max_in_flight: usize,
    slots: Arc<CallSlots>,
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

/// Permit to make one call: a slot in flight, a call of the budget and the circuit breaker's admission. Returned if
/// dropped unused.
#[derive(Debug)]
pub(super) struct CallPermit {
    /// Taken with the permit and not with the call: after an outage only one probe is admitted, and a room must not be
    /// claimed for a call that would be refused.
    call: Option<Admitted>,
    of_budget: KeptCall,
    _slot: CallSlot,
    _share: Option<OwnedSemaphorePermit>,
}

/// A call of the budget. Returned if dropped before the call is sent.
#[derive(Debug)]
pub struct KeptCall {
    admission: Arc<Admission>,
    urgency: Urgency,
    taken_at: Instant,
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
        // Together they may use half of the slots, so that of two or more slots creates always have some. One urgency
        // alone may use that half. It has no more calls than that in line, so another urgency gets the next slot.
        let half = config.max_in_flight.div_ceil(2);
        Self {
            max_in_flight: config.max_in_flight,
            slots: CallSlots::new(config.max_in_flight, half),
            shares: OTHERS.map(|_| Arc::new(Semaphore::new(half))),
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
        let taken_at = self.budget.spend(urgency)?;
        Ok(KeptCall { admission: Arc::clone(self), urgency, taken_at, is_sent: false })
    }

    /// Waits for a slot, at most for the timeout of a call, then takes a call from the budget if none was `kept`. A call
    /// that was kept completes what earlier ones have begun, so it is the next in line.
    pub(super) async fn permit(
        self: &Arc<Self>,
        urgency: Urgency,
        kept: Option<KeptCall>,
    ) -> Result<CallPermit, PexipError> {
        self.node.check()?;
        if kept.is_none() {
            // Before the wait too, so that a call over budget does not wait in line.
            self.budget.check(urgency)?;
        }
        let share = OTHERS.iter().position(|other| *other == urgency).map(|other| Arc::clone(&self.shares[other]));
        let turn = match urgency {
            Urgency::Foreground if kept.is_some() => Turn::Next,
            Urgency::Foreground => Turn::Foreground,
            _ => Turn::Other,
        };
        let wait = async {
            let share = match share {
                // `None` cannot happen, because the semaphores are never closed.
                Some(share) => share.acquire_owned().await.ok(),
                None => None,
            };
            (self.slots.take(turn).await, share)
        };
        let Ok((slot, share)) = timeout(self.longest_wait, wait).await else { return Err(PexipError::Saturated) };
        let call = self.node.admit()?;
        let of_budget = kept.map_or_else(|| self.keep_call(urgency), Ok)?;
        Ok(CallPermit { call: Some(call), of_budget, _slot: slot, _share: share })
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
        self.budget.spend(Urgency::Foreground).map(drop)
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
            self.admission.budget.refund(self.urgency, self.taken_at);
        }
    }
}
