//! The rooms that an instance keeps leased and checked, and the requests that wait for one.

mod demand;
mod discard;
mod fill;
mod prefetched_room;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::backend::Backend;
use super::fitness::check_fitness;
use crate::config::LONGEST_REQUEST;
use crate::domain::{HostPin, RoomName};
use crate::pexip::{Conference, PexipError};
use crate::storage::StorageError;
use crate::storage::queue::{LARGEST_BATCH, LeasedMessage};

use demand::{Demand, Watermarks};
use discard::{DeadReason, Unusable};
pub(super) use fill::Fill;
use prefetched_room::ClaimCriteria;
pub(super) use prefetched_room::{Observation, PrefetchedRoom};

/// How long a request waits for a room to appear in an empty pool.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Time between the latest end of a hand-out and the time from which a room may be swept or received by others.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);

/// Why there is no prefetched room.
#[derive(Clone, Debug)]
pub(super) enum NoPrefetchedRoom {
    Empty,
    /// Queue or records fail.
    Storage(StorageError),
    Pexip(PexipError),
}

/// Prefetched rooms and the requests that wait for one. [`Fill`] fills it.
///
/// Leases are short and never extended: a room that is not used in time is dropped here, returns to the queue by itself
/// and is received and checked again.
pub(super) struct Prefetch {
    backend: Arc<Backend>,
    /// Never locked across an await.
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    rooms: VecDeque<PrefetchedRoom>,
    /// Leased, but to be looked up on Pexip before use: received or looked up before Pexip failed. Checked again before
    /// anything is received, or an outage would lease the whole queue to this instance.
    unchecked: Vec<LeasedMessage>,
    /// Rooms taken from here to be claimed, each with the id of its message, until its hand-out must have ended. They
    /// may have no tag on Pexip yet, so a second message with such a name would give the room to a second citizen.
    being_claimed: HashMap<RoomName, (String, Instant)>,
    /// When these rooms leave, in this order. A room that was taken again leaves with its latest time.
    claims_end: VecDeque<(Instant, RoomName)>,
    waiters: VecDeque<Waiter>,
    demand: Demand,
    /// False after [`Fill::run`] has ended: then waiting is useless.
    is_filling: bool,
}

struct Waiter {
    since: Instant,
    answer: oneshot::Sender<Result<PrefetchedRoom, NoPrefetchedRoom>>,
}

impl Prefetch {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, state: Mutex::new(State { is_filling: true, ..State::default() }), wake: Notify::new() }
    }

    /// A prefetched room, at once if there is one, else as soon as the queue gives one.
    pub(super) async fn take(&self, deadline: Instant) -> Result<PrefetchedRoom, NoPrefetchedRoom> {
        let criteria = self.criteria();
        let room = {
            let mut state = self.state.lock();
            state.demand.note_request();
            state.keep_claimable(criteria);
            match state.rooms.pop_front() {
                Some(room) => {
                    state.note_being_claimed(&room);
                    Ok(room)
                }
                None if !state.is_filling => return Err(NoPrefetchedRoom::Empty),
                None => {
                    let (answer, room) = oneshot::channel();
                    state.waiters.push_back(Waiter { since: Instant::now(), answer });
                    Err(room)
                }
            }
        };
        self.wake.notify_one();
        match room {
            Ok(room) => Ok(room),
            Err(waiting) => match timeout_at(deadline, waiting).await {
                Ok(Ok(answer)) => answer,
                // Nothing was taken for this request.
                Ok(Err(_)) | Err(_) => Err(NoPrefetchedRoom::Empty),
            },
        }
    }

    /// Whether the room can still be claimed and tagged by a hand-out that starts now.
    pub(super) fn is_claimable(&self, room: &PrefetchedRoom) -> bool {
        room.meets(self.criteria())
    }

    /// Returns a room that was not claimed. Its lease may still run.
    pub(super) fn give_back(&self, room: PrefetchedRoom) {
        if self.is_claimable(&room) {
            self.state.lock().hand_over(room);
        } else {
            self.state.lock().unchecked.push(room.message);
            self.wake.notify_one();
        }
    }

    /// The number of prefetched rooms.
    pub(super) fn len(&self) -> usize {
        self.state.lock().rooms.len()
    }

    fn criteria(&self) -> ClaimCriteria {
        let hand_out_ends = self.backend.clock.now_utc() + self.backend.request_deadline + EXPIRY_MARGIN;
        ClaimCriteria { failure_epoch: self.backend.pexip.failure_epoch(), hand_out_ends }
    }

    /// The number of rooms to fetch for the requests that wait and to keep as many as are in demand.
    fn count_wanted(&self) -> usize {
        let criteria = self.criteria();
        let mut state = self.state.lock();
        state.keep_claimable(criteria);
        state.waiters.retain(|waiter| !waiter.answer.is_closed());
        let Watermarks { low, high } = state.demand.watermarks(self.backend.config.prefetch);
        let (waiters, rooms) = (state.waiters.len(), state.rooms.len());
        if waiters == 0 && rooms >= low {
            return 0;
        }
        (waiters + high).saturating_sub(rooms).min(LARGEST_BATCH)
    }

    fn hand_over(&self, rooms: Vec<PrefetchedRoom>) {
        let mut state = self.state.lock();
        for room in rooms {
            state.hand_over(room);
        }
    }

    fn take_unchecked(&self) -> Vec<LeasedMessage> {
        std::mem::take(&mut self.state.lock().unchecked)
    }

    fn return_unchecked(&self, messages: Vec<LeasedMessage>) {
        self.state.lock().unchecked.extend(messages);
    }

    /// Whether this room is here or being claimed by way of another message.
    fn has_by_another_message(&self, name: &RoomName, message: &LeasedMessage) -> bool {
        let state = self.state.lock();
        let here = state.rooms.iter().find(|room| room.conference.name == *name).map(|room| room.message.id());
        let being_claimed = state.being_claimed.get(name).map(|(id, _)| id.as_str());
        here.or(being_claimed).is_some_and(|id| id != message.id())
    }

    fn has_waiters(&self) -> bool {
        !self.state.lock().waiters.is_empty()
    }

    /// Answers all waiting requests, so that they fail or continue without the pool.
    fn answer_all(&self, answer: &NoPrefetchedRoom) {
        for waiter in self.state.lock().waiters.drain(..) {
            let _ = waiter.answer.send(Err(answer.clone()));
        }
    }

    /// Answers the requests that have waited for [`MAX_WAIT`].
    fn answer_overdue(&self) {
        let mut state = self.state.lock();
        while state.waiters.front().is_some_and(|waiter| waiter.since.elapsed() >= MAX_WAIT) {
            if let Some(waiter) = state.waiters.pop_front() {
                let _ = waiter.answer.send(Err(NoPrefetchedRoom::Empty));
            }
        }
    }

    /// The time until a room here has to be read or received again. `None` if there is no room.
    fn until_refresh(&self) -> Option<Duration> {
        let next = self.state.lock().rooms.iter().map(PrefetchedRoom::refresh_due).min();
        next.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Names of all rooms here, if one of them has to be read again.
    fn due_for_refresh(&self) -> Vec<RoomName> {
        let state = self.state.lock();
        let is_due = state.rooms.iter().any(|room| room.observed.refresh_due() <= Instant::now());
        let names = state.rooms.iter().filter(|_| is_due).map(|room| room.conference.name.clone());
        names.collect()
    }

    /// Replaces what is known of the rooms `named` by what was `found` now. Returns the messages of those that cannot
    /// be handed out any more.
    fn refresh(
        &self,
        named: &[RoomName],
        found: &mut HashMap<RoomName, Conference>,
        observed: Observation,
    ) -> Vec<Unusable> {
        let host_pin = self.backend.rooms.host_pin();
        let mut state = self.state.lock();
        let mut unusable = Vec::new();
        for room in std::mem::take(&mut state.rooms) {
            if !named.contains(&room.conference.name) {
                state.rooms.push_back(room);
                continue;
            }
            match usable(found.remove(&room.conference.name), &host_pin) {
                Ok(conference) => state.rooms.push_back(PrefetchedRoom { conference, observed, ..room }),
                Err(reason) => unusable.push(Unusable::Dead(room.message, reason)),
            }
        }
        unusable
    }

    fn set_filling(&self, is_filling: bool) {
        self.state.lock().is_filling = is_filling;
    }
}

/// The conference of a room that can be handed out.
fn usable(found: Option<Conference>, host_pin: &HostPin) -> Result<Conference, DeadReason> {
    let conference = found.ok_or(DeadReason::RoomNotFound)?;
    if conference.is_handed_out() {
        return Err(DeadReason::RoomHandedOut);
    }
    check_fitness(&conference, host_pin).map_err(DeadReason::RoomUnfit)?;
    Ok(conference)
}

impl State {
    /// Drops rooms whose lease has ended. Rooms that are leased but cannot be claimed are to be looked up again.
    fn keep_claimable(&mut self, criteria: ClaimCriteria) {
        // Mostly all are claimable, and every create asks.
        if !self.rooms.iter().all(|room| room.meets(criteria)) {
            for room in std::mem::take(&mut self.rooms) {
                if room.meets(criteria) {
                    self.rooms.push_back(room);
                } else {
                    self.unchecked.push(room.message);
                }
            }
        }
        self.unchecked.retain(|message| Instant::now() < message.lease_ends);
    }

    fn note_being_claimed(&mut self, room: &PrefetchedRoom) {
        let now = Instant::now();
        while let Some((_, name)) = self.claims_end.pop_front_if(|(until, _)| *until <= now) {
            if self.being_claimed.get(&name).is_some_and(|(_, until)| *until <= now) {
                self.being_claimed.remove(&name);
            }
        }
        // A hand-out takes less than that from here to the tag.
        let until = now + LONGEST_REQUEST;
        self.claims_end.push_back((until, room.conference.name.clone()));
        self.being_claimed.insert(room.conference.name.clone(), (room.message.id().to_owned(), until));
    }

    /// Gives the room to the request that has waited longest, else keeps it.
    fn hand_over(&mut self, mut room: PrefetchedRoom) {
        while let Some(waiter) = self.waiters.pop_front() {
            self.note_being_claimed(&room);
            match waiter.answer.send(Ok(room)) {
                // That request has ended: the room comes back.
                Err(Ok(returned)) => room = returned,
                Ok(()) | Err(Err(_)) => return,
            }
        }
        self.rooms.push_back(room);
    }
}
