//! How many rooms to keep ready, by how many were asked for lately.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::storage::queue::LARGEST_BATCH;

/// Requests count for this long. The rooms for half of them are kept: enough for several receives and look-ups, each of
/// which takes less than a tenth of it.
const WINDOW: Duration = Duration::from_secs(1);

/// Requests of the last [`WINDOW`], as many as matter.
#[derive(Debug, Default)]
pub(super) struct Demand(VecDeque<Instant>);

/// When to fetch rooms, and how many to have then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermarks {
    /// With fewer rooms than this, more are fetched.
    pub(super) low: usize,
    pub(super) high: usize,
}

impl Demand {
    pub(super) fn note_request(&mut self) {
        if self.0.len() == 2 * LARGEST_BATCH {
            self.0.pop_front();
        }
        self.0.push_back(Instant::now());
    }

    /// How many rooms to keep: `least` while there are no requests, more under load, at most a batch. Several rooms
    /// cost one call to the queue and one to the node, like a single room, so they are fetched together once half are
    /// gone. With `least` 0 prefetch is off.
    pub(super) fn watermarks(&mut self, least: usize) -> Watermarks {
        while self.0.pop_front_if(|at| at.elapsed() >= WINDOW).is_some() {}
        if least == 0 {
            return Watermarks { low: 0, high: 0 };
        }
        let high = (least + self.0.len() / 2).min(LARGEST_BATCH);
        Watermarks { low: least.max(high.div_ceil(2)), high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rooms_are_kept_for_half_of_a_seconds_requests() {
        let mut demand = Demand::default();
        assert_eq!(demand.watermarks(1), Watermarks { low: 1, high: 1 });

        (0..5).for_each(|_| demand.note_request());
        assert_eq!(demand.watermarks(1), Watermarks { low: 2, high: 3 });
        assert_eq!(demand.watermarks(4), Watermarks { low: 4, high: 6 });
        assert_eq!(demand.watermarks(0), Watermarks { low: 0, high: 0 });

        (0..500).for_each(|_| demand.note_request());
        assert_eq!(demand.watermarks(1), Watermarks { low: 16, high: 32 });

        tokio::time::advance(WINDOW).await;
        assert_eq!(demand.watermarks(1), Watermarks { low: 1, high: 1 });
    }
}
