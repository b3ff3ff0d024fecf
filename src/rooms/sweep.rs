use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Inner;
use super::census::BothClocks;
use super::look::Look;
use crate::domain::RoomName;
use crate::pexip::{Conference, ConferenceId, Listing, PexipError, Presence};
use crate::telemetry::audit;
use crate::telemetry::metrics::{SWEEP_CAPPED, SWEPT};

/// Between the two looks at a room in which nobody may be. A citizen whose phone changes networks is away for less.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(30);

/// Rooms that one run may fail to end before it breaks off.
pub(super) const MOST_FAILED: usize = 3;

/// More calls than this without a room are not what failed disconnects leave. A node that comes back from a backup has
/// lost the rooms of calls that go on, and those end by themselves.
const MOST_CALLS_WITHOUT_ROOM: usize = 10;

/// Why a room is swept: its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Never handed out, and nobody can be given it any more.
    Unused,
    /// Handed out longer ago than `ROOM_MAX_LIFETIME_SECONDS`.
    PastLifetime,
    /// Handed out longer ago than `ROOM_ABSOLUTE_LIFETIME_SECONDS`: ended, whoever is in it.
    PastAbsoluteLifetime,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::PastLifetime => "past_lifetime",
            Self::PastAbsoluteLifetime => "past_absolute_lifetime",
        }
    }
}

/// A room that is to be deleted.
pub(super) struct Deletion<'a> {
    pub(super) room: &'a Conference,
    pub(super) reason: &'static str,
    /// Whether a conference runs in it, be it one of dialled legs only: it would go on without the room.
    pub(super) running: bool,
}

/// The rooms that were seen empty before, and when first. Only this instance's memory: where it is lost, a room
/// stays for one run more.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Never held across an await.
    seen_empty: Mutex<HashMap<(ConferenceId, RoomName), Instant>>,
}

impl Sweep {
    /// Keeps those of `empty` that were seen empty at least [`BETWEEN_LOOKS`] ago, and remembers the others. What is
    /// not in `empty` is forgotten: somebody was there in between, or the room is gone.
    fn seen_empty_twice<'a>(&self, empty: Vec<&'a Conference>) -> Vec<&'a Conference> {
        let mut seen = self.seen_empty.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = std::mem::take(&mut *seen);
        empty
            .into_iter()
            .filter(|room| {
                let key = (room.id, room.name.clone());
                let first = known.get(&key).copied().unwrap_or(now);
                seen.insert(key, first);
                now.duration_since(first) >= BETWEEN_LOOKS
            })
            .collect()
    }

    /// Somebody is in this room after all.
    fn forget(&self, room: &Conference) {
        let mut seen = self.seen_empty.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&(room.id, room.name.clone()));
    }
}

impl Inner {
    /// Ends the rooms whose time is over, at most as many as `SWEEP_MAX_DELETIONS`, then the calls that go on without
    /// a room, until `until`. Returns how many rooms.
    pub(super) async fn sweep(&self, listing: &Listing, until: Instant) -> Result<usize, PexipError> {
        let mut look = Look::now(&self.pexip).await?;
        let doomed = self.doomed(listing, &look.presence);
        let cap = self.config.sweep_max_deletions;
        if doomed.len() > cap {
            SWEEP_CAPPED.count([]);
            warn!(rooms = doomed.len(), cap, "more rooms to sweep than one run may delete");
        }
        let (mut swept, mut failed) = (0, 0);
        for (room, reason) in doomed.into_iter().take(cap) {
            if Instant::now() >= until {
                info!(rooms = swept, "the sweep goes on in the next run");
                return Ok(swept);
            }
            match self.end_if_still_over(room, reason, &mut look).await {
                Ok(ended) => swept += usize::from(ended),
                // One room that cannot be ended must not keep those behind it; a node in trouble answers all alike.
                Err(error) if failed == MOST_FAILED => return Err(error),
                Err(error) => {
                    warn!(room = %room.name, %error, "room could not be swept");
                    failed += 1;
                }
            }
        }
        self.end_calls_without_room(listing, &look.presence).await?;
        Ok(swept)
    }

    /// Looks again where the last look counts no longer. Returns whether the room was deleted.
    async fn end_if_still_over(&self, room: &Conference, reason: Reason, look: &mut Look) -> Result<bool, PexipError> {
        if !look.counts() {
            *look = Look::now(&self.pexip).await?;
        }
        if reason != Reason::PastAbsoluteLifetime && look.presence.is_occupied(&room.name) {
            self.sweep.forget(room);
            return Ok(false);
        }
        let running = look.presence.is_running(&room.name);
        self.end_if_unchanged(&Deletion { room, reason: reason.as_str(), running }).await
    }

    /// The rooms to be ended, as far as one look tells.
    fn doomed<'a>(&self, listing: &'a Listing, presence: &Presence) -> Vec<(&'a Conference, Reason)> {
        let (ended, perhaps_empty): (Vec<_>, Vec<_>) =
            self.sweepable(listing).into_iter().partition(|(_, reason)| *reason == Reason::PastAbsoluteLifetime);
        let reasons: HashMap<_, _> = perhaps_empty.iter().map(|(room, reason)| (room.id, *reason)).collect();
        let empty = perhaps_empty.into_iter().map(|(room, _)| room).filter(|room| !presence.is_occupied(&room.name));
        let twice = self.sweep.seen_empty_twice(empty.collect()).into_iter().map(|room| (room, reasons[&room.id]));
        ended.into_iter().chain(twice).collect()
    }

    /// Disconnects what still runs under a name of ours that no room has: the disconnect after a delete may have
    /// failed, or the process have stopped in between.
    async fn end_calls_without_room(&self, listing: &Listing, presence: &Presence) -> Result<(), PexipError> {
        let rooms: HashSet<_> = listing.conferences.iter().map(|room| &room.name).collect();
        let names = presence.running().filter_map(|name| self.rooms.prefix.parse_name(name));
        let without_room: Vec<_> = names.filter(|name| !rooms.contains(name)).collect();
        if without_room.len() > MOST_CALLS_WITHOUT_ROOM {
            warn!(
                calls = without_room.len(),
                "many calls go on without a room; the node may have come back from a backup"
            );
            return Ok(());
        }
        let pexip = self.pexip.in_background();
        for name in without_room {
            // A room that was made since the list.
            if pexip.find_by_name(&name).await?.is_none() {
                info!(room = %name, "a call that goes on without its room is ended");
                pexip.disconnect(&name).await?;
            }
        }
        Ok(())
    }

    /// The rooms whose time is over, whether or not somebody is in them.
    pub(super) fn sweepable<'a>(&self, listing: &'a Listing) -> Vec<(&'a Conference, Reason)> {
        let clocks = BothClocks::new(self.clock.now_utc(), listing);
        let margin = self.config.sweep_margin;
        let reason = |room: &Conference| {
            if !room.is_handed_out() {
                return clocks.are_past(room.marks.ready_until?, margin).then_some(Reason::Unused);
            }
            let handed_out = room.marks.handed_out?;
            if clocks.are_past(handed_out, self.rooms.absolute_lifetime + margin) {
                Some(Reason::PastAbsoluteLifetime)
            } else {
                clocks.are_past(handed_out, self.rooms.max_lifetime + margin).then_some(Reason::PastLifetime)
            }
        };
        listing.conferences.iter().filter_map(|room| Some((room, reason(room)?))).collect()
    }

    /// Returns whether the room was deleted.
    pub(super) async fn end_if_unchanged(&self, doomed: &Deletion<'_>) -> Result<bool, PexipError> {
        let Deletion { room, reason, running } = doomed;
        if !self.delete_if_unchanged(room).await? {
            info!(room = %room.name, "room changed or gone since it was listed, not swept");
            return Ok(false);
        }
        audit::room_swept(&room.name, reason);
        SWEPT.count([(*reason).into()]);
        if *running && let Err(error) = self.pexip.in_background().disconnect(&room.name).await {
            warn!(room = %room.name, %error, "the room is swept, but its call could not be disconnected yet");
        }
        Ok(true)
    }

    /// Reads the room once more by its id before it is deleted: what was decided on must be what is there. A node
    /// that came back from a backup may have given the id to another room. Returns whether it was deleted.
    pub(super) async fn delete_if_unchanged(&self, room: &Conference) -> Result<bool, PexipError> {
        let pexip = self.pexip.in_background();
        let unchanged = pexip.read(room.id).await?.is_some_and(|now| now.is_same_as(room));
        if unchanged {
            pexip.delete(room.id).await?;
        }
        Ok(unchanged)
    }
}
