//! Slots for concurrent calls, and the line for them.
//!
//! Own code, because a semaphore serves its line in order of arrival.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Slots for calls. Foreground calls get the next free slot; the others may hold only some of the slots.
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
    pub(super) async fn take(self: &Arc<Self>, is_foreground: bool) -> CallSlot {
        let (waiter, slot) = oneshot::channel();
        self.0.lock().of(is_foreground).push_back(waiter);
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

    use super::*;

    #[tokio::test]
    async fn a_free_slot_goes_to_foreground_calls_in_their_order() {
        let slots = CallSlots::new(1, 1);
        let taken = slots.take(false).await;
        let (mut other, mut first, mut second) =
            (Box::pin(slots.take(false)), Box::pin(slots.take(true)), Box::pin(slots.take(true)));
        assert!(poll!(&mut other).is_pending() && poll!(&mut first).is_pending() && poll!(&mut second).is_pending());

        drop(taken);
        assert!(poll!(&mut other).is_pending() && poll!(&mut second).is_pending());
        drop(first.await);
        assert!(poll!(&mut other).is_pending());
        drop(second.await);
        other.await;
    }

    #[tokio::test]
    async fn others_leave_slots_to_foreground_calls() {
        let slots = CallSlots::new(3, 2);
        let others = (slots.take(false).await, slots.take(false).await);
        let mut third = Box::pin(slots.take(false));
        assert!(poll!(&mut third).is_pending());
        let first = slots.take(true).now_or_never().expect("a slot is left");
        drop(first);
        assert!(poll!(&mut third).is_pending());
        drop(others);
        assert!(matches!(poll!(&mut third), Poll::Ready(_)));
    }

    #[tokio::test]
    async fn a_waiter_who_is_gone_holds_no_slot() {
        let slots = CallSlots::new(1, 1);
        let taken = slots.take(true).await;
        let mut gone = Box::pin(slots.take(true));
        let mut gone_later = Box::pin(slots.take(true));
        assert!(poll!(&mut gone).is_pending() && poll!(&mut gone_later).is_pending());
        drop(gone);
        drop(taken);
        // The slot is already on its way to it.
        drop(gone_later);
        assert!(slots.take(false).now_or_never().is_some());
    }
}
