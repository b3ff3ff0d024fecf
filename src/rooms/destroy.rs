//! Deletes rooms that cannot be handed out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

use super::Room;
use super::backend::Backend;
use super::delete::delete_if_there;
use super::instant::{InstantEnd, end_record};
use crate::domain::{RoomName, named_enum};
use crate::pexip::ConferenceId;
use crate::telemetry::audit;
use crate::telemetry::metrics::DESTROYED;

/// Bounds the deletions in the background. Rooms beyond it are left to the sweep.
const MAX_DESTROY_TASKS: usize = 256;

named_enum! {
    /// Why a room is destroyed.
    pub(super) enum DestroyReason {
        /// The room was claimed, and its tag could not be written.
        TagFailed = "tag_failed",
        /// The caller hung up before the answer.
        CallerGone = "caller_gone",
        /// Another request with the same key was started meanwhile.
        KeyTakenOver = "key_taken_over",
        /// The room may have been created, but could not be read.
        CreateUnconfirmed = "create_unconfirmed",
        /// The created room is not as it was to be made.
        RoomUnfit = "room_unfit",
        /// The create took so long that the room's message would expire at once.
        ProvisionTooSlow = "provision_too_slow",
        /// The queue refused the room's message.
        MessageNotPut = "message_not_put",
    }
}

/// Destroys rooms in the background. Cheap to clone; clones share the bound.
#[derive(Clone)]
pub(super) struct Destroyer {
    backend: Arc<Backend>,
    permits: Arc<Semaphore>,
}

impl Destroyer {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, permits: Arc::new(Semaphore::new(MAX_DESTROY_TASKS)) }
    }

    /// Deletes a room that cannot be handed out. Where that fails, the sweep deletes it later. Without an `id` the
    /// room may not exist.
    pub(super) fn destroy(&self, id: Option<ConferenceId>, name: RoomName, reason: DestroyReason) {
        let Some(permit) = self.begin(&name, reason) else { return };
        let backend = Arc::clone(&self.backend);
        tokio::spawn(async move {
            let _permit = permit;
            for pause in [0, 1, 5] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                match delete_if_there(&backend.background, id, &name).await {
                    Ok(()) => return,
                    Err(error) => info!(room = %name, %error, "destroyed room could not be deleted, trying again"),
                }
            }
        });
    }

    /// Deletes or ends a room that no caller has. An instant room that cannot be ended ends by its validity.
    pub(super) fn destroy_handed_out(&self, room: Room, reason: DestroyReason) {
        let name = match room {
            Room::OnPexip(conference) => return self.destroy(Some(conference.id), conference.name, reason),
            Room::Instant(room) => room.name,
        };
        let Some(permit) = self.begin(&name, reason) else { return };
        let backend = Arc::clone(&self.backend);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = end_record(&backend, &name, InstantEnd::Destroyed).await {
                info!(room = %name, %error, "destroyed instant room could not be ended");
            }
        });
    }

    /// Records that a room is destroyed. `None` if enough are being deleted.
    fn begin(&self, name: &RoomName, reason: DestroyReason) -> Option<OwnedSemaphorePermit> {
        audit::room_destroyed(name, reason.as_str());
        DESTROYED.count([]);
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }
}
