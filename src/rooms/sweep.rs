//! Ends rooms whose time is over, by their marks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backend::Backend;
use super::census::BothClocks;
use super::delete::{EndReason, end_if_unchanged};
use super::presence_snapshot::PresenceSnapshot;
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

/// More conferences without a room than this are not left over from failed disconnects. A node that came back from a
/// backup has lost the rooms of conferences that are still running, and those end by themselves.
const MAX_CONFERENCES_WITHOUT_ROOM: usize = 10;

/// Ends rooms whose marks are past.
pub(super) struct Sweeper {
    backend: Arc<Backend>,
    seen_empty: SeenEmpty,
}

impl Sweeper {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, seen_empty: SeenEmpty::default() }
    }

    /// Ends at most `SWEEP_MAX_DELETIONS` rooms whose time is over, then disconnects conferences without a room. Starts
    /// no deletion after `until`. Returns how many rooms were ended.
    pub(super) async fn sweep(&self, listing: &Listing, until: Instant) -> Result<usize, PexipError> {
        let mut snapshot = PresenceSnapshot::take(&self.backend.background).await?;
        UNRECOGNISED_LEGS.set(unrecognised_legs(listing, &snapshot.presence), []);
        self.report_failed_dial_outs(&snapshot.presence);
        let to_end = self.rooms_to_end(listing, &snapshot.presence);
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
            match self.end(room, reason, &mut snapshot).await {
                Ok(ended) => swept += usize::from(ended),
                // One room that cannot be ended must not block those behind it.
                Err(error) if failed == MAX_FAILURES => return Err(error),
                Err(error) => {
                    warn!(room = %room.name, %error, "room could not be swept");
                    failed += 1;
                }
            }
        }
        self.disconnect_conferences_without_room(listing, &snapshot.presence).await?;
        Ok(swept)
    }

    /// Reports rooms of ours in which people wait and which have no dialled leg.
    fn report_failed_dial_outs(&self, presence: &Presence) {
        if self.backend.rooms.automatic_participants.is_empty() {
            return;
        }
        let names = presence.without_dialled_leg(LONGEST_WAIT_FOR_DIAL_OUT);
        let rooms: Vec<_> = names.filter_map(|name| self.backend.rooms.prefix.parse_name(name)).collect();
        WITHOUT_DIALLED_LEG.set(rooms.len(), []);
        if let Some(room) = rooms.first() {
            warn!(%room, rooms = rooms.len(), "people wait in rooms without a dialled leg");
        }
    }

    /// Ends one room unless a participant has joined it since. Returns whether the room was deleted.
    async fn end(
        &self,
        room: &Conference,
        reason: EndReason,
        snapshot: &mut PresenceSnapshot,
    ) -> Result<bool, PexipError> {
        snapshot.refresh(&self.backend.background).await?;
        if reason != EndReason::PastAbsoluteLifetime && snapshot.presence.is_occupied(room) {
            self.seen_empty.forget(room);
            return Ok(false);
        }
        end_if_unchanged(&self.backend.background, room, reason, snapshot.presence.is_running(&room.name)).await
    }

    /// The rooms past their absolute lifetime, and the other ones past their time that were seen empty twice.
    fn rooms_to_end<'a>(&self, listing: &'a Listing, presence: &Presence) -> Vec<(&'a Conference, EndReason)> {
        let (mut to_end, by_presence): (Vec<_>, Vec<_>) =
            self.sweepable(listing).into_iter().partition(|(_, reason)| *reason == EndReason::PastAbsoluteLifetime);
        let reasons: HashMap<_, _> = by_presence.iter().map(|(room, reason)| (room.id, *reason)).collect();
        let empty = by_presence.into_iter().map(|(room, _)| room).filter(|room| !presence.is_occupied(room));
        let empty_twice = self.seen_empty.update(empty.collect());
        to_end.extend(empty_twice.into_iter().map(|room| (room, reasons[&room.id])));
        to_end
    }

    /// Disconnects conferences with a name of ours whose room does not exist: the disconnect after a delete may have
    /// failed, or the process may have stopped in between.
    async fn disconnect_conferences_without_room(
        &self,
        listing: &Listing,
        presence: &Presence,
    ) -> Result<(), PexipError> {
        let rooms: HashSet<_> = listing.conferences.iter().map(|room| &room.name).collect();
        let names = presence.running().filter_map(|name| self.backend.rooms.prefix.parse_name(name));
        let without_room: Vec<_> = names.filter(|name| !rooms.contains(name)).collect();
        if without_room.len() > MAX_CONFERENCES_WITHOUT_ROOM {
            warn!(
                calls = without_room.len(),
                "many conferences without a room, left alone: the node may have come back from a backup"
            );
            return Ok(());
        }
        for name in without_room {
            // The room may have been created since the list was read.
            if self.backend.background.find_by_name(&name).await?.is_none() {
                info!(room = %name, "disconnecting a conference without a room");
                self.backend.background.disconnect(&name).await?;
            }
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

/// When each empty room was first seen empty. In memory only: if it is lost, a room lives for one more run.
#[derive(Debug, Default)]
struct SeenEmpty(Mutex<HashMap<(ConferenceId, RoomName), Instant>>);

impl SeenEmpty {
    /// Returns those of `empty` that were first seen empty at least [`MIN_TIME_EMPTY`] ago, and remembers the others.
    /// Forgets every room that is not in `empty`: it was occupied in between, or is deleted.
    fn update<'a>(&self, empty: Vec<&'a Conference>) -> Vec<&'a Conference> {
        let mut seen = self.0.lock();
        let now = Instant::now();
        let known = std::mem::take(&mut *seen);
        empty
            .into_iter()
            .filter(|room| {
                let key = (room.id, room.name.clone());
                let first = known.get(&key).copied().unwrap_or(now);
                seen.insert(key, first);
                now.duration_since(first) >= MIN_TIME_EMPTY
            })
            .collect()
    }

    /// Forgets a room that is occupied after all.
    fn forget(&self, room: &Conference) {
        self.0.lock().remove(&(room.id, room.name.clone()));
    }
}
