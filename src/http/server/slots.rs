//! Bounds the open connections. When all slots are taken, the longest-idle connection is closed for a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// File descriptors kept free for outbound calls once the system has run out of them.
const RESERVED_DESCRIPTORS: usize = 64;

/// A connection is closed for a new one only after it was idle for this long: so each has time to send its request even
/// when many arrive at once.
const PROTECTED_IDLE: Duration = Duration::from_millis(250);

/// How often a new connection that waits for a slot checks for an idle connection to close.
const RECHECK: Duration = Duration::from_millis(10);

/// The open connections and their maximum.
///
/// The connection that has waited longest for its next request is closed first. A client that opens connections and
/// sends nothing, or sends slowly, therefore evicts its own connections. A request that has arrived whole is not cut
/// off.
pub(super) struct ConnectionSlots {
    /// Never locked across an await.
    state: Mutex<State>,
    released: Notify,
}

struct State {
    max: usize,
    open: usize,
    /// Numbers of the open connections that are being closed for a new one and have no request in progress.
    closing: BTreeSet<u64>,
    last_number: u64,
    /// The connections that can be closed, longest idle first, each with the token that closes it.
    idle: BTreeMap<(Instant, u64), CancellationToken>,
}

/// The slot of one open connection; dropping it releases the slot.
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    idle_since: Mutex<Option<Instant>>,
    close: CancellationToken,
}

impl ConnectionSlots {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let state = State { max, open: 0, closing: BTreeSet::new(), last_number: 0, idle: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), released: Notify::new() })
    }

    /// A slot for one more connection. Waits while all slots are taken and no connection may be closed.
    pub(super) async fn acquire(self: &Arc<Self>) -> ConnectionSlot {
        loop {
            let number = self.state.lock().open_connection();
            if let Some(number) = number {
                let slot = ConnectionSlot {
                    slots: Arc::clone(self),
                    number,
                    idle_since: Mutex::new(None),
                    close: CancellationToken::new(),
                };
                slot.mark_idle();
                return slot;
            }
            self.state.lock().close_for_newcomer();
            let _ = timeout(RECHECK, self.released.notified()).await;
        }
    }

    /// Lowers the maximum below the number of open connections, because the system has run out of file descriptors and
    /// outbound calls need some. The system's limit is fixed for the life of the process, so the maximum stays lowered.
    pub(super) fn shrink(&self) {
        let mut state = self.state.lock();
        state.max = state.open.saturating_sub(RESERVED_DESCRIPTORS).max(1);
        while state.remaining() > state.max && state.close_longest_idle(Duration::ZERO) {}
    }
}

impl State {
    fn open_connection(&mut self) -> Option<u64> {
        if self.open >= self.max {
            return None;
        }
        self.open += 1;
        self.last_number += 1;
        Some(self.last_number)
    }

    /// Open connections without those that are about to close.
    fn remaining(&self) -> usize {
        self.open - self.closing.len()
    }

    /// Closes one connection, unless one that is being closed is about to release its slot.
    fn close_for_newcomer(&mut self) {
        if self.remaining() >= self.max {
            self.close_longest_idle(PROTECTED_IDLE);
        }
    }

    /// Whether a connection was idle for at least this long and is being closed.
    fn close_longest_idle(&mut self, at_least: Duration) -> bool {
        match self.idle.first_entry() {
            Some(longest) if longest.key().0.elapsed() >= at_least => {
                let (_, number) = *longest.key();
                longest.remove().cancel();
                self.closing.insert(number);
                true
            }
            _ => false,
        }
    }
}

impl ConnectionSlot {
    /// Marks the connection as waiting for a request: it may be closed for another one.
    pub(super) fn mark_idle(&self) {
        let now = Instant::now();
        let previous = self.idle_since.lock().replace(now);
        let mut state = self.slots.state.lock();
        // A request that was refused before its body arrived was never marked busy.
        if let Some(since) = previous {
            state.idle.remove(&(since, self.number));
        }
        if self.close.is_cancelled() {
            state.closing.insert(self.number);
        } else {
            state.idle.insert((now, self.number), self.close.clone());
        }
    }

    /// Marks the connection as having a whole request: it may not be closed for another one. If it is being closed
    /// already, a new connection closes another one meanwhile.
    pub(super) fn mark_busy(&self) {
        let previous = self.idle_since.lock().take();
        let mut state = self.slots.state.lock();
        state.closing.remove(&self.number);
        if let Some(since) = previous {
            state.idle.remove(&(since, self.number));
        }
    }

    /// Whether a whole request has arrived and is not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.idle_since.lock().is_none()
    }

    /// Returns when the connection is to be closed for another one.
    pub(super) async fn wait_until_closed_for_newcomer(&self) {
        self.close.cancelled().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.mark_busy();
        self.slots.state.lock().open -= 1;
        self.slots.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_is_protected_until_it_had_time_to_send_its_request() {
        let slots = ConnectionSlots::new(2);
        let (first, second) = (slots.acquire().await, slots.acquire().await);
        let started = Instant::now();
        let closes = async {
            first.wait_until_closed_for_newcomer().await;
            assert!(started.elapsed() >= PROTECTED_IDLE, "{:?}", started.elapsed());
            drop(first);
        };
        let (third, ()) = tokio::join!(slots.acquire(), closes);
        assert!(!second.close.is_cancelled() && !third.close.is_cancelled(), "one slot was needed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_is_closed_and_no_busy_one() {
        let slots = ConnectionSlots::new(3);
        let (busy, idle_again, idle) = (slots.acquire().await, slots.acquire().await, slots.acquire().await);
        busy.mark_busy();
        advance(PROTECTED_IDLE * 2).await;
        idle_again.mark_busy();
        idle_again.mark_idle();
        let closes = async {
            idle.wait_until_closed_for_newcomer().await;
            drop(idle);
        };
        let (_newcomer, ()) = tokio::join!(slots.acquire(), closes);
        assert!(!busy.close.is_cancelled() && !idle_again.close.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_closes_another_one_when_a_request_arrives_at_the_one_told_to_close() {
        let slots = ConnectionSlots::new(2);
        let (first, second) = (slots.acquire().await, slots.acquire().await);
        let closes = async {
            first.wait_until_closed_for_newcomer().await;
            first.mark_busy();
            second.wait_until_closed_for_newcomer().await;
            drop(second);
        };
        let (_newcomer, ()) = tokio::join!(slots.acquire(), closes);
        assert!(first.is_busy());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_closes_one_connection_however_long_it_takes_to_close() {
        let slots = ConnectionSlots::new(3);
        let (first, second, third) = (slots.acquire().await, slots.acquire().await, slots.acquire().await);
        let closes_slowly = async {
            first.wait_until_closed_for_newcomer().await;
            // Marked idle again by a request that ends meanwhile, it must not count as a second one to close.
            first.mark_idle();
            sleep(RECHECK * 100).await;
            drop(first);
        };
        let (_newcomer, ()) = tokio::join!(slots.acquire(), closes_slowly);
        assert!(!second.close.is_cancelled() && !third.close.is_cancelled(), "one slot was needed");
        let (_next, ()) = tokio::join!(slots.acquire(), async {
            second.wait_until_closed_for_newcomer().await;
            drop(second);
        });
        assert!(!third.close.is_cancelled(), "one slot was needed");
    }
}
