//! Requests at a fixed rate. Callers do not wait for one another's answers: latency counts from the time at which a request
//! was to be sent, so a late start of the load tool counts as well.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// So many requests, so many of them a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) per_second: u32,
    pub(crate) requests: u32,
}

/// What callers saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Of the requests that succeeded, in order.
    latencies: Vec<Duration>,
    pub(crate) failed: u32,
    /// Why one of them failed.
    pub(crate) failure: Option<String>,
}

impl Load {
    pub(crate) async fn send<F>(self, request: impl Fn(u32) -> F) -> Answers
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let start = Instant::now();
        let mut answers = Answers::default();
        let mut running = JoinSet::new();
        for number in 0..self.requests {
            let at = start + Duration::from_secs(1) * number / self.per_second;
            sleep_until(at).await;
            let answer = request(number);
            running.spawn(async move { answer.await.map(|()| at.elapsed()) });
            while let Some(answer) = running.try_join_next() {
                answers.add(answer.unwrap_or_else(|panic| Err(panic.to_string())));
            }
        }
        while let Some(answer) = running.join_next().await {
            answers.add(answer.unwrap_or_else(|panic| Err(panic.to_string())));
        }
        answers.latencies.sort_unstable();
        answers
    }
}

impl Answers {
    fn add(&mut self, answer: Result<Duration, String>) {
        match answer {
            Ok(latency) => self.latencies.push(latency),
            Err(failure) => {
                self.failed += 1;
                self.failure.get_or_insert(failure);
            }
        }
    }

    /// In milliseconds; `None` if nothing succeeded.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().checked_sub(1)?);
        Some(self.latencies[at].as_secs_f64() * 1000.0)
    }
}
