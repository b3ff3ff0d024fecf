//! The claim: the exclusive right to a room.
//!
//! The record decides between all messages that name the room, on all instances. The message's deletion decides beside
//! an older build, which makes no record. Both are asked at the same time, because a citizen waits.

use rand::TryRng;
use rand::rngs::SysRng;
use serde::Serialize;
use time::OffsetDateTime;
use tracing::{info, warn};

use super::backend::Backend;
use crate::domain::{RoomName, named_enum};
use crate::storage::StorageError;
use crate::storage::queue::{Deletion, LeasedMessage};
use crate::storage::records::{Made, RecordName};
use crate::telemetry::audit;
use crate::telemetry::metrics::CLAIM_CONFLICTS;

/// Result of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Ours,
    /// Others have or had the room. It must be neither tagged nor deleted.
    Lost,
}

named_enum! {
    /// Why a claim is lost.
    enum Conflict {
        /// The room has a record of an earlier claim: another message named it, or its claim was interrupted.
        ClaimedBefore = "claimed_before",
        /// The message was received again or deleted. The room's record is ours, so nobody can claim the room any more.
        MessageGone = "message_gone",
    }
}

/// Content of the record of a claim.
#[derive(Serialize)]
struct ClaimRecord {
    /// Random: after a lost answer it tells whose claim it is.
    claim_id: String,
    #[serde(with = "time::serde::rfc3339")]
    claimed_at: OffsetDateTime,
}

/// Claims the room that `message` names.
///
/// Anything but a clear success must count as lost: a room that is not used is swept, a room used twice would mix up
/// two citizens. Run it in a task that no caller cancels.
pub(super) async fn claim(backend: &Backend, message: &LeasedMessage, room: &RoomName) -> Result<Claim, StorageError> {
    // Nothing is deleted while no record can be made.
    backend.records.check()?;
    let record = ClaimRecord { claim_id: random_id(), claimed_at: backend.clock.now_utc() };
    let name = RecordName::claim(room);
    match make_and_delete(backend, &name, &record, message).await {
        Ok((Made::Ours(_), Ok(Deletion::Ours))) => Ok(Claim::Ours),
        Ok((Made::TakenBefore, deleted)) => {
            if let Err(error) = deleted {
                info!(%room, %error, "message of a claimed room could not be deleted");
            }
            Ok(lost(room, Conflict::ClaimedBefore))
        }
        Ok((Made::Ours(_), Ok(Deletion::Lost))) => Ok(lost(room, Conflict::MessageGone)),
        Err(error) | Ok((_, Err(error))) => {
            warn!(%room, %error, "claim without a clear answer, room abandoned");
            Err(error)
        }
    }
}

/// Makes the record and deletes the message at the same time, or one after the other if the latest write of a record
/// failed: where the records can be read but not written, each probe lets claims through, and each message deleted
/// without a record is a room lost.
async fn make_and_delete(
    backend: &Backend,
    name: &RecordName,
    record: &ClaimRecord,
    message: &LeasedMessage,
) -> Result<(Made, Result<Deletion, StorageError>), StorageError> {
    let Backend { queue, records, .. } = backend;
    if records.has_write_failed() {
        let made = records.make(name, record).await?;
        return Ok((made, queue.delete(message).await));
    }
    let (made, deleted) = tokio::join!(records.make(name, record), queue.delete(message));
    Ok((made?, deleted))
}

fn lost(room: &RoomName, conflict: Conflict) -> Claim {
    warn!(%room, reason = conflict.as_str(), "claim conflict, room not used");
    audit::claim_conflict(room, conflict.as_str());
    CLAIM_CONFLICTS.count([conflict.as_str().into()]);
    Claim::Lost
}

/// An id that no other record has.
pub(super) fn random_id() -> String {
    let mut random = [0; 16];
    SysRng.try_fill_bytes(&mut random).expect("a machine without a random source cannot keep rooms apart");
    hex::encode(random)
}
