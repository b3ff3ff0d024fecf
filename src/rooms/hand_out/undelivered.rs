//! A handed-out room until its answer is written.

use std::time::Duration;

use super::Source;
use crate::rooms::Room;
use crate::rooms::destroy::{DestroyReason, Destroyer};

/// A room for one citizen, and where it comes from.
#[derive(Debug)]
pub struct HandedOut {
    pub room: Room,
    pub source: Source,
    /// Time until the room can be joined. `None` if it can be joined at once.
    pub joinable_after: Option<Duration>,
    /// Whether an earlier request with the same key got this room.
    pub is_replay: bool,
}

/// A handed-out room on its way to the caller. Dropped before it is delivered, it is destroyed: no caller knows it.
pub struct Undelivered {
    /// `None` for a room that a repetition with its key finds again.
    destroyer: Option<Destroyer>,
    room: Option<HandedOut>,
}

impl Undelivered {
    pub(super) fn new(destroyer: Destroyer, room: HandedOut) -> Self {
        Self { destroyer: Some(destroyer), room: Some(room) }
    }

    /// A room that is kept if it is dropped before it is delivered.
    pub(super) fn kept(room: HandedOut) -> Self {
        Self { destroyer: None, room: Some(room) }
    }

    /// Takes the room out. To be called when its answer is written.
    pub fn deliver(mut self) -> HandedOut {
        self.room.take().expect("only this method takes the room, and it consumes `self`")
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        if let (Some(HandedOut { room, .. }), Some(destroyer)) = (self.room.take(), &self.destroyer) {
            destroyer.destroy_handed_out(room, DestroyReason::CallerGone);
        }
    }
}

impl std::fmt::Debug for Undelivered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Undelivered").field("room", &self.room).finish_non_exhaustive()
    }
}
