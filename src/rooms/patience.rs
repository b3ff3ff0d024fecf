use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::pexip::PexipError;

/// The longest that a command waits for Pexip without getting on. Longer than the budget's window and than any wait
/// that a breaker keeps.
const LONGEST_WAIT: Duration = Duration::from_secs(150);

/// The longest that a command runs, everything in it.
const LONGEST_RUN: Duration = Duration::from_secs(1800);

/// What a command is doing, for whoever looks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is so much to do.
    Planned(usize),
    /// So much of it is done.
    Done(usize),
    /// Nothing can be done for this long, and why.
    Waiting { pause: Duration, reason: String },
}

/// Who is told.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Waits where waiting helps: nobody stands in line behind an operator's command, so a limit is no failure.
pub(super) struct RetryBudget<'a> {
    on_progress: OnProgress<'a>,
    /// When the command must have come to its end.
    pub(super) until: Instant,
    /// Since something was last done.
    waited: Duration,
}

impl<'a> RetryBudget<'a> {
    pub(super) fn new(on_progress: OnProgress<'a>) -> Self {
        Self { on_progress, until: Instant::now() + LONGEST_RUN, waited: Duration::ZERO }
    }

    /// The result of `call`, which is repeated as long as Pexip, or our own limits, ask for no more than time.
    pub(super) async fn call<T>(&mut self, call: impl AsyncFn() -> Result<T, PexipError>) -> Result<T, PexipError> {
        loop {
            match call().await {
                Ok(result) => {
                    self.got_on();
                    return Ok(result);
                }
                Err(error) => self.wait_out(error).await?,
            }
        }
    }

    /// Waits as long as `error` asks; gives it back where waiting is no help, or has been tried for long enough.
    pub(super) async fn wait_out(&mut self, error: PexipError) -> Result<(), PexipError> {
        let Some(pause) = error.retry_in() else { return Err(error) };
        // A wait of nothing at all would ask again at once.
        let pause = pause.max(Duration::from_millis(100));
        if self.waited + pause > LONGEST_WAIT || Instant::now() + pause > self.until {
            return Err(error);
        }
        self.waited += pause;
        self.pause(pause, error.to_string()).await;
        Ok(())
    }

    pub(super) async fn pause(&self, pause: Duration, reason: String) {
        self.tell(Progress::Waiting { pause, reason });
        sleep(pause).await;
    }

    /// Something was done: it may be waited for anew.
    pub(super) fn got_on(&mut self) {
        self.waited = Duration::ZERO;
    }

    pub(super) fn tell(&self, progress: Progress) {
        (self.on_progress)(progress);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const OVER_BUDGET: PexipError = PexipError::OverBudget { retry_in: Duration::from_secs(40) };

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_waited_out_and_said() {
        let (tries, waits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let on_progress = |progress| {
            assert!(matches!(progress, Progress::Waiting { pause, .. } if pause == Duration::from_secs(40)));
            waits.fetch_add(1, Ordering::Relaxed);
        };
        let mut patience = RetryBudget::new(&on_progress);

        let third_time_lucky = async || match tries.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(OVER_BUDGET),
            _ => Ok(()),
        };

        assert_eq!(patience.call(third_time_lucky).await, Ok(()));
        assert_eq!(waits.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_gets_better_is_given_up_in_time() {
        let started = Instant::now();
        let mut patience = RetryBudget::new(&|_| {});

        assert_eq!(patience.call(async || Err::<(), _>(OVER_BUDGET)).await, Err(OVER_BUDGET));
        assert!(started.elapsed() <= LONGEST_WAIT && started.elapsed() > LONGEST_WAIT / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_time_does_not_mend_is_not_waited_for() {
        let started = Instant::now();
        let refused = PexipError::AccountRefused { status: 401 };

        assert_eq!(RetryBudget::new(&|_| {}).wait_out(refused.clone()).await, Err(refused));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
