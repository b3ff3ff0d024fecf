use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use super::{TestApp, TestAppBuilder};

/// How far the service's clock and the node's are ahead of the real one, in seconds.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicI64>);

impl Ahead {
    /// A service that keeps no pool, with this clock.
    pub(crate) fn builder(&self) -> TestAppBuilder {
        let ahead = Arc::clone(&self.0);
        let now = move || SystemTime::now() + Duration::from_secs(ahead.load(Ordering::Relaxed).unsigned_abs());
        TestApp::with().set("POOL_TARGET_SIZE", 0).clock(now)
    }

    pub(crate) fn set_ours(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn set_both(&self, app: &TestApp, seconds: i64) {
        self.set(app, seconds, seconds);
    }

    pub(crate) fn set(&self, app: &TestApp, ours: i64, nodes: i64) {
        self.set_ours(ours);
        app.pexip.traffic().set_clock_offset(nodes);
    }
}
