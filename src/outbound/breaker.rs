//! A circuit breaker: after some failures in a row a dependency is left alone for a while, then tried with one call.
//!
//! Own code, for what the callers here need is what the libraries at hand leave out: how long it stays open (for
//! `Retry-After`), a wait that the dependency itself asks for, and exactly one probe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which it opens.
const MOST_FAILURES: u32 = 5;

/// How long it stays open where the dependency asks for nothing else.
const USUAL_PAUSE: Duration = Duration::from_secs(5);

/// The longest wait that a dependency may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Watches the calls to one dependency.
#[derive(Debug)]
pub struct Breaker {
    /// Never held across an await.
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
    /// One call is on its way to see whether the dependency is back.
    Probing,
}

/// The dependency is left alone for this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub retry_in: Duration,
}

impl Breaker {
    /// A breaker that lets everything through until something fails.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Closed { failures: 0 }) })
    }

    /// Whether it has opened and no call has ended well since.
    pub fn is_open(&self) -> bool {
        !matches!(*self.state(), State::Closed { .. })
    }

    /// How long calls would be refused, without asking for one.
    pub fn check(&self) -> Result<(), Open> {
        match *self.state() {
            State::Open { until } => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Ok(()),
                retry_in => Err(Open { retry_in }),
            },
            State::Closed { .. } | State::Probing => Ok(()),
        }
    }

    /// Lets one call through. What becomes of it must be told by way of the admission.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, Open> {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => Ok(Admitted { breaker: Arc::clone(self), probe: false, settled: false }),
            State::Probing => Err(Open { retry_in: USUAL_PAUSE }),
            State::Open { until } => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => {
                    *state = State::Probing;
                    Ok(Admitted { breaker: Arc::clone(self), probe: true, settled: false })
                }
                retry_in => Err(Open { retry_in }),
            },
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let through.
#[derive(Debug)]
pub struct Admitted {
    breaker: Arc<Breaker>,
    probe: bool,
    settled: bool,
}

impl Admitted {
    /// The dependency did its work.
    pub fn succeeded(mut self) {
        self.settled = true;
        let mut state = self.breaker.state();
        // While it is open only the probe's word counts: a call from before may end well late.
        if self.probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failures: 0 };
        }
    }

    /// The dependency failed; `asked_for` is the wait that it named itself.
    pub fn failed(mut self, asked_for: Option<Duration>) {
        self.settled = true;
        let mut state = self.breaker.state();
        let pause = asked_for.unwrap_or(USUAL_PAUSE).clamp(Duration::from_secs(1), LONGEST_PAUSE);
        let until = Instant::now() + pause;
        *state = match *state {
            State::Closed { failures } if asked_for.is_none() && failures + 1 < MOST_FAILURES => {
                State::Closed { failures: failures + 1 }
            }
            State::Probing if !self.probe => State::Probing,
            State::Open { until: known } => State::Open { until: known.max(until) },
            State::Closed { .. } | State::Probing => State::Open { until },
        };
    }
}

/// A call given up midway says nothing; but a probe must not leave the breaker waiting for its word.
impl Drop for Admitted {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            *self.breaker.state() = State::Open { until: Instant::now() };
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
    async fn failures_in_a_row_open_it_and_one_probe_closes_it() {
        let breaker = Breaker::new();
        fail(&breaker, MOST_FAILURES);
        assert_eq!(breaker.admit().err(), Some(Open { retry_in: USUAL_PAUSE }));

        tokio::time::advance(USUAL_PAUSE).await;
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "one probe at a time");
        probe.succeeded();
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_in_between_starts_the_count_anew() {
        let breaker = Breaker::new();
        fail(&breaker, MOST_FAILURES - 1);
        breaker.admit().unwrap().succeeded();
        fail(&breaker, MOST_FAILURES - 1);
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_asked_for_is_kept_from_the_first_failure_on() {
        let breaker = Breaker::new();
        breaker.admit().unwrap().failed(Some(Duration::from_secs(17)));
        assert_eq!(breaker.check(), Err(Open { retry_in: Duration::from_secs(17) }));
        tokio::time::advance(Duration::from_secs(17)).await;
        breaker.admit().unwrap().failed(Some(Duration::from_secs(86_400)));
        assert_eq!(breaker.check(), Err(Open { retry_in: LONGEST_PAUSE }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_again_and_one_given_up_makes_way_for_the_next() {
        let breaker = Breaker::new();
        fail(&breaker, MOST_FAILURES);
        tokio::time::advance(USUAL_PAUSE).await;
        breaker.admit().unwrap().failed(None);
        assert!(breaker.admit().is_err());

        tokio::time::advance(USUAL_PAUSE).await;
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_ok());
    }
}
