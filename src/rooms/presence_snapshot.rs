//! One reading of who is in which room.

use std::time::Duration;

use tokio::time::Instant;

use crate::pexip::{PexipClient, PexipError, Presence};

/// Age up to which a snapshot is fresh. Rooms are ended one after another, and meanwhile participants may join a
/// later one.
const MAX_AGE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct PresenceSnapshot {
    taken_at: Instant,
    pub(super) presence: Presence,
}

impl PresenceSnapshot {
    pub(super) async fn take(pexip: &PexipClient) -> Result<Self, PexipError> {
        let presence = pexip.presence().await?;
        Ok(Self { taken_at: Instant::now(), presence })
    }

    /// Takes the snapshot again unless it is fresh.
    pub(super) async fn refresh(&mut self, pexip: &PexipClient) -> Result<(), PexipError> {
        if !self.is_fresh() {
            *self = Self::take(pexip).await?;
        }
        Ok(())
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.taken_at.elapsed() < MAX_AGE
    }
}
