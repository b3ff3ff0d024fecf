//! The platform's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

/// The system's clock plus an offset that tests increase; clones share the offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    ahead_millis: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + Duration::from_millis(self.ahead_millis.load(Ordering::Relaxed))
    }

    /// Moves the clock forward by whole milliseconds.
    pub(super) fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("a test moves the clock by less than 2^64 milliseconds");
        self.ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }
}
