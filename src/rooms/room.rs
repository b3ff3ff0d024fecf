//! A room as a create asks for it, and as callers get it.

use secrecy::SecretString;
use time::OffsetDateTime;

use crate::domain::{RoomName, Tag, Validity};
use crate::pexip::{Conference, PexipError};

/// `None` if there is no such room.
pub(super) type ReadResult<T> = Result<Option<T>, PexipError>;

/// What a create asks for.
#[derive(Clone, Debug)]
pub struct WantedRoom {
    pub tag: Tag,
    /// Of an instant room.
    pub validity: Validity,
    /// Id of the Entra client that asks.
    pub client: String,
}

/// A room that carries its citizen's tag.
#[derive(Clone, Debug)]
pub enum Room {
    /// A VMR on the management node.
    OnPexip(Conference),
    /// A record.
    Instant(InstantRoom),
}

/// An instant room that can be joined, now or later.
#[derive(Clone, Debug)]
pub struct InstantRoom {
    pub name: RoomName,
    pub host_pin: SecretString,
    pub guest_pin: SecretString,
    pub tag: Option<Tag>,
    /// When it was made, as Pexip writes times.
    pub made_at: String,
    pub valid_from: OffsetDateTime,
    /// Exclusive.
    pub valid_until: OffsetDateTime,
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
