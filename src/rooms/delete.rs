//! Deletes a room on Pexip after checking that it is still the one that was meant.
//!
//! A node that came back from a backup assigns its ids again, so an id alone may name another room by now.
//!
//! Before a delete that may leave a conference running, a message in the queue of ended rooms says so: if the process
//! stops, another one finishes. A room that is missing on the node says nothing: the node may have lost it.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::PoolError;
use super::backend::Backend;
use super::ended::EndedMessage;
use crate::domain::{RoomName, named_enum};
use crate::pexip::{Conference, ConferenceId, PexipClient, PexipError, Presence};
use crate::telemetry::audit;
use crate::telemetry::metrics::SWEPT;

/// How long a caller's delete waits for its message to be in the queue. It is an order: without the message, it is
/// carried out all the same.
const MAX_MESSAGE_WAIT: Duration = Duration::from_secs(2);

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
        /// A caller's delete was begun and has not removed it.
        Interrupted = "interrupted",
    }
}

/// What became of a room that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Deleted,
    /// Somebody is in it. It stays.
    Occupied,
    /// Its name, tag or marks changed, or it is gone.
    Changed,
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

/// Deletes the room if its name, tag and marks have not changed since the decision, and nobody is in it now. With
/// `may_run` its conference may be running, with legs of its automatic participants only.
pub(super) async fn delete_if_empty(
    pexip: &PexipClient,
    room: &Conference,
    may_run: bool,
) -> Result<Outcome, PexipError> {
    if !check_unchanged(pexip, room).await? {
        return Ok(Outcome::Changed);
    }
    // Last: people can come back at any time, and a node takes longer to be restored than this call.
    let presence = pexip.presence_in(&room.name).await?;
    if presence.is_occupied(room) || (presence.is_running(&room.name) && !may_run) {
        return Ok(Outcome::Occupied);
    }
    pexip.delete(room.id).await?;
    Ok(Outcome::Deleted)
}

async fn check_unchanged(pexip: &PexipClient, room: &Conference) -> Result<bool, PexipError> {
    Ok(pexip.read(room.id).await?.is_some_and(|now| now.is_same_as(room)))
}

/// Ends an expired room that `presence` shows empty, unless somebody is in it by now: deletes it, then disconnects its
/// conference, because dialled legs would continue without the room. Who joined during the delete keeps the call.
pub(super) async fn end_if_empty(
    backend: &Backend,
    room: &Conference,
    reason: EndReason,
    presence: &Presence,
) -> Result<Outcome, PoolError> {
    let pexip = &backend.background;
    let runs = presence.is_running(&room.name);
    if runs {
        EndedMessage::SweptEmpty(room.name.clone(), room.automatic_participants.clone()).put(backend).await?;
    }
    let outcome = delete_if_empty(pexip, room, runs).await?;
    report(room, reason, outcome);
    if outcome == Outcome::Deleted
        && runs
        && let Err(error) = disconnect_if_empty(pexip, &room.name, &room.automatic_participants).await
    {
        warn!(room = %room.name, %error, "room swept, but its conference could not be disconnected");
    }
    Ok(outcome)
}

/// Ends a room that is past its absolute lifetime, whoever is in it.
pub(super) async fn end_if_unchanged(
    backend: &Backend,
    room: &Conference,
    reason: EndReason,
) -> Result<Outcome, PoolError> {
    let pexip = &backend.background;
    EndedMessage::Swept(room.name.clone()).put(backend).await?;
    if !check_unchanged(pexip, room).await? {
        report(room, reason, Outcome::Changed);
        return Ok(Outcome::Changed);
    }
    pexip.delete(room.id).await?;
    report(room, reason, Outcome::Deleted);
    if let Err(error) = pexip.disconnect(&room.name).await {
        warn!(room = %room.name, %error, "room swept, but its conference could not be disconnected");
    }
    Ok(Outcome::Deleted)
}

fn report(room: &Conference, reason: EndReason, outcome: Outcome) {
    match outcome {
        Outcome::Deleted => report_ended(&room.name, reason),
        Outcome::Occupied => {}
        Outcome::Changed => info!(room = %room.name, "room changed or deleted since it was listed, not swept"),
    }
}

fn report_ended(name: &RoomName, reason: EndReason) {
    audit::room_swept(name, reason.as_str());
    SWEPT.count([reason.as_str().into()]);
}

/// Disconnects the conference of an ended room, if all of its legs have one of the aliases in `dialled`.
pub(super) async fn disconnect_if_empty(
    pexip: &PexipClient,
    name: &RoomName,
    dialled: &[String],
) -> Result<(), PexipError> {
    let presence = pexip.presence_in(name).await?;
    if presence.has_people(name, dialled) {
        info!(room = %name, "somebody joined while the room was ended, the call continues");
        return Ok(());
    }
    pexip.disconnect_seen(&presence, name).await
}

/// Ends the room of this name because a caller asks for it: deletes it, so that nobody can join any more, calls
/// `on_deleted`, then disconnects its conference, whoever is in it. Returns whether there was such a room; `client` is
/// who asks.
pub(super) async fn end_on_request(
    backend: &Backend,
    name: &RoomName,
    client: &str,
    on_deleted: impl FnOnce(),
) -> Result<bool, PexipError> {
    let pexip = &backend.pexip;
    let Some(conference) = pexip.find_to_delete(name, client).await? else { return Ok(false) };
    match timeout(MAX_MESSAGE_WAIT, EndedMessage::Deleted(name.clone()).put(backend)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(room = %name, %error, "delete goes on without its message"),
        Err(_) => warn!(room = %name, error = "no answer in time", "delete goes on without its message"),
    }
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

/// Finishes a delete whose message is still in the queue: another process began it, or the node failed meanwhile.
/// `room` is the room of this name and `presence` a snapshot of all rooms, both read after the message. Returns whether
/// nothing is left to do.
pub(super) async fn finish(
    pexip: &PexipClient,
    message: &EndedMessage,
    room: Option<&Conference>,
    presence: &Presence,
) -> Result<bool, PexipError> {
    let runs = presence.is_running(message.room());
    match (message, room) {
        (EndedMessage::Deleted(name), Some(room)) => {
            delete_if_there(pexip, Some(room.id), name).await?;
            report_ended(name, EndReason::Interrupted);
            pexip.disconnect(name).await?;
            Ok(false)
        }
        (EndedMessage::Deleted(name) | EndedMessage::Swept(name), None) if runs => {
            pexip.disconnect(name).await?;
            Ok(false)
        }
        (EndedMessage::SweptEmpty(name, dialled), None) if runs => {
            disconnect_if_empty(pexip, name, dialled).await?;
            Ok(true)
        }
        // The sweep decides anew about a room that is there.
        _ => Ok(true),
    }
}
