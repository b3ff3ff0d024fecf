use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Inner;
use super::census::BothClocks;
use crate::pexip::{Conference, ConferenceId, Listing, PexipError};
use crate::room::RoomName;

/// Between the two looks at a room in which nobody may be. A citizen whose phone changes networks is away for less.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);

/// Rooms that one run may fail to end before it breaks off.
const MOST_FAILED: usize = 3;

/// Why a room is swept.
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
}

impl Inner {
    /// Ends the rooms whose time is over, at most as many as `SWEEP_MAX_DELETIONS`, until `until`. Returns how many.
    pub(super) async fn sweep(&self, listing: &Listing, until: Instant) -> Result<usize, PexipError> {
        let (ended, perhaps_empty): (Vec<_>, Vec<_>) =
            self.sweepable(listing).into_iter().partition(|(_, reason)| *reason == Reason::PastAbsoluteLifetime);
        let mut doomed = ended;
        if !perhaps_empty.is_empty() {
            let presence = self.pexip.in_background().presence().await?;
            let reasons: HashMap<_, _> = perhaps_empty.iter().map(|(room, reason)| (room.id, *reason)).collect();
            let empty = perhaps_empty.iter().map(|(room, _)| *room).filter(|room| !presence.is_occupied(&room.name));
            let twice = self.sweep.seen_empty_twice(empty.collect());
            doomed.extend(twice.into_iter().map(|room| (room, reasons[&room.id])));
        }
        let cap = self.config.sweep_max_deletions;
        if doomed.len() > cap {
            warn!(rooms = doomed.len(), cap, "more rooms to sweep than one run may delete");
        }
        let (mut swept, mut failed) = (0, 0);
        for (room, reason) in doomed.into_iter().take(cap) {
            if Instant::now() >= until {
                info!(swept, "the sweep goes on in the next run");
                break;
            }
            match self.end_if_unchanged(room, reason).await {
                Ok(ended) => swept += usize::from(ended),
                // One room that cannot be ended must not keep those behind it; a node in trouble answers all alike.
                Err(error) if failed == MOST_FAILED => return Err(error),
                Err(error) => {
                    warn!(room = %room.name, %error, "room could not be swept");
                    failed += 1;
                }
            }
        }
        Ok(swept)
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

    async fn end_if_unchanged(&self, room: &Conference, reason: Reason) -> Result<bool, PexipError> {
        if !self.delete_if_unchanged(room).await? {
            info!(room = %room.name, "room changed or gone since it was listed, not swept");
            return Ok(false);
        }
        info!(room = %room.name, reason = reason.as_str(), "room swept");
        if reason == Reason::PastAbsoluteLifetime
            && let Err(error) = self.pexip.in_background().disconnect(&room.name).await
        {
            warn!(room = %room.name, %error, "the room is swept, but its call could not be disconnected");
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
