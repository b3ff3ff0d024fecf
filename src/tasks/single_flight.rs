//! Single-flight: concurrent calls for one key share one run.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::run_to_completion;

/// Shares one run among the concurrent calls for a key. Keeps no result: a call after the end of a run starts a new
/// one.
#[derive(Debug)]
pub(crate) struct SingleFlight<K: Eq + Hash, V> {
    /// The runs in progress. Never locked across an await.
    runs: Arc<Runs<K, V>>,
}

type Runs<K, V> = Mutex<HashMap<K, Running<V>>>;

/// A run in progress, as its waiters see it.
#[derive(Clone, Debug)]
struct Running<V> {
    /// Of this run only.
    number: u64,
    /// Closed without a result: the run has panicked, or its caller has disconnected.
    result: watch::Receiver<Option<V>>,
}

/// Numbers of runs.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The result of the run in progress for `key`, or of `work` if there is none.
    ///
    /// `work` runs to completion even if its caller disconnects. If it panics, its caller panics too, and one of those
    /// who wait runs their own work.
    pub(crate) async fn run(&self, key: K, work: impl Future<Output = V> + Send + 'static) -> V {
        loop {
            match self.join(&key) {
                Joined::Leader(run) => return run_to_completion(run.finish(work)).await,
                Joined::Waiter(mut running) => {
                    if let Ok(result) = running.result.wait_for(Option::is_some).await
                        && let Some(result) = result.as_ref()
                    {
                        return result.clone();
                    }
                }
            }
        }
    }

    /// Lets calls from now on start a new run, whatever is in progress: what that finds may be out of date.
    pub(crate) fn outdate(&self, key: &K) {
        self.runs.lock().remove(key);
    }

    fn join(&self, key: &K) -> Joined<K, V> {
        match self.runs.lock().entry(key.clone()) {
            Entry::Occupied(running) => Joined::Waiter(running.get().clone()),
            Entry::Vacant(free) => {
                let (result, receiver) = watch::channel(None);
                let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
                free.insert(Running { number, result: receiver });
                Joined::Leader(Run { runs: Arc::clone(&self.runs), key: key.clone(), number, result })
            }
        }
    }
}

impl<K: Eq + Hash, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { runs: Arc::default() }
    }
}

impl<K: Eq + Hash, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        Self { runs: Arc::clone(&self.runs) }
    }
}

/// Shares one run among the concurrent calls for a key, but never one that began before the call: while a run is in
/// progress, all who come share the next one.
pub(crate) struct NextFlight<K: Eq + Hash, V> {
    /// The runs that follow a run in progress, by its number.
    in_line: SingleFlight<(K, u64), V>,
    running: SingleFlight<K, V>,
}

impl<K, V> NextFlight<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The result of a run for `key` that began after this call. See [`SingleFlight::run`].
    pub(crate) async fn run(&self, key: K, work: impl Future<Output = V> + Send + 'static) -> V {
        // Mostly no run is in progress, and nothing has to be waited for. Callers who wait for the end of a run that
        // has just ended join this one: it began after their calls. If this caller disconnects, they start their own.
        let mut before = match self.running.join(&key) {
            Joined::Leader(run) => return run.finish(work).await,
            Joined::Waiter(running) => running,
        };
        // By the number of the run in progress: those who come during a later one must not share the run that follows
        // this one, which may have begun before they came.
        let line = (key.clone(), before.number);
        let running = self.running.clone();
        // Boxed, because each future of the two runs would contain it.
        let work = Box::pin(async move {
            // An error is the end as well.
            let _ = before.result.wait_for(Option::is_some).await;
            running.run(key, work).await
        });
        self.in_line.run(line, work).await
    }
}

impl<K: Eq + Hash, V> Default for NextFlight<K, V> {
    fn default() -> Self {
        Self { in_line: SingleFlight::default(), running: SingleFlight::default() }
    }
}

enum Joined<K: Eq + Hash, V> {
    Leader(Run<K, V>),
    Waiter(Running<V>),
}

/// A run in progress, as its leader holds it.
struct Run<K: Eq + Hash, V> {
    runs: Arc<Runs<K, V>>,
    key: K,
    number: u64,
    result: watch::Sender<Option<V>>,
}

impl<K: Eq + Hash, V: Clone> Run<K, V> {
    async fn finish(self, work: impl Future<Output = V>) -> V {
        let result = work.await;
        // First: who waits for the end of this run must not find it again.
        self.leave();
        self.result.send_replace(Some(result.clone()));
        result
    }
}

impl<K: Eq + Hash, V> Run<K, V> {
    /// Lets calls from now on start a new run.
    fn leave(&self) {
        let mut runs = self.runs.lock();
        // A newer run may have taken its place.
        if runs.get(&self.key).is_some_and(|running| running.number == self.number) {
            runs.remove(&self.key);
        }
    }
}

/// After a panic, or when the caller has disconnected. The body runs before `result` is dropped, which its waiters
/// notice.
impl<K: Eq + Hash, V> Drop for Run<K, V> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::poll;
    use tokio::sync::oneshot;
    use tokio::time::sleep;

    use super::*;

    const LOOK_UP: Duration = Duration::from_secs(1);

    type Flights = SingleFlight<&'static str, u32>;

    /// A look-up whose result is the number of runs so far.
    fn look_up(runs: &Arc<AtomicU32>) -> impl Future<Output = u32> + Send + 'static {
        let runs = Arc::clone(runs);
        async move {
            sleep(LOOK_UP).await;
            runs.fetch_add(1, Ordering::SeqCst) + 1
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_for_a_key_share_one_run_and_later_ones_do_not() {
        let (flights, runs) = (Flights::default(), Arc::default());
        let call = |key| flights.run(key, look_up(&runs));
        let (first, second, other) = tokio::join!(call("a"), call("a"), call("b"));
        assert_eq!((first, second), (1, 1));
        assert_eq!(other, 2);
        assert!(flights.runs.lock().is_empty());
        assert_eq!(call("a").await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_after_a_run_is_outdated_starts_a_new_one() {
        let (flights, runs) = (Flights::default(), Arc::default());
        let later = async |wait| {
            sleep(wait).await;
            flights.run("a", look_up(&runs)).await
        };
        let outdate = async {
            sleep(LOOK_UP / 4).await;
            flights.outdate(&"a");
        };
        let (first, (), second, third) =
            tokio::join!(flights.run("a", look_up(&runs)), outdate, later(LOOK_UP / 2), later(LOOK_UP * 5 / 4));
        assert_eq!((first, second, third), (1, 2, 2), "the end of the first run leaves the second one's key");
        assert!(flights.runs.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_during_a_run_share_the_next_one() {
        let (flights, runs) = (NextFlight::default(), Arc::default());
        let call = async |wait| {
            sleep(wait).await;
            flights.run("a", look_up(&runs)).await
        };
        let calls = tokio::join!(call(LOOK_UP / 10), call(LOOK_UP / 2), call(LOOK_UP), call(LOOK_UP * 3 / 2));
        assert_eq!(calls, (1, 2, 2, 3));
        assert!(flights.in_line.runs.lock().is_empty() && flights.running.runs.lock().is_empty());
    }

    #[tokio::test]
    async fn no_call_gets_a_run_that_began_before_it() {
        let flights = NextFlight::default();
        let gated = |result: u32| {
            let (open, gate) = oneshot::channel::<()>();
            let work = async move {
                let _ = gate.await;
                result
            };
            (open, Box::pin(flights.run("a", work)))
        };
        let ((end_first, mut first), (end_second, mut second)) = (gated(1), gated(2));
        let ((end_third, mut third), (end_fourth, mut fourth)) = (gated(3), gated(4));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
        end_first.send(()).expect("the first run waits");
        assert_eq!(first.await, 1);

        // The second one's task has not noticed yet: the third call starts a run, during which the fourth one comes.
        assert!(poll!(&mut third).is_pending() && poll!(&mut fourth).is_pending());
        tokio::task::yield_now().await;
        end_third.send(()).expect("the third run waits");
        assert_eq!((third.await, second.await), (3, 3));
        drop((end_second, end_fourth));
        assert_eq!(fourth.await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_disconnects_ends_no_run_but_their_own() {
        let (flights, runs) = (NextFlight::default(), Arc::default());
        let first = tokio::time::timeout(LOOK_UP / 2, flights.run("a", look_up(&runs)));
        let meanwhile = async {
            sleep(LOOK_UP / 4).await;
            tokio::join!(flights.run("a", look_up(&runs)), flights.run("a", look_up(&runs)))
        };
        let (first, meanwhile) = tokio::join!(first, meanwhile);
        assert!(first.is_err());
        assert_eq!((meanwhile, runs.load(Ordering::SeqCst)), ((1, 1), 1));
        assert!(flights.in_line.runs.lock().is_empty() && flights.running.runs.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_disconnects_leaves_the_run_to_the_others() {
        let (flights, runs) = (Flights::default(), Arc::default());
        let leader = tokio::time::timeout(LOOK_UP / 2, flights.run("a", look_up(&runs)));
        let (leader, waiter) = tokio::join!(leader, flights.run("a", look_up(&runs)));
        assert!(leader.is_err());
        assert_eq!((waiter, runs.load(Ordering::SeqCst)), (1, 1));
        assert!(flights.runs.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_panic_a_waiter_runs_its_own_work() {
        let (flights, runs) = (Flights::default(), Arc::default());
        let leader = {
            let flights = flights.clone();
            tokio::spawn(async move {
                let work = async {
                    sleep(LOOK_UP).await;
                    panic!("a bug in the work")
                };
                flights.run("a", work).await
            })
        };
        tokio::task::yield_now().await;
        let call = || flights.run("a", look_up(&runs));
        let (leader, first, second) = tokio::join!(leader, call(), call());
        assert!(leader.is_err_and(|error| error.is_panic()));
        assert_eq!((first, second), (1, 1));
        assert!(flights.runs.lock().is_empty());
    }
}
