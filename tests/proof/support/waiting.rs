use std::time::Duration;

use maxconf_simulators::Traffic;
use reqwest::Method;
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

/// Waits until the queue has not been called, and nothing on the node or in the records changed, for this long. Clears
/// their logs. Instances read their prefetched rooms again every ten seconds, and probe the records.
pub(crate) async fn becomes_quiet(world: &World, quiet_for: Duration) {
    let (queue, others) = (world.queue.traffic(), [world.pexip.traffic(), world.blobs.traffic()]);
    let is_quiet = async || {
        queue.clear();
        others.into_iter().for_each(Traffic::clear);
        sleep(quiet_for).await;
        queue.log().is_empty() && others.into_iter().flat_map(Traffic::log).all(|call| call.method == Method::GET)
    };
    eventually("storage and node are no longer changed", is_quiet).await;
}
