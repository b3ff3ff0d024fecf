use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{EXPIRY_MARGIN, Inner};
use crate::config::PoolConfig;
use crate::pexip::{Conference, PexipClient, PexipError};
use crate::queue::{LARGEST_BATCH, LeasedMessage, QueueError};
use crate::room::RoomName;

/// How long a caller waits for a room to appear in an empty pool.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause after a look at an empty queue: while somebody waits, and while nobody does.
const PAUSE_WHILE_WAITED_FOR: Duration = Duration::from_millis(200);
const PAUSE_WHILE_IDLE: Duration = Duration::from_secs(5);

/// Pause after queue or Pexip failed.
const PAUSE_AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// Dead messages that one instance deletes per minute. One wrong empty answer of Pexip must not drain the pool.
const MOST_DROPPED_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// Times that a message which is no room name is received before it is put aside.
const MOST_RECEIVES: i64 = 5;

/// Rooms between claim and tag at a time. A node that stops taking tags costs these, and those that are tried until the
/// breaker opens.
const MOST_AT_STAKE: usize = 4;

/// Messages received at least after a batch that gave nothing.
const BATCH_AFTER_JUNK: usize = 4;

/// From leaving the stash to the tag, a hand-out takes less than this: the longest deadline of a request.
const LONGEST_HAND_OUT: Duration = Duration::from_secs(200);

/// A room whose message is leased to this instance and whose VMR was seen, untagged.
#[derive(Debug)]
pub(super) struct ReadyRoom {
    pub(super) message: LeasedMessage,
    pub(super) conference: Conference,
    /// What [`PexipClient::troubles`](crate::pexip::PexipClient::troubles) said before it was looked up.
    pub(super) seen_at: u64,
}

/// What a room is judged by at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    troubles: u64,
    /// Whatever ends before this ends too early for a hand-out that begins now.
    hand_out_over: OffsetDateTime,
}

impl ReadyRoom {
    /// Whether the lease lasts, the room lasts longer than a hand-out, and nothing has happened at Pexip since the room
    /// was looked up there. After trouble what was seen may not hold: a node that comes back from a backup counts its
    /// ids again.
    pub(super) fn is_claimable(&self, moment: Moment) -> bool {
        self.seen_at == moment.troubles && Instant::now() < self.message.lease_ends && self.outlasts(moment)
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

    fn until_next_expiry(&self) -> Duration {
        let state = self.state();
        let next = state.rooms.iter().map(|room| room.message.lease_ends).min();
        next.map_or(PAUSE_WHILE_IDLE, |end| end.saturating_duration_since(Instant::now()))
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
        let until = Instant::now() + LONGEST_HAND_OUT;
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

impl Inner {
    pub(super) fn moment(&self) -> Moment {
        let hand_out_over = self.clock.now_utc() + self.request_deadline + EXPIRY_MARGIN;
        Moment { troubles: self.pexip.troubles(), hand_out_over }
    }

    /// Keeps the stash at its prefetch and serves those who wait, until `stop`. Runs once per instance, so that one
    /// batch is on its way at a time and no request carries the receive.
    pub(super) async fn keep_stash_filled(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let wanted = self.stash.wanted(self.moment());
            let pause = if wanted == 0 { self.stash.until_next_expiry() } else { self.fill_stash(wanted).await };
            // After an empty or failed look the next one is not hurried by whoever comes: a burst on an empty pool
            // would be a burst on the queue.
            let wake = async {
                if wanted == 0 || pause == PAUSE_WHILE_IDLE {
                    self.stash.wake.notified().await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = wake => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One batch: receive, check, hand over. Returns how long to wait before the next.
    async fn fill_stash(&self, wanted: usize) -> Duration {
        // A lease taken while nothing can be checked or tagged would only hide the room from everybody.
        if let Err(error) = self.pexip.check_can_tag() {
            self.stash.answer_all(&NoReadyRoom::Pexip(error));
            return PAUSE_AFTER_TROUBLE;
        }
        let mut leased = self.stash.take_unchecked();
        if leased.len() < wanted {
            // After a batch of nothing but junk and dead names a larger one, or each of them would cost a look-up; not
            // the largest, which would lease a small pool behind the junk to one instance.
            let fruitless = self.stash.fruitless.swap(false, Ordering::Relaxed);
            let count = if fruitless { wanted.max(BATCH_AFTER_JUNK) } else { wanted };
            match self.queue.receive(count - leased.len(), self.config.lease).await {
                Ok(received) => leased.extend(received),
                Err(error) if leased.is_empty() => return self.queue_trouble(error).await,
                Err(error) => warn!(%error, "no messages could be received"),
            }
        }
        if leased.is_empty() {
            return if self.stash.answer_impatient() { PAUSE_WHILE_WAITED_FOR } else { PAUSE_WHILE_IDLE };
        }
        match self.check(leased).await {
            Ok(ready) => {
                self.stash.fruitless.store(ready.is_empty(), Ordering::Relaxed);
                let mut state = self.stash.state();
                for room in ready {
                    state.hand_over(room);
                }
                drop(state);
                // A queue of nothing but junk and dead names is no reason to let anybody wait for ever. Nor is it one
                // for a pause: what was just seen is leased, so that each batch comes nearer to the rooms behind it.
                self.stash.answer_impatient();
                Duration::ZERO
            }
            Err(error) => {
                warn!(%error, "leased rooms could not be checked");
                self.stash.answer_all(&NoReadyRoom::Pexip(error));
                PAUSE_AFTER_TROUBLE
            }
        }
    }

    async fn queue_trouble(&self, error: QueueError) -> Duration {
        if error == QueueError::NoSuchQueue {
            info!(queue = self.queue.name(), "the queue is missing and is made");
            if self.queue.ensure_exists().await.is_ok() {
                self.stash.answer_impatient();
                return PAUSE_WHILE_WAITED_FOR;
            }
        }
        warn!(%error, "no messages could be received");
        self.stash.answer_all(&NoReadyRoom::Queue(error));
        PAUSE_AFTER_TROUBLE
    }

    /// Keeps what can be handed out: named by a message that lasts, there on Pexip, untagged.
    async fn check(&self, leased: Vec<LeasedMessage>) -> Result<Vec<ReadyRoom>, PexipError> {
        // Only the first message of a name counts; a second one would hand the room out twice.
        let mut seen = HashSet::new();
        let names: Vec<_> =
            leased.iter().filter_map(|message| message.room.clone()).filter(|name| seen.insert(name.clone())).collect();
        let seen_at = self.pexip.troubles();
        let looked_up =
            if names.is_empty() { Ok(HashMap::new()) } else { self.for_whoever_waits().find_by_names(&names).await };
        let mut found = match looked_up {
            Ok(found) => found,
            Err(error) => {
                self.stash.state().unchecked.extend(leased);
                return Err(error);
            }
        };
        let moment = self.moment();
        let mut ready = Vec::new();
        for message in leased {
            let Some(name) = &message.room else {
                self.set_poison_aside(&message).await;
                continue;
            };
            if self.stash.state().has_by_another(name, &message) {
                self.drop_message(&message, "its room has another ticket").await;
                continue;
            }
            match found.remove(name) {
                Some(conference) if conference.is_handed_out() => {
                    self.drop_message(&message, "its room has a tag").await;
                }
                Some(conference) => {
                    let room = ReadyRoom { message, conference, seen_at };
                    if room.outlasts(moment) {
                        ready.push(room);
                    }
                }
                None => self.drop_message(&message, "its room does not exist").await,
            }
        }
        Ok(ready)
    }

    /// Nobody's look-up leaves its share of the calls to those who wait for something.
    fn for_whoever_waits(&self) -> PexipClient {
        if self.stash.state().waiting.is_empty() { self.pexip.in_background() } else { self.pexip.clone() }
    }

    /// A text that is no name may be another version's, so it gets some tries before it is put aside.
    async fn set_poison_aside(&self, message: &LeasedMessage) {
        if message.receives < MOST_RECEIVES {
            return;
        }
        match self.queue.set_aside(message).await {
            Ok(()) => {
                warn!(receives = message.receives, "a message that is no room name was moved to the poison queue");
            }
            Err(error) => info!(%error, "a poison message could not be moved yet"),
        }
    }

    async fn drop_message(&self, message: &LeasedMessage, reason: &'static str) {
        let room = message.room.as_ref().map(ToString::to_string).unwrap_or_default();
        if self.stash.drops.check().is_err() {
            warn!(room, reason, "dead message left in the queue: too many in this minute");
            return;
        }
        info!(room, reason, "dead message dropped");
        if let Err(error) = self.queue.discard(message).await {
            info!(room, %error, "dead message could not be deleted");
        }
    }
}
