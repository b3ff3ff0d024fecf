//! How long an operator's command waits for Pexip, and how it reports progress.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::pexip::PexipError;

/// The longest that a command waits for Pexip without progress. Longer than the window of the request budget and than
/// any wait of a circuit breaker.
const MAX_WAIT: Duration = Duration::from_secs(150);

/// Time limit of a command.
const MAX_DURATION: Duration = Duration::from_secs(1800);

/// What a command is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The number of rooms or messages to process.
    Planned(usize),
    /// How many of them are processed.
    Done(usize),
    /// The command waits for `pause`.
    Waiting { pause: Duration, reason: String },
}

/// Receives the progress of a command.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Retries calls that only need time. No request waits for an operator's command, so a limit is not a failure.
pub(super) struct RetryBudget<'a> {
    on_progress: OnProgress<'a>,
    /// When the command must have ended.
    pub(super) until: Instant,
    /// Time spent waiting since the last progress.
    waited: Duration,
}

impl<'a> RetryBudget<'a> {
    pub(super) fn new(on_progress: OnProgress<'a>) -> Self {
        Self::with_limit(on_progress, MAX_DURATION)
    }

    /// A budget of a command that must have ended after `limit`.
    pub(super) fn with_limit(on_progress: OnProgress<'a>, limit: Duration) -> Self {
        Self { on_progress, until: Instant::now() + limit, waited: Duration::ZERO }
    }

    /// The result of `call`. Repeats it as long as Pexip, or our own limits, only ask for time.
    pub(super) async fn call<T>(&mut self, call: impl AsyncFn() -> Result<T, PexipError>) -> Result<T, PexipError> {
        loop {
            match call().await {
                Ok(result) => {
                    self.reset();
                    return Ok(result);
                }
                Err(error) => self.wait_out(error).await?,
            }
        }
    }

    /// Waits as long as `error` asks. Returns the error if waiting does not help or the budget is used up.
    pub(super) async fn wait_out(&mut self, error: PexipError) -> Result<(), PexipError> {
        let Some(pause) = error.retry_in() else { return Err(error) };
        // With a pause of zero the call would be repeated at once.
        let pause = pause.max(Duration::from_millis(100));
        if self.waited + pause > MAX_WAIT || Instant::now() + pause > self.until {
            return Err(error);
        }
        self.waited += pause;
        self.pause(pause, error.to_string()).await;
        Ok(())
    }

    pub(super) async fn pause(&self, pause: Duration, reason: String) {
        self.report(Progress::Waiting { pause, reason });
        sleep(pause).await;
    }

    /// Renews the budget after progress.
    pub(super) fn reset(&mut self) {
        self.waited = Duration::ZERO;
    }

    pub(super) fn report(&self, progress: Progress) {
        (self.on_progress)(progress);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::pexip::Authentication;

    const OVER_BUDGET: PexipError = PexipError::OverBudget { retry_in: Duration::from_secs(40) };

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_waited_out_and_reported() {
        let (tries, waits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let on_progress = |progress| {
            assert!(matches!(progress, Progress::Waiting { pause, .. } if pause == Duration::from_secs(40)));
            waits.fetch_add(1, Ordering::Relaxed);
        };
        let mut retries = RetryBudget::new(&on_progress);

        let succeeds_at_the_third_try = async || match tries.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(OVER_BUDGET),
            _ => Ok(()),
        };

        assert_eq!(retries.call(succeeds_at_the_third_try).await, Ok(()));
        assert_eq!(waits.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_never_ends_uses_up_the_budget() {
        let started = Instant::now();
        let mut retries = RetryBudget::new(&|_| {});

        assert_eq!(retries.call(async || Err::<(), _>(OVER_BUDGET)).await, Err(OVER_BUDGET));
        assert!(started.elapsed() <= MAX_WAIT && started.elapsed() > MAX_WAIT / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_time_does_not_resolve_is_returned_at_once() {
        let started = Instant::now();
        let refused = PexipError::AccountRefused { status: 401, authentication: Authentication::Basic };

        assert_eq!(RetryBudget::new(&|_| {}).wait_out(refused.clone()).await, Err(refused));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
