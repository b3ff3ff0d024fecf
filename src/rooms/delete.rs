//! Deletes a room on Pexip after checking that it is still the one that was meant.
//!
//! A node that came back from a backup assigns its ids again, so an id alone may name another room by now.

use tracing::{info, warn};

use crate::domain::{RoomName, named_enum};
use crate::pexip::{Conference, ConferenceId, PexipClient, PexipError};
use crate::telemetry::audit;
use crate::telemetry::metrics::SWEPT;

named_enum! {
    /// Why the service ended a room by itself.
    pub(super) enum EndReason {
        /// Never handed out, and too old to be.
        Unused = "unused",
        /// Handed out longer ago than `ROOM_MAX_LIFETIME_SECONDS`.
        PastLifetime = "past_lifetime",
        /// Handed out longer ago than `ROOM_ABSOLUTE_LIFETIME_SECONDS`: ended even if participants are in it.
        PastAbsoluteLifetime = "past_absolute_lifetime",
        /// Its conference ended, and its grace period is over.
        ConferenceEnded = "ended",
    }
}

/// Deletes the room of this name. Where the id is known, both must match.
pub(super) async fn delete_if_there(
    pexip: &PexipClient,
    id: Option<ConferenceId>,
    name: &RoomName,
) -> Result<(), PexipError> {
    let found = match id {
        Some(id) => pexip.read(id).await?.filter(|room| room.name == *name),
        None => pexip.find_by_name(name).await?,
    };
    if let Some(room) = found {
        pexip.delete(room.id).await?;
    }
    Ok(())
}

/// Deletes the room if name, tag and marks are still those that the decision was based on. Returns whether it did.
pub(super) async fn delete_if_unchanged(pexip: &PexipClient, room: &Conference) -> Result<bool, PexipError> {
    let unchanged = pexip.read(room.id).await?.is_some_and(|now| now.is_same_as(room));
    if unchanged {
        pexip.delete(room.id).await?;
    }
    Ok(unchanged)
}

/// Ends an expired room: deletes it, then disconnects its conference if one `is_running`; otherwise dialled-out legs
/// would continue without the room. Returns whether the room was deleted.
pub(super) async fn end_if_unchanged(
    pexip: &PexipClient,
    room: &Conference,
    reason: EndReason,
    is_running: bool,
) -> Result<bool, PexipError> {
    if !delete_if_unchanged(pexip, room).await? {
        info!(room = %room.name, "room changed or deleted since it was listed, not swept");
        return Ok(false);
    }
    audit::room_swept(&room.name, reason.as_str());
    SWEPT.count([reason.as_str().into()]);
    if is_running && let Err(error) = pexip.disconnect(&room.name).await {
        warn!(room = %room.name, %error, "room swept, but its conference could not be disconnected");
    }
    Ok(true)
}

/// Ends the room of this name because a caller asks for it: deletes it, so that nobody can join any more, calls
/// `on_deleted`, then disconnects its conference. Returns whether there was such a room.
pub(super) async fn end_on_request(
    pexip: &PexipClient,
    name: &RoomName,
    on_deleted: impl FnOnce(),
) -> Result<bool, PexipError> {
    let Some(conference) = pexip.find_by_name(name).await? else { return Ok(false) };
    match pexip.delete(conference.id).await {
        // The answer may have been lost. The second attempt checks the name as well: the node may have come back from
        // a backup in between.
        Err(error) if error.is_ambiguous() => delete_if_there(pexip, Some(conference.id), name).await?,
        settled => settled?,
    }
    on_deleted();
    if let Err(error) = pexip.disconnect(name).await {
        warn!(room = %name, %error, "room deleted, but its conference could not be disconnected");
    }
    Ok(true)
}
