use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// The longest that anything is waited for, even on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(60);

/// Holds the machine for one proof: its load is meant for the service, not for its neighbours.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}

/// Waits until `condition` holds and says how long that took; fails with `what` if it does not come to hold.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}
