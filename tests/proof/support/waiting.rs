use std::time::Duration;

use maxconf_simulators::Matching;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use super::World;

/// Limit of every wait. It is generous, because no proof asserts speed and other work may share the machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Runs proofs one after the other, so that the load of one does not slow another down.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}

/// Waits until `condition` holds and returns how long that took; fails with `what` after [`LIMIT`].
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// Waits until neither queue nor node has been called for this long. Clears the logs of both.
pub(crate) async fn becomes_quiet(world: &World, quiet_for: Duration) {
    let traffics = [world.queue.traffic(), world.pexip.traffic()];
    let is_quiet = async || {
        for traffic in traffics {
            traffic.clear();
        }
        sleep(quiet_for).await;
        traffics.iter().all(|traffic| traffic.count(&Matching::any()) == 0)
    };
    eventually("queue and node are no longer called", is_quiet).await;
}
