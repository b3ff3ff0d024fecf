//! When a leased room may be claimed.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::pexip::Conference;
use crate::storage::queue::LeasedMessage;

/// How long an observation is fresh, however long the lease is. A node may be restored from a backup meanwhile.
const MAX_OBSERVATION_AGE: Duration = Duration::from_secs(15);

/// Age at which a room is read again in the background, so that the observation does not become stale.
const REFRESH_AGE: Duration = Duration::from_secs(10);

/// A room whose message is leased to this instance and which was found on Pexip as it was made.
#[derive(Debug)]
pub(in crate::rooms) struct PrefetchedRoom {
    pub(in crate::rooms) message: LeasedMessage,
    pub(in crate::rooms) conference: Conference,
    pub(in crate::rooms) observed: Observation,
}

/// When a room was read from Pexip.
#[derive(Clone, Copy, Debug)]
pub(in crate::rooms) struct Observation {
    /// [`PexipClient::failure_epoch`](crate::pexip::PexipClient::failure_epoch) before the room was read.
    failure_epoch: u64,
    at: Instant,
}

impl Observation {
    /// To be called before the room is read.
    pub(in crate::rooms) fn begin(failure_epoch: u64) -> Self {
        Self { failure_epoch, at: Instant::now() }
    }

    /// A failure makes the observation stale, because a node that comes back from a backup assigns its ids again. So
    /// does time: an instance that makes no calls meanwhile notices no failure.
    pub(in crate::rooms) fn is_fresh(self, failure_epoch: u64) -> bool {
        self.failure_epoch == failure_epoch && Instant::now() < self.expires()
    }

    fn expires(self) -> Instant {
        self.at + MAX_OBSERVATION_AGE
    }

    pub(super) fn refresh_due(self) -> Instant {
        self.at + REFRESH_AGE
    }
}

/// What a hand-out that starts now needs of a room.
#[derive(Clone, Copy)]
pub(super) struct ClaimCriteria {
    pub(super) failure_epoch: u64,
    /// The room and its message must exist beyond this time.
    pub(super) hand_out_ends: OffsetDateTime,
}

impl PrefetchedRoom {
    /// Whether the lease has not ended, the room outlasts the hand-out, and the observation is fresh.
    pub(super) fn meets(&self, criteria: ClaimCriteria) -> bool {
        self.observed.is_fresh(criteria.failure_epoch)
            && Instant::now() < self.message.lease_ends
            && self.outlasts(criteria)
    }

    /// After either of these times the sweep may delete the room, so the tag would come too late.
    pub(super) fn outlasts(&self, criteria: ClaimCriteria) -> bool {
        let lasts = |until: OffsetDateTime| self.message.expires.min(until) > criteria.hand_out_ends;
        self.conference.marks.ready_until.is_some_and(lasts)
    }

    /// When the room has to be read or received again.
    pub(super) fn refresh_due(&self) -> Instant {
        self.message.lease_ends.min(self.observed.refresh_due())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_observation_is_fresh_for_a_quarter_of_a_minute_and_until_a_failure() {
        let observed = Observation::begin(7);
        tokio::time::advance(MAX_OBSERVATION_AGE / 2).await;
        assert!(observed.is_fresh(7) && !observed.is_fresh(8));

        tokio::time::advance(MAX_OBSERVATION_AGE / 2).await;
        assert!(!observed.is_fresh(7));
    }
}
