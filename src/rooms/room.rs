//! A room that was handed out.

use time::OffsetDateTime;

use super::instant::InstantRoom;
use crate::domain::{RoomName, Tag};
use crate::pexip::Conference;

/// A room that carries its citizen's tag.
#[derive(Clone, Debug)]
pub enum Room {
    /// A VMR on the management node.
    OnPexip(Conference),
    /// A record.
    Instant(InstantRoom),
}

impl Room {
    pub fn name(&self) -> &RoomName {
        match self {
            Self::OnPexip(conference) => &conference.name,
            Self::Instant(room) => &room.name,
        }
    }

    /// From when and until when an instant room can be joined.
    pub fn validity(&self) -> Option<[OffsetDateTime; 2]> {
        match self {
            Self::OnPexip(_) => None,
            Self::Instant(room) => Some([room.valid_from, room.valid_until]),
        }
    }

    pub(super) fn tag(&self) -> Option<&Tag> {
        match self {
            Self::OnPexip(conference) => conference.tag.as_ref(),
            Self::Instant(room) => room.tag.as_ref(),
        }
    }
}
