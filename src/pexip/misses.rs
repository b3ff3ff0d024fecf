//! Deletes of rooms that are not there, by client.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::PexipError;
use super::budget::MINUTE;

/// Deletes' look-ups that found no room, by client. A client that deletes missing rooms without limit uses up a sixth
/// of this instance's budget, and no other client's deletes.
#[derive(Debug)]
pub(super) struct Misses {
    /// Of one client in a minute.
    limit: usize,
    /// When. Has no client without one. Never locked across an await.
    by_client: Mutex<HashMap<String, VecDeque<Instant>>>,
}

impl Misses {
    pub(super) fn new(budget: usize) -> Self {
        Self { limit: (budget / 6).max(1), by_client: Mutex::default() }
    }

    pub(super) fn check(&self, client: &str) -> Result<(), PexipError> {
        let mut by_client = self.by_client.lock();
        by_client.retain(|_, misses| {
            while misses.pop_front_if(|at| at.elapsed() >= MINUTE).is_some() {}
            !misses.is_empty()
        });
        let latest = by_client.get(client).and_then(|misses| misses.iter().rev().nth(self.limit - 1));
        latest.map_or(Ok(()), |at| Err(PexipError::OverBudget { retry_in: (*at + MINUTE) - Instant::now() }))
    }

    pub(super) fn note(&self, client: &str) {
        self.by_client.lock().entry(client.to_owned()).or_default().push_back(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_client_whose_look_ups_find_no_room_is_refused() {
        let misses = Misses::new(300);
        for _ in 0..50 {
            misses.check("a").unwrap();
            misses.note("a");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(misses.check("a"), Err(PexipError::OverBudget { retry_in: Duration::from_secs(10) }));
        misses.check("b").unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        misses.check("a").unwrap();
        tokio::time::advance(MINUTE).await;
        misses.check("b").unwrap();
        assert!(misses.by_client.lock().is_empty());
    }
}
