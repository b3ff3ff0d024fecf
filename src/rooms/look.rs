use std::time::Duration;

use tokio::time::Instant;

use crate::pexip::{PexipClient, PexipError, Presence};

/// How long a look counts. Rooms are ended one after another, and meanwhile somebody may come into a later one.
const COUNTS: Duration = Duration::from_secs(10);

/// A look at who is in which room.
#[derive(Debug)]
pub(super) struct Look {
    at: Instant,
    pub(super) presence: Presence,
}

impl Look {
    /// Looks in the background: nobody waits for rooms to end.
    pub(super) async fn now(pexip: &PexipClient) -> Result<Self, PexipError> {
        let presence = pexip.in_background().presence().await?;
        Ok(Self { at: Instant::now(), presence })
    }

    /// Whether it counts still.
    pub(super) fn counts(&self) -> bool {
        self.at.elapsed() < COUNTS
    }
}
