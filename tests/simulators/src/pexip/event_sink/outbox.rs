//! Events of one node that one sink has not accepted yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use tokio::sync::Notify;

use super::event::{self, Event};
use super::{Delivery, Settings};

/// Most events in one request.
const LARGEST_BULK: usize = 100;

/// The buffer between a node and its publisher.
#[derive(Debug)]
pub(super) struct Outbox {
    node: String,
    kept: Mutex<Kept>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    waiting: VecDeque<Numbered>,
    /// In the current request, not accepted yet.
    in_flight: Vec<Numbered>,
    last_seq: u64,
    has_stopped: bool,
}

#[derive(Debug)]
struct Numbered {
    seq: u64,
    event: Event,
}

impl Outbox {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), kept: Mutex::default(), woken: Notify::new() }
    }

    pub(super) fn put(&self, event: Event) {
        let mut kept = self.kept();
        let seq = kept.next_seq();
        kept.waiting.push_back(Numbered { seq, event });
        drop(kept);
        self.wake();
    }

    /// Starts or restarts the publisher: `seq` starts from 1 with `eventsink_started`; waiting events follow.
    pub(super) fn start(&self, at: OffsetDateTime) {
        let kept = &mut *self.kept();
        kept.put_back();
        kept.has_stopped = false;
        kept.waiting.push_front(Numbered { seq: 0, event: Event::sink("eventsink_started", &self.node, at) });
        kept.last_seq = 0;
        for numbered in &mut kept.waiting {
            kept.last_seq += 1;
            numbered.seq = kept.last_seq;
        }
    }

    /// Stops the publisher; further events are buffered.
    pub(super) fn stop(&self) {
        let mut kept = self.kept();
        kept.put_back();
        kept.has_stopped = true;
    }

    /// The body of the next request; `None` if nothing is to be sent.
    pub(super) fn take(&self, settings: &Settings, now: OffsetDateTime) -> Option<serde_json::Value> {
        let mut kept = self.kept();
        if settings.held || kept.has_stopped || kept.waiting.is_empty() {
            return None;
        }
        let waiting = kept.waiting.len();
        let count = if settings.bulk { waiting.min(LARGEST_BULK) } else { 1 };
        let taken: Vec<_> = match settings.delivery {
            Delivery::Backwards => kept.waiting.drain(waiting - count..).rev().collect(),
            Delivery::Once | Delivery::Twice => kept.waiting.drain(..count).collect(),
        };
        let mut envelopes: Vec<_> = taken.iter().map(|it| it.event.envelope(it.seq, settings.version)).collect();
        kept.in_flight = taken;
        match envelopes.len() {
            1 => envelopes.pop(),
            _ => Some(event::bulk(&envelopes, now)),
        }
    }

    /// Drops the events of the last request: the receiver has accepted them.
    pub(super) fn accept(&self) {
        self.kept().in_flight.clear();
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.kept().has_stopped
    }

    pub(super) fn len(&self) -> usize {
        let kept = self.kept();
        kept.waiting.len() + kept.in_flight.len()
    }

    /// Wakes the publisher.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    fn put_back(&mut self) {
        self.waiting.extend(self.in_flight.drain(..));
        self.waiting.make_contiguous().sort_by_key(|numbered| numbered.seq);
    }
}
