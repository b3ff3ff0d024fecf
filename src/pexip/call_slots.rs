//! Slots for concurrent calls, and the line for them.
//!
//! Own code, because a semaphore serves its line in order of arrival.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Slots for calls. The others may hold only some of them.
#[derive(Debug)]
pub(super) struct CallSlots(Mutex<Line>);

#[derive(Debug)]
struct Line {
    free: usize,
    /// Those of the free slots that the others may take as well. May be larger than `free`.
    free_to_others: usize,
    /// By [`Turn`].
    waiting: [VecDeque<oneshot::Sender<CallSlot>>; TURNS.len()],
}

/// Which calls get the next free slot first; those of one kind in the order of their arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Completes what earlier calls have begun.
    Next,
    Foreground,
    Other,
}

const TURNS: [Turn; 3] = [Turn::Next, Turn::Foreground, Turn::Other];

/// A slot for one call. Dropped, it goes to the next in line.
#[derive(Debug)]
pub(super) struct CallSlot {
    slots: Arc<CallSlots>,
    turn: Turn,
}

impl CallSlots {
    /// All but `number_of_others` are kept for foreground calls.
    pub(super) fn new(number: usize, number_of_others: usize) -> Arc<Self> {
        let waiting = TURNS.map(|_| VecDeque::new());
        Arc::new(Self(Mutex::new(Line { free: number, free_to_others: number_of_others, waiting })))
    }

    /// Waits in line for a slot.
    pub(super) async fn take(self: &Arc<Self>, turn: Turn) -> CallSlot {
        let (waiter, slot) = oneshot::channel();
        self.0.lock().waiting[turn as usize].push_back(waiter);
        self.hand_out();
        slot.await.expect("a waiter stays in line until it gets a slot")
    }

    fn hand_out(self: &Arc<Self>) {
        loop {
            let Some((waiter, turn)) = self.0.lock().next() else { return };
            // If the waiter has just gone, the slot is dropped here and goes to the next in line.
            let _ = waiter.send(CallSlot { slots: Arc::clone(self), turn });
        }
    }
}

impl Line {
    /// The waiter who gets a free slot now.
    fn next(&mut self) -> Option<(oneshot::Sender<CallSlot>, Turn)> {
        for turn in TURNS {
            while self.free > 0 && (turn != Turn::Other || self.free_to_others > 0) {
                let Some(waiter) = self.waiting[turn as usize].pop_front() else { break };
                if waiter.is_closed() {
                    continue;
                }
                self.free -= 1;
                self.free_to_others -= usize::from(turn == Turn::Other);
                return Some((waiter, turn));
            }
        }
        None
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        let mut line = self.slots.0.lock();
        line.free += 1;
        line.free_to_others += usize::from(self.turn == Turn::Other);
        drop(line);
        self.slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::{FutureExt, poll};

    use super::Turn::{Foreground, Next, Other};
    use super::*;

    #[tokio::test]
    async fn a_free_slot_goes_to_foreground_calls_in_their_order() {
        let slots = CallSlots::new(1, 1);
        let taken = slots.take(Other).await;
        let (mut other, mut first, mut second) =
            (Box::pin(slots.take(Other)), Box::pin(slots.take(Foreground)), Box::pin(slots.take(Foreground)));
        assert!(poll!(&mut other).is_pending() && poll!(&mut first).is_pending() && poll!(&mut second).is_pending());

        drop(taken);
        assert!(poll!(&mut other).is_pending() && poll!(&mut second).is_pending());
        drop(first.await);
        assert!(poll!(&mut other).is_pending());
        drop(second.await);
        other.await;
    }

    #[tokio::test]
    async fn a_call_that_completes_earlier_ones_goes_before_those_that_wait() {
        let slots = CallSlots::new(1, 1);
        let taken = slots.take(Foreground).await;
        let (mut first, mut next, mut after) =
            (Box::pin(slots.take(Foreground)), Box::pin(slots.take(Next)), Box::pin(slots.take(Next)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut next).is_pending() && poll!(&mut after).is_pending());

        drop(taken);

        assert!(poll!(&mut first).is_pending() && poll!(&mut after).is_pending());
        drop(next.await);
        assert!(poll!(&mut first).is_pending());
        drop(after.await);
        first.await;
    }

    #[tokio::test]
    async fn others_leave_slots_to_foreground_calls() {
        let slots = CallSlots::new(3, 2);
        let others = (slots.take(Other).await, slots.take(Other).await);
        let mut third = Box::pin(slots.take(Other));
        assert!(poll!(&mut third).is_pending());
        let first = slots.take(Foreground).now_or_never().expect("a slot is left");
        drop(first);
        assert!(poll!(&mut third).is_pending());
        drop(others);
        assert!(matches!(poll!(&mut third), Poll::Ready(_)));
    }

    #[tokio::test]
    async fn a_waiter_who_is_gone_holds_no_slot() {
        let slots = CallSlots::new(1, 1);
        let taken = slots.take(Foreground).await;
        let mut gone = Box::pin(slots.take(Foreground));
        let mut gone_later = Box::pin(slots.take(Foreground));
        assert!(poll!(&mut gone).is_pending() && poll!(&mut gone_later).is_pending());
        drop(gone);
        drop(taken);
        // The slot is already on its way to it.
        drop(gone_later);
        assert!(slots.take(Other).now_or_never().is_some());
    }
}
