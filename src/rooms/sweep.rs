//! Ends rooms whose time is over, by their marks.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::PoolError;
use super::backend::Backend;
use super::census::BothClocks;
use super::delete::{EndReason, Outcome, end_if_empty, end_if_unchanged};
use crate::domain::RoomName;
use crate::pexip::{Conference, ConferenceId, Listing, PexipError, Presence};
use crate::telemetry::metrics::{SWEEP_CAPPED, UNRECOGNISED_LEGS, WITHOUT_DIALLED_LEG};

/// A room is ended only if two readings at least this far apart find it empty. A citizen whose phone changes networks
/// is back sooner.
pub(super) const MIN_TIME_EMPTY: Duration = Duration::from_secs(30);

/// The dial-out to the agent starts 10 s after the first participant, once, and takes seconds. Without a leg after this
/// time it has failed, and no other system reports that the citizen waits alone.
const LONGEST_WAIT_FOR_DIAL_OUT: Duration = Duration::from_secs(60);

/// Failed deletions after which a run stops: a failing node answers all of them alike.
pub(super) const MAX_FAILURES: usize = 3;

/// Ends rooms whose marks are past.
pub(super) struct Sweeper {
    backend: Arc<Backend>,
    seen_empty: FirstSeen<(ConferenceId, RoomName)>,
    seen_too_old: FirstSeen<RoomName>,
    /// Number of rooms in the last complete list, less those swept since. In memory only: until a process has it, it
    /// disconnects no conference.
    last_whole_list: Mutex<Option<usize>>,
}

impl Sweeper {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self {
            backend,
            seen_empty: FirstSeen::default(),
            seen_too_old: FirstSeen::default(),
            last_whole_list: Mutex::default(),
        }
    }

    /// Ends at most `SWEEP_MAX_DELETIONS` rooms whose time is over, then disconnects conferences that are older than
    /// any room. Starts no deletion after `until`. Returns how many rooms were ended.
    pub(super) async fn sweep(&self, listing: &Listing, until: Instant) -> Result<usize, PoolError> {
        let presence = self.backend.background.presence().await?;
        UNRECOGNISED_LEGS.set(unrecognised_legs(listing, &presence), []);
        self.report_failed_dial_outs(&presence);
        let is_whole = self.note_if_whole(listing);
        let to_end = self.rooms_to_end(listing, &presence);
        let cap = self.backend.config.sweep_max_deletions;
        if to_end.len() > cap {
            SWEEP_CAPPED.count([]);
            warn!(rooms = to_end.len(), cap, "more rooms to sweep than one run may delete");
        }
        let (mut swept, mut failed) = (0, 0);
        for (room, reason) in to_end.into_iter().take(cap) {
            if Instant::now() >= until {
                info!(rooms = swept, "sweep out of time, continued by the next run");
                return Ok(swept);
            }
            match self.end(room, reason, &presence).await {
                Ok(Outcome::Deleted) => {
                    swept += 1;
                    self.forget_one_of_last_list();
                }
                Ok(Outcome::Occupied) => self.seen_empty.forget(&(room.id, room.name.clone())),
                Ok(Outcome::Changed) => {}
                // One room that cannot be ended must not block those behind it.
                Err(error) if failed == MAX_FAILURES => return Err(error),
                Err(error) => {
                    warn!(room = %room.name, %error, "room could not be swept");
                    failed += 1;
                }
            }
        }
        self.disconnect_too_old(listing, &presence, is_whole).await?;
        Ok(swept)
    }

    /// Reports rooms of ours in which people wait and which have no dialled leg.
    fn report_failed_dial_outs(&self, presence: &Presence) {
        let Backend { rooms, instant, .. } = &*self.backend;
        let on_pexip = (!rooms.automatic_participants.is_empty()).then_some(&rooms.prefix);
        let of_instant_rooms = (!instant.dial_out.is_empty()).then_some(&instant.prefix);
        let dialling: Vec<_> = [on_pexip, of_instant_rooms].into_iter().flatten().collect();
        if dialling.is_empty() {
            return;
        }
        let names = presence.without_dialled_leg(LONGEST_WAIT_FOR_DIAL_OUT);
        let ours = |name: &str| dialling.iter().find_map(|prefix| prefix.parse_name(name));
        let rooms: Vec<_> = names.filter_map(ours).collect();
        WITHOUT_DIALLED_LEG.set(rooms.len(), []);
        if let Some(room) = rooms.first() {
            warn!(%room, rooms = rooms.len(), "people wait in rooms without a dialled leg");
        }
    }

    async fn end(&self, room: &Conference, reason: EndReason, presence: &Presence) -> Result<Outcome, PoolError> {
        if reason == EndReason::PastAbsoluteLifetime {
            end_if_unchanged(&self.backend, room, reason).await
        } else {
            end_if_empty(&self.backend, room, reason, presence).await
        }
    }

    /// The rooms past their absolute lifetime, and the other ones past their time that were seen empty twice.
    fn rooms_to_end<'a>(&self, listing: &'a Listing, presence: &Presence) -> Vec<(&'a Conference, EndReason)> {
        let (mut to_end, by_presence): (Vec<_>, Vec<_>) =
            self.sweepable(listing).into_iter().partition(|(_, reason)| *reason == EndReason::PastAbsoluteLifetime);
        let reasons: HashMap<_, _> = by_presence.iter().map(|(room, reason)| (room.id, *reason)).collect();
        let empty = by_presence.into_iter().map(|(room, _)| room).filter(|room| !presence.is_occupied(room));
        let empty_twice = self.seen_empty.update(empty.collect(), |room| (room.id, room.name.clone()));
        to_end.extend(empty_twice.into_iter().map(|room| (room, reasons[&room.id])));
        to_end
    }

    /// Whether the list can be believed to hold all rooms: it is not empty, and has at least half the rooms of the last
    /// such list. The first list of a process is not believed.
    fn note_if_whole(&self, listing: &Listing) -> bool {
        let rooms = listing.conferences.len();
        let mut last = self.last_whole_list.lock();
        let before = *last;
        if rooms > 0 && before.is_none_or(|before| rooms * 2 >= before) {
            *last = Some(rooms);
            return before.is_some();
        }
        false
    }

    fn forget_one_of_last_list(&self) {
        let mut last = self.last_whole_list.lock();
        *last = last.map(|rooms| rooms.saturating_sub(1));
    }

    /// Disconnects conferences that are older than any room of ours lives and have no room, in the second run that
    /// finds them so. Others without a room are left alone: a list may lack rooms, and a node that came back from a
    /// backup has lost those of calls that are still running.
    async fn disconnect_too_old(
        &self,
        listing: &Listing,
        presence: &Presence,
        is_whole: bool,
    ) -> Result<(), PexipError> {
        let clocks = BothClocks::new(self.backend.clock.now_utc(), listing);
        let longest = self.backend.longest_life();
        let rooms: HashSet<_> = listing.conferences.iter().map(|room| &room.name).collect();
        let is_too_old = |name: &RoomName| {
            is_whole && !rooms.contains(name) && name.minted_at().is_some_and(|minted| clocks.are_past(minted, longest))
        };
        let mut failed = 0;
        let names = presence.running().filter_map(|name| self.backend.rooms.prefix.parse_name(name));
        for name in self.seen_too_old.update(names.filter(is_too_old).collect(), RoomName::clone) {
            match self.disconnect_if_roomless(&name).await {
                Ok(()) => {}
                Err(error) if failed == MAX_FAILURES => return Err(error),
                Err(error) => {
                    warn!(room = %name, %error, "conference that is older than any room could not be disconnected");
                    failed += 1;
                }
            }
        }
        Ok(())
    }

    async fn disconnect_if_roomless(&self, name: &RoomName) -> Result<(), PexipError> {
        if self.backend.background.find_by_name(name).await?.is_none() {
            info!(room = %name, "disconnecting a conference that is older than any room");
            self.backend.background.disconnect(name).await?;
        }
        Ok(())
    }

    /// The rooms whose time is over, occupied or not.
    pub(super) fn sweepable<'a>(&self, listing: &'a Listing) -> Vec<(&'a Conference, EndReason)> {
        let clocks = BothClocks::new(self.backend.clock.now_utc(), listing);
        let margin = self.backend.config.sweep_margin;
        let reason = |room: &Conference| {
            if !room.is_handed_out() {
                return clocks.are_past(room.marks.ready_until?, margin).then_some(EndReason::Unused);
            }
            let handed_out = room.marks.handed_out?;
            if clocks.are_past(handed_out, self.backend.rooms.absolute_lifetime + margin) {
                Some(EndReason::PastAbsoluteLifetime)
            } else {
                clocks.are_past(handed_out, self.backend.rooms.max_lifetime + margin).then_some(EndReason::PastLifetime)
            }
        };
        listing.conferences.iter().filter_map(|room| Some((room, reason(room)?))).collect()
    }
}

/// Dialled legs in our rooms that count as people, because they are not of the room's automatic participants.
pub(super) fn unrecognised_legs(listing: &Listing, presence: &Presence) -> usize {
    listing.conferences.iter().map(|room| presence.unrecognised_legs(room)).sum()
}

/// When each room was first seen in a state that must last. In memory only: if it is lost, a room lives for one more
/// run.
#[derive(Debug)]
struct FirstSeen<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for FirstSeen<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> FirstSeen<K> {
    /// Returns those of `rooms` that were first seen at least [`MIN_TIME_EMPTY`] ago, and remembers the others. Forgets
    /// every room that is not in `rooms`: it was in another state in between.
    fn update<R>(&self, rooms: Vec<R>, key: impl Fn(&R) -> K) -> Vec<R> {
        let mut seen = self.0.lock();
        let now = Instant::now();
        let known = std::mem::take(&mut *seen);
        rooms
            .into_iter()
            .filter(|room| {
                let key = key(room);
                let first = known.get(&key).copied().unwrap_or(now);
                seen.insert(key, first);
                now.duration_since(first) >= MIN_TIME_EMPTY
            })
            .collect()
    }

    fn forget(&self, key: &K) {
        self.0.lock().remove(key);
    }
}
