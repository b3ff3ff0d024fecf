use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Kept free for calls to the outside, once the system has said that there are no more file descriptors.
const RESERVE: usize = 64;

/// How long a connection is safe from newcomers, so that in the worst rush each has the time to send its request.
const SAFE_AT_FIRST: Duration = Duration::from_millis(250);

/// How long a newcomer waits before it looks again for a connection to close.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The connections that are open at a time.
///
/// Where all places are taken, the one whose request is longest in coming is closed for a newcomer. So whoever opens
/// connections and asks nothing, or asks slowly, pushes out his own; what is being worked on stays.
pub(super) struct Places {
    /// Never held across an await.
    state: Mutex<State>,
    left: Notify,
}

struct State {
    most: usize,
    open: usize,
    opened_ever: u64,
    /// Those that can be closed, the longest idle first, each with what closes it.
    idle: BTreeMap<(Instant, u64), CancellationToken>,
}

/// The place of one open connection.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    idle_since: Mutex<Option<Instant>>,
    closing: CancellationToken,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let state = State { most, open: 0, opened_ever: 0, idle: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), left: Notify::new() })
    }

    /// A place for one more connection; waits while all are taken and none of them is idle.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            let admitted = self.state().admit();
            if let Some(number) = admitted {
                let place = Place {
                    places: Arc::clone(self),
                    number,
                    idle_since: Mutex::new(None),
                    closing: CancellationToken::new(),
                };
                place.is_idle();
                return place;
            }
            self.state().close_longest_idle(SAFE_AT_FIRST);
            let _ = timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    /// The system gives no more connections: there are fewer places from now on than are open, so that calls to the
    /// outside find some. Its limit does not change while the process lives, so neither does this.
    pub(super) fn shrink(&self) {
        let mut state = self.state();
        state.most = state.open.saturating_sub(RESERVE).max(1);
        for _ in state.most..state.open {
            state.close_longest_idle(Duration::ZERO);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in the guarded sections can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self) -> Option<u64> {
        if self.open >= self.most {
            return None;
        }
        self.open += 1;
        self.opened_ever += 1;
        Some(self.opened_ever)
    }

    fn close_longest_idle(&mut self, at_least: Duration) {
        if let Some(longest) = self.idle.first_entry()
            && longest.key().0.elapsed() >= at_least
        {
            longest.remove().cancel();
        }
    }
}

impl Place {
    /// From now on the connection waits for a request, and can be closed for another one.
    pub(super) fn is_idle(&self) {
        let now = Instant::now();
        let before = self.idle_since().replace(now);
        let mut state = self.places.state();
        // A request that was refused before its body had come was never at work.
        if let Some(since) = before {
            state.idle.remove(&(since, self.number));
        }
        state.idle.insert((now, self.number), self.closing.clone());
    }

    /// The connection has a whole request, so it stays.
    pub(super) fn is_at_work(&self) {
        let before = self.idle_since().take();
        if let Some(since) = before {
            self.places.state().idle.remove(&(since, self.number));
        }
    }

    /// Comes back when the connection is to be closed for another one.
    pub(super) async fn is_wanted(&self) {
        self.closing.cancelled().await;
    }

    fn idle_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is_at_work();
        self.places.state().open -= 1;
        self.places.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn in_the_worst_rush_each_newcomer_has_the_time_to_send_its_request() {
        let places = Places::new(2);
        let (first, second) = (places.take().await, places.take().await);
        let came = Instant::now();
        let gives_way = async {
            first.is_wanted().await;
            assert!(came.elapsed() >= Duration::from_millis(250), "{:?}", came.elapsed());
            drop(first);
        };
        let (third, ()) = tokio::join!(places.take(), gives_way);
        assert!(!second.closing.is_cancelled() && !third.closing.is_cancelled(), "one place was wanted");
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_gives_way_and_none_that_is_at_work() {
        let places = Places::new(3);
        let (at_work, back_again, idle) = (places.take().await, places.take().await, places.take().await);
        at_work.is_at_work();
        advance(SAFE_AT_FIRST * 2).await;
        back_again.is_at_work();
        back_again.is_idle();
        let gives_way = async {
            idle.is_wanted().await;
            drop(idle);
        };
        let (_newcomer, ()) = tokio::join!(places.take(), gives_way);
        assert!(!at_work.closing.is_cancelled() && !back_again.closing.is_cancelled());
    }
}
