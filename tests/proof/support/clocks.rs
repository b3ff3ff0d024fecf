use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use maxconf::domain::Clock;
use time::OffsetDateTime;

use super::World;

/// The clocks of instances, storage and node, all ahead of the real ones by the same time.
#[derive(Clone, Default)]
pub(crate) struct Clocks(Arc<AtomicU64>);

impl Clocks {
    /// The clock of an instance.
    pub(crate) fn of_an_instance(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::from_fn(move || SystemTime::now() + Duration::from_secs(ahead.load(Ordering::SeqCst)))
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.of_an_instance().now_utc()
    }

    /// Lets leases run out, messages appear and expire, and rooms grow old.
    pub(crate) fn advance(&self, world: &World, by: Duration) {
        let ahead = self.0.fetch_add(by.as_secs(), Ordering::SeqCst) + by.as_secs();
        for traffic in [world.pexip.traffic(), world.blobs.traffic()] {
            traffic.set_clock_offset(i64::try_from(ahead).expect("a number of seconds in range"));
        }
        world.queue.advance(by);
    }
}
