//! Background tasks that are restarted, work that outlives its caller, and single-flight.

mod single_flight;

use std::panic::resume_unwind;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error};

use crate::domain::named_enum;
use crate::telemetry::metrics::TASK_RESTARTS;

pub(crate) use single_flight::{NextFlight, SingleFlight};

/// Pause before the first restart. Doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A run of at least this length resets the pause to [`FIRST_PAUSE`].
const STABLE_RUN: Duration = Duration::from_secs(300);

named_enum! {
    /// The tasks that run as long as the service does. Label `task` of `maxconf.tasks.restarts`.
    pub(crate) enum BackgroundTask {
        EntraKeys = "entra_keys",
        Prefetch = "prefetch",
        Refill = "refill",
        Reopening = "reopening",
        EndedRooms = "ended_rooms",
        PexipTokens = "pexip_tokens",
    }
}

/// Runs `task` in the background until `stop` is cancelled. If a run panics or returns before that, it is logged,
/// counted and started again after a pause.
///
/// `run` gets `stop` and must return when it is cancelled: a run is never aborted, so that it can finish a call.
pub(crate) fn supervise<R>(
    task: BackgroundTask,
    stop: CancellationToken,
    run: impl Fn(CancellationToken) -> R + Send + 'static,
) where
    R: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            // A task of its own, because its join handle reports a panic.
            let ended = tokio::spawn(run(stop.clone())).await;
            if stop.is_cancelled() {
                return;
            }
            if started.elapsed() >= STABLE_RUN {
                pause = FIRST_PAUSE;
            }
            let reason = if ended.is_ok() { "returned" } else { "panicked" };
            let retry_in_ms = pause.as_secs() * 1000;
            error!(task = task.as_str(), reason, retry_in_ms, "background task ended, restarting");
            TASK_RESTARTS.count([task.as_str().into()]);
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
}

/// Runs `work` in a task of its own, so that a caller who disconnects does not cancel it. The task inherits the
/// caller's span; a panic in it is resumed in the caller.
pub(crate) async fn run_to_completion<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down and cancels the caller as well.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::advance;

    use super::*;
    use crate::telemetry::metrics::ALL;

    /// Starts a task whose runs before the `healthy`th fail; returns the number of runs.
    fn start_failing(healthy: u32, stop: &CancellationToken, fail: fn()) -> Arc<AtomicU32> {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        supervise(BackgroundTask::Refill, stop.clone(), move |stop| {
            let run = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                if run < healthy {
                    return fail();
                }
                stop.cancelled().await;
            }
        });
        runs
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    async fn assert_restarted_with_growing_pauses(fail: fn()) {
        let stop = CancellationToken::new();
        let runs = start_failing(4, &stop, fail);
        settle().await;
        for (run, pause_ms) in [(1, 1000), (2, 2000), (3, 4000)] {
            assert_eq!(runs.load(Ordering::SeqCst), run);
            advance(Duration::from_millis(pause_ms - 1)).await;
            settle().await;
            assert_eq!(runs.load(Ordering::SeqCst), run, "during the pause of {pause_ms} ms");
            advance(Duration::from_millis(2)).await;
            settle().await;
        }
        advance(Duration::from_secs(3600)).await;
        settle().await;
        assert_eq!(runs.load(Ordering::SeqCst), 4, "the healthy run goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_restarted_after_growing_pauses() {
        assert_restarted_with_growing_pauses(|| panic!("a bug in the task")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_returns_is_restarted_after_growing_pauses() {
        assert_restarted_with_growing_pauses(|| ()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_task_is_not_restarted() {
        let stop = CancellationToken::new();
        let healthy = start_failing(1, &stop, || ());
        let in_its_pause = start_failing(u32::MAX, &stop, || panic!("a bug in the task"));
        settle().await;
        stop.cancel();
        advance(Duration::from_secs(3600)).await;
        settle().await;
        assert_eq!((healthy.load(Ordering::SeqCst), in_its_pause.load(Ordering::SeqCst)), (1, 1));
    }

    #[test]
    fn the_metric_lists_every_task() {
        let tasks = [
            BackgroundTask::EntraKeys,
            BackgroundTask::Prefetch,
            BackgroundTask::Refill,
            BackgroundTask::Reopening,
            BackgroundTask::EndedRooms,
            BackgroundTask::PexipTokens,
        ];
        let metric = ALL.iter().find(|about| about.name == "maxconf.tasks.restarts").expect("the metric");
        assert_eq!(metric.labels[0].values, tasks.map(BackgroundTask::as_str));
    }

    #[tokio::test]
    async fn work_is_completed_when_its_caller_disconnects() {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let work = run_to_completion(async move {
            tokio::task::yield_now().await;
            let _ = done.send(());
        });
        tokio::select! {
            biased;
            () = work => panic!("it has only been started"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(is_done.await, Ok(()));
    }
}
