//! The rooms that an instance keeps ready, and those who wait for one.

mod filling;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};
use tokio::time::Instant;

use super::{EXPIRY_MARGIN, Inner};
use crate::config::{LONGEST_REQUEST, PoolConfig};
use crate::domain::RoomName;
use crate::pexip::{Conference, PexipError};
use crate::storage::queue::{LARGEST_BATCH, LeasedMessage, QueueError};

/// How long a caller waits for a room to appear in an empty pool.
const PATIENCE: Duration = Duration::from_secs(1);

/// Dead messages that one instance deletes per minute. One wrong empty answer of Pexip must not drain the pool.
const MOST_DROPPED_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// How long what was seen of a room holds, whatever the lease is. A node is away for longer when it is restored.
const LONGEST_SEEN: Duration = Duration::from_secs(60);

/// Rooms between claim and tag at a time. A node that stops taking tags costs these, and those that are tried until the
/// breaker opens.
const MOST_AT_STAKE: usize = 4;

/// A room whose message is leased to this instance and whose VMR was seen, untagged.
#[derive(Debug)]
pub(super) struct ReadyRoom {
    pub(super) message: LeasedMessage,
    pub(super) conference: Conference,
    pub(super) seen: Seen,
}

/// When a room was seen on Pexip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// What [`PexipClient::failure_epoch`](crate::pexip::PexipClient::failure_epoch) said before it was looked up.
    failure_epoch: u64,
    at: Instant,
}

impl Seen {
    /// Before the look-up.
    pub(super) fn now(failure_epoch: u64) -> Self {
        Self { failure_epoch, at: Instant::now() }
    }

    /// What was seen holds no longer after trouble, for a node that comes back from a backup counts its ids again. Nor
    /// does it for ever without any: who makes no call meanwhile sees no trouble.
    pub(super) fn holds(self, failure_epoch: u64) -> bool {
        self.failure_epoch == failure_epoch && Instant::now() < self.until()
    }

    fn until(self) -> Instant {
        self.at + LONGEST_SEEN
    }
}

/// What a room is judged by at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    failure_epoch: u64,
    /// Whatever ends before this ends too early for a hand-out that begins now.
    hand_out_over: OffsetDateTime,
}

impl Inner {
    pub(super) fn moment(&self) -> Moment {
        let hand_out_over = self.clock.now_utc() + self.request_deadline + EXPIRY_MARGIN;
        Moment { failure_epoch: self.pexip.failure_epoch(), hand_out_over }
    }
}

impl ReadyRoom {
    /// Whether the lease lasts, the room lasts longer than a hand-out, and what was seen of it on Pexip holds.
    pub(super) fn is_claimable(&self, moment: Moment) -> bool {
        self.seen.holds(moment.failure_epoch) && Instant::now() < self.message.lease_ends && self.outlasts(moment)
    }

    /// Past either of these the sweep may take the room, so that its tag would be too late.
    fn outlasts(&self, moment: Moment) -> bool {
        let ready_until = self.conference.marks.ready_until.unwrap_or(self.message.expires);
        self.message.expires.min(ready_until) > moment.hand_out_over
    }
}

/// Why there is no ready room.
#[derive(Clone, Debug)]
pub(super) enum NoReadyRoom {
    Empty,
    Queue(QueueError),
    Pexip(PexipError),
}

/// The rooms that this instance keeps leased and checked, and those who wait for one.
///
/// Leases are short and never extended: a room not used in time is forgotten, comes back to the queue by itself and
/// is received and checked anew.
pub(super) struct Stash {
    /// Never held across an await.
    state: Mutex<State>,
    wake: Notify,
    prefetch: usize,
    drops: DefaultDirectRateLimiter,
    fruitless: AtomicBool,
    /// One batch at a time.
    disposing: Arc<Semaphore>,
    stakes: Semaphore,
}

#[derive(Default)]
struct State {
    rooms: VecDeque<ReadyRoom>,
    /// Leased, but to be looked up on Pexip before use: what came in, or was looked up, before trouble there.
    /// Looked at again before anything is received, or an outage would lease the whole queue away.
    unchecked: Vec<LeasedMessage>,
    /// Rooms that left here to be claimed, each with the message it came by, until its hand-out must be over. On Pexip
    /// they may have no tag yet, so a second message of such a name would give the room to a second citizen.
    on_their_way: HashMap<RoomName, (String, Instant)>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    since: Instant,
    answer: oneshot::Sender<Result<ReadyRoom, NoReadyRoom>>,
}

impl Stash {
    pub(super) fn new(config: &PoolConfig) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            prefetch: config.prefetch,
            drops: RateLimiter::direct(Quota::per_minute(MOST_DROPPED_PER_MINUTE)),
            fruitless: AtomicBool::new(false),
            disposing: Arc::new(Semaphore::new(1)),
            stakes: Semaphore::new(MOST_AT_STAKE),
        }
    }

    /// A ready room: at once if there is one, else as soon as the queue gives one, within the bounds of patience.
    pub(super) async fn take(&self, moment: Moment, deadline: Instant) -> Result<ReadyRoom, NoReadyRoom> {
        let room = {
            let mut state = self.state();
            state.keep_claimable(moment);
            let room = state.rooms.pop_front();
            if let Some(room) = &room {
                state.note_on_its_way(room);
            }
            room.ok_or_else(|| {
                let (answer, room) = oneshot::channel();
                state.waiting.push_back(Waiting { since: Instant::now(), answer });
                room
            })
        };
        self.wake.notify_one();
        match room {
            Ok(room) => Ok(room),
            Err(waiting) => match tokio::time::timeout_at(deadline, waiting).await {
                Ok(Ok(answer)) => answer,
                // The filling task is gone or did not come round: nothing was taken for us.
                Ok(Err(_)) | Err(_) => Err(NoReadyRoom::Empty),
            },
        }
    }

    /// Rooms that are here.
    pub(super) fn len(&self) -> usize {
        self.state().rooms.len()
    }

    /// Gives back a room that was not claimed; its lease may still run.
    pub(super) fn give_back(&self, room: ReadyRoom, moment: Moment) {
        if room.is_claimable(moment) {
            self.state().hand_over(room);
        } else {
            self.state().unchecked.push(room.message);
            self.wake.notify_one();
        }
    }

    fn hand_over(&self, rooms: Vec<ReadyRoom>) {
        let mut state = self.state();
        for room in rooms {
            state.hand_over(room);
        }
    }

    /// The right to put one room at stake: to be had before its claim, and kept until it is tagged or lost.
    pub(super) async fn stake(&self) -> SemaphorePermit<'_> {
        self.stakes.acquire().await.expect("it is never closed")
    }

    fn take_unchecked(&self) -> Vec<LeasedMessage> {
        std::mem::take(&mut self.state().unchecked)
    }

    fn wanted(&self, moment: Moment) -> usize {
        let mut state = self.state();
        state.keep_claimable(moment);
        state.waiting.retain(|waiting| !waiting.answer.is_closed());
        (state.waiting.len() + self.prefetch).saturating_sub(state.rooms.len()).min(LARGEST_BATCH)
    }

    /// Answers everybody who waits, so that they can fail or go on without the pool.
    fn answer_all(&self, answer: &NoReadyRoom) {
        for waiting in self.state().waiting.drain(..) {
            let _ = waiting.answer.send(Err(answer.clone()));
        }
    }

    /// Answers those whose patience is over. True if somebody is still waiting.
    fn answer_impatient(&self) -> bool {
        let mut state = self.state();
        while state.waiting.front().is_some_and(|waiting| waiting.since.elapsed() >= PATIENCE) {
            if let Some(waiting) = state.waiting.pop_front() {
                let _ = waiting.answer.send(Err(NoReadyRoom::Empty));
            }
        }
        !state.waiting.is_empty()
    }

    /// `None` if nothing is here.
    fn until_next_expiry(&self) -> Option<Duration> {
        let state = self.state();
        let next = state.rooms.iter().map(|room| room.message.lease_ends.min(room.seen.until())).min();
        next.map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in the guarded sections can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets what is leased no longer; what is leased but not to be relied on is looked up again.
    fn keep_claimable(&mut self, moment: Moment) {
        for room in std::mem::take(&mut self.rooms) {
            if room.is_claimable(moment) {
                self.rooms.push_back(room);
            } else {
                self.unchecked.push(room.message);
            }
        }
        self.unchecked.retain(|message| Instant::now() < message.lease_ends);
    }

    fn note_on_its_way(&mut self, room: &ReadyRoom) {
        self.on_their_way.retain(|_, (_, until)| Instant::now() < *until);
        // From leaving the stash to the tag, a hand-out takes less.
        let until = Instant::now() + LONGEST_REQUEST;
        self.on_their_way.insert(room.conference.name.clone(), (room.message.id().to_owned(), until));
    }

    /// Whether this name is here, or on its way to a citizen, by another message.
    fn has_by_another(&self, name: &RoomName, message: &LeasedMessage) -> bool {
        let here = self.rooms.iter().find(|room| room.conference.name == *name).map(|room| room.message.id());
        let on_its_way = self.on_their_way.get(name).map(|(id, _)| id.as_str());
        here.or(on_its_way).is_some_and(|id| id != message.id())
    }

    /// To whoever waits longest, else into the stash.
    fn hand_over(&mut self, mut room: ReadyRoom) {
        while let Some(waiting) = self.waiting.pop_front() {
            self.note_on_its_way(&room);
            match waiting.answer.send(Ok(room)) {
                Ok(()) => return,
                // That caller is gone; the room comes back out of the message that was not taken.
                Err(unsent) => match unsent {
                    Ok(returned) => room = returned,
                    Err(_) => return,
                },
            }
        }
        self.rooms.push_back(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_holds_for_a_minute_and_until_trouble() {
        let seen = Seen::now(7);
        tokio::time::advance(LONGEST_SEEN / 2).await;
        assert!(seen.holds(7) && !seen.holds(8));

        tokio::time::advance(LONGEST_SEEN / 2).await;
        assert!(!seen.holds(7));
    }
}
