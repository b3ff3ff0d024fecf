//! The platform's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

/// The system's clock until it is moved forward; clones move together.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    ahead_millis: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + Duration::from_millis(self.ahead_millis.load(Ordering::Relaxed))
    }

    /// To the millisecond.
    pub(super) fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("a test moves the clock by less than an age of the world");
        self.ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }
}
