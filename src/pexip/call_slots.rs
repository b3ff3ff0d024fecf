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
    first: VecDeque<oneshot::Sender<CallSlot>>,
    others: VecDeque<oneshot::Sender<CallSlot>>,
}

/// Which call gets the next free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Before all others: the call completes what earlier ones have begun.
    Next,
    /// After all foreground calls that wait.
    Foreground,
    /// Once no foreground call waits.
    Other,
}

/// A slot for one call. Dropped, it goes to the next in line.
#[derive(Debug)]
pub(super) struct CallSlot {
    slots: Arc<CallSlots>,
    is_foreground: bool,
}

impl CallSlots {
    /// All but `number_of_others` are kept for foreground calls.
    pub(super) fn new(number: usize, number_of_others: usize) -> Arc<Self> {
        let (first, others) = (VecDeque::new(), VecDeque::new());
        Arc::new(Self(Mutex::new(Line { free: number, free_to_others: number_of_others, first, others })))
    }

    /// Waits in line for a slot.
    pub(super) async fn take(self: &Arc<Self>, turn: Turn) -> CallSlot {
        let (waiter, slot) = oneshot::channel();
        self.0.lock().join(turn, waiter);
        self.hand_out();
        slot.await.expect("a waiter stays in line until it gets a slot")
    }

    fn hand_out(self: &Arc<Self>) {
        loop {
            let Some((waiter, is_foreground)) = self.0.lock().next() else { return };
            // If the waiter has just gone, the slot is dropped here and goes to the next in line.
            let _ = waiter.send(CallSlot { slots: Arc::clone(self), is_foreground });
        }
    }
}

impl Line {
    fn join(&mut self, turn: Turn, waiter: oneshot::Sender<CallSlot>) {
        match turn {
            Turn::Next => self.first.push_front(waiter),
            Turn::Foreground => self.first.push_back(waiter),
            Turn::Other => self.others.push_back(waiter),
        }
    }

    fn of(&mut self, is_foreground: bool) -> &mut VecDeque<oneshot::Sender<CallSlot>> {
        if is_foreground { &mut self.first } else { &mut self.others }
    }

    /// The waiter who gets a free slot now.
    fn next(&mut self) -> Option<(oneshot::Sender<CallSlot>, bool)> {
        for is_foreground in [true, false] {
            while self.free > 0 && (is_foreground || self.free_to_others > 0) {
                let Some(waiter) = self.of(is_foreground).pop_front() else { break };
                if waiter.is_closed() {
                    continue;
                }
                self.free -= 1;
                self.free_to_others -= usize::from(!is_foreground);
                return Some((waiter, is_foreground));
            }
        }
        None
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        let mut line = self.slots.0.lock();
        line.free += 1;
        line.free_to_others += usize::from(!self.is_foreground);
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
        let (mut first, mut next) = (Box::pin(slots.take(Foreground)), Box::pin(slots.take(Next)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut next).is_pending());

        drop(taken);

        assert!(poll!(&mut first).is_pending());
        drop(next.await);
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
