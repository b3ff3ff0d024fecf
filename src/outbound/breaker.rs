//! Circuit breaker: after consecutive failures it refuses calls to a system for a while, then lets one probe through.
//!
//! Own code, because available crates lack what the callers need: the remaining open time (for `Retry-After`), a wait
//! that the system itself asks for, and exactly one probe.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::DEFAULT_RETRY_AFTER;

/// Consecutive failures that open it.
const FAILURE_THRESHOLD: u32 = 5;

const SHORTEST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(60);

/// The circuit breaker of one system.
pub(crate) struct Breaker {
    /// How long it is open if the system asks for no wait.
    pause: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Never locked across an await.
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// The probe is in progress.
    Probing,
}

/// The breaker is open and refuses calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub retry_in: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new() -> Arc<Self> {
        Self::pausing(|| DEFAULT_RETRY_AFTER)
    }

    /// A closed breaker that is open for the time that `pause` gives, a minute at most.
    pub(crate) fn pausing(pause: impl Fn() -> Duration + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { pause: Box::new(pause), state: Mutex::new(State::Closed { failures: 0 }) })
    }

    /// Whether it is open or probing.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.state.lock(), State::Closed { .. })
    }

    /// Whether a call would be refused now. Admits none.
    pub(crate) fn check(&self) -> Result<(), Open> {
        match *self.state.lock() {
            State::Open { until } => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Ok(()),
                retry_in => Err(Open { retry_in }),
            },
            State::Closed { .. } | State::Probing => Ok(()),
        }
    }

    /// Admits a call unless it is open or probing: for calls that must not be the probe.
    pub(crate) fn admit_if_closed(self: &Arc<Self>) -> Result<Admitted, Open> {
        match *self.state.lock() {
            State::Closed { .. } => Ok(Admitted { breaker: Arc::clone(self), is_probe: false, is_settled: false }),
            State::Open { until } => Err(Open { retry_in: until.saturating_duration_since(Instant::now()) }),
            State::Probing => Err(Open { retry_in: DEFAULT_RETRY_AFTER }),
        }
    }

    /// Admits one call. Its result must be reported to the [`Admitted`].
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Admitted, Open> {
        let mut state = self.state.lock();
        let admitted = |is_probe| Admitted { breaker: Arc::clone(self), is_probe, is_settled: false };
        match *state {
            State::Closed { .. } => Ok(admitted(false)),
            State::Probing => Err(Open { retry_in: DEFAULT_RETRY_AFTER }),
            State::Open { until } => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => {
                    *state = State::Probing;
                    Ok(admitted(true))
                }
                retry_in => Err(Open { retry_in }),
            },
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Breaker").field("state", &self.state).finish_non_exhaustive()
    }
}

/// An admitted call.
#[derive(Debug)]
pub(crate) struct Admitted {
    breaker: Arc<Breaker>,
    is_probe: bool,
    is_settled: bool,
}

impl Admitted {
    /// The system worked.
    pub(crate) fn succeeded(mut self) {
        self.is_settled = true;
        let mut state = self.breaker.state.lock();
        // While it is open only the probe closes it: a call that was admitted earlier may succeed late.
        if self.is_probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failures: 0 };
        }
    }

    /// The system failed. `retry_after` is the wait that it asked for, which opens the breaker at once.
    pub(crate) fn failed(mut self, retry_after: Option<Duration>) {
        self.is_settled = true;
        let wait = retry_after.unwrap_or_else(|| (self.breaker.pause)());
        let mut state = self.breaker.state.lock();
        let until = Instant::now() + wait.clamp(SHORTEST_OPEN, LONGEST_OPEN);
        *state = match *state {
            State::Closed { failures } if retry_after.is_none() && failures + 1 < FAILURE_THRESHOLD => {
                State::Closed { failures: failures + 1 }
            }
            State::Probing if !self.is_probe => State::Probing,
            State::Open { until: known } => State::Open { until: known.max(until) },
            State::Closed { .. } | State::Probing => State::Open { until },
        };
    }
}

/// A cancelled call reports nothing, but after a cancelled probe the next call must become the probe.
impl Drop for Admitted {
    fn drop(&mut self) {
        if self.is_probe && !self.is_settled {
            *self.breaker.state.lock() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().failed(None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn consecutive_failures_open_it_and_a_successful_probe_closes_it() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURE_THRESHOLD);
        assert_eq!(breaker.admit().err(), Some(Open { retry_in: DEFAULT_RETRY_AFTER }));

        tokio::time::advance(DEFAULT_RETRY_AFTER).await;
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "one probe at a time");
        probe.succeeded();
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_must_not_be_the_probe_waits_for_it() {
        let breaker = Breaker::new();
        assert!(breaker.admit_if_closed().is_ok());
        fail(&breaker, FAILURE_THRESHOLD);
        tokio::time::advance(DEFAULT_RETRY_AFTER).await;
        assert!(breaker.admit_if_closed().is_err(), "due for a probe");
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit_if_closed().is_err(), "probing");
        probe.succeeded();
        assert!(breaker.admit_if_closed().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_resets_the_count_of_failures() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURE_THRESHOLD - 1);
        breaker.admit().unwrap().succeeded();
        fail(&breaker, FAILURE_THRESHOLD - 1);
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_opens_it_at_the_first_failure() {
        let breaker = Breaker::new();
        breaker.admit().unwrap().failed(Some(Duration::from_secs(17)));
        assert_eq!(breaker.check(), Err(Open { retry_in: Duration::from_secs(17) }));
        tokio::time::advance(Duration::from_secs(17)).await;
        breaker.admit().unwrap().failed(Some(Duration::from_secs(86_400)));
        assert_eq!(breaker.check(), Err(Open { retry_in: LONGEST_OPEN }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_reopens_it_and_a_cancelled_one_allows_the_next() {
        let breaker = Breaker::new();
        fail(&breaker, FAILURE_THRESHOLD);
        tokio::time::advance(DEFAULT_RETRY_AFTER).await;
        breaker.admit().unwrap().failed(None);
        assert!(breaker.admit().is_err());

        tokio::time::advance(DEFAULT_RETRY_AFTER).await;
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_ok());
    }
}
