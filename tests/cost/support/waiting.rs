use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Limit of every wait. It is generous, because other work may share the machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; fails with `what` after [`LIMIT`].
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}
