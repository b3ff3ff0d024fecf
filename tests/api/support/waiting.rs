use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// The longest that anything in a test may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; fails with `what` if it does not come to hold.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The result of `future`, which must come within the limit.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// Lets as much of the runtime's time pass as lies between a sweep's two looks at a room. Ages are not touched.
pub(crate) async fn two_looks_pass() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
}
