use std::cell::Cell;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::TestApp;

/// Limit of every wait. No test asserts how fast something is, so it is generous: other work may share the machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; fails with `what` after [`LIMIT`].
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        a_moment().await;
    }
}

/// Ten milliseconds of real time, which pass even while the runtime's time is [stopped](stop_time).
async fn a_moment() {
    spawn_blocking(|| thread::sleep(Duration::from_millis(10))).await.expect("a sleep does not panic");
}

/// The result of `future`, which must come within the limit.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

thread_local! {
    static TIME_IS_STOPPED: Cell<bool> = const { Cell::new(false) };
}

/// While this exists, the runtime's time passes only by [`time_passes`].
pub(crate) struct StoppedTime {
    since: Instant,
    _end: mpsc::Sender<()>,
}

/// Stops the time of this test's runtime: of the service in this process, of the simulators and of the clients. The
/// network and other processes go on, and so do wall clocks. What a test finds out then does not depend on how long
/// its steps take.
pub(crate) fn stop_time() -> StoppedTime {
    let (end, ended) = mpsc::channel::<()>();
    // A paused clock jumps to the next timer when nothing is left to do, but not while a blocking task runs. After the
    // limit it does, so that everything that still waits runs into its own limit. The test fails then.
    spawn_blocking(move || ended.recv_timeout(LIMIT));
    tokio::time::pause();
    TIME_IS_STOPPED.set(true);
    StoppedTime { since: Instant::now(), _end: end }
}

impl Drop for StoppedTime {
    fn drop(&mut self) {
        TIME_IS_STOPPED.set(false);
        tokio::time::resume();
        // A second panic would hide the first one's message.
        if !thread::panicking() {
            assert!(self.since.elapsed() < LIMIT, "the time was stopped for {LIMIT:?}, then it went on by itself");
        }
    }
}

/// Lets this much of the runtime's time pass at once. Wall clocks are not changed.
pub(crate) async fn time_passes(duration: Duration) {
    if TIME_IS_STOPPED.get() {
        tokio::time::advance(duration).await;
        return;
    }
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Advances the runtime's time past the interval between two presence snapshots.
pub(crate) async fn time_between_readings_passes() {
    time_passes(Duration::from_secs(31)).await;
}

/// Lets time pass in steps of half a minute until `done`, with two seconds of real time after each step for the work of
/// the service. A step during a call makes the call time out; then the lease expires and the work is repeated. A service
/// in another process has real time only: there each round runs the maintenance, which checks what is due.
pub(crate) async fn time_passes_until(what: &str, app: &TestApp, done: impl AsyncFn() -> bool) {
    let (rounds, seconds) = if app.is_in_this_process() { (60, 2) } else { (120, 1) };
    for _ in 0..rounds {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds) {
            if done().await {
                return;
            }
            a_moment().await;
        }
        if app.is_in_this_process() {
            time_between_readings_passes().await;
            app.queue.advance(Duration::from_secs(31));
        } else {
            app.maintain().await;
        }
    }
    panic!("not after {rounds} rounds: {what}");
}
