use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::TestApp;

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

/// Lets this much of the runtime's time pass at once. Wall clocks are not touched.
pub(crate) async fn time_passes(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Advances the runtime's time by what lies between the two presence readings of a room.
pub(crate) async fn time_between_readings_passes() {
    time_passes(Duration::from_secs(31)).await;
}

/// Lets time pass until `done`: whatever is done now in peace, then half a minute, and again. Where time passes while a
/// call is under way its limit passes as well; then the lease runs out in the end, and all is done anew. Another process
/// has a time of its own, which is waited for; its timer comes more often than each minute, and has it look at what is
/// due.
pub(crate) async fn time_passes_until(what: &str, app: &TestApp, done: impl AsyncFn() -> bool) {
    let (looks, patience) = if app.is_in_this_process() { (10, 2) } else { (100, 1) };
    for _ in 0..looks {
        let waiting = async {
            while !done().await {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(Duration::from_secs(patience), waiting).await.is_ok() {
            return;
        }
        if app.is_in_this_process() {
            time_between_readings_passes().await;
            app.queue.advance(Duration::from_secs(31));
        } else {
            app.maintain().await;
        }
    }
    panic!("not after {looks} looks: {what}");
}
