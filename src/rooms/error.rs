//! Why the pool could not do what it was asked to.

use std::time::Duration;

use super::fitness::Unfit;
use crate::pexip::{Closed, InvalidServiceConfiguration, PexipError};
use crate::storage::StorageError;

/// Why the pool could not be counted, filled or drained.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Pexip(#[from] PexipError),
    #[error(transparent)]
    Queue(#[from] StorageError),
    /// The room exists, but no message names it. The sweep deletes it.
    #[error("provisioning took so long that the message would expire at once")]
    ProvisionTooSlow,
    /// The task that did the work panicked.
    #[error("the work was interrupted")]
    Interrupted,
    /// An operator's command reached its time limit.
    #[error("the time limit of one run is reached")]
    OutOfTime,
}

impl PoolError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Pexip(error) => error.remedy(),
            Self::Queue(error) => error.remedy(),
            Self::ProvisionTooSlow => "raise POOL_ROOM_MAX_AGE_SECONDS, or find out why the management node is slow",
            Self::Interrupted | Self::OutOfTime => "run it again: it continues where it stopped",
        }
    }
}

/// Why no room was handed out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TakeRoomError {
    /// No source gave a room.
    #[error("no room: {0}")]
    NoRoom(#[from] NoRoom),
    /// Pexip does not let us check or tag a room.
    #[error(transparent)]
    Pexip(#[from] PexipError),
    /// The claimed room may carry the tag. It is destroyed.
    #[error("the room could not be tagged: {0}")]
    TagUnconfirmed(PexipError),
    /// The room records do not answer, and this create needs them.
    #[error("room records: {0}")]
    Records(#[from] StorageError),
    /// The room's validity begins while Pexip is closed.
    #[error("Pexip is {0}")]
    Closed(Closed),
    /// Conferencing Nodes would drop the service configuration of the room.
    #[error("instant room: {0}")]
    InvalidInstantRoom(#[from] InvalidServiceConfiguration),
    #[error("the Idempotency-Key was used for another case")]
    KeyReused,
    /// Another request with this key is being processed.
    #[error("another request with this Idempotency-Key is running")]
    InProgress { retry_in: Duration },
    #[error("the room of this Idempotency-Key has ended")]
    RoomEnded,
    /// The task that did the work panicked.
    #[error("the work was interrupted")]
    Interrupted,
}

impl TakeRoomError {
    /// Whether Pexip may have a room for this request.
    pub(super) fn may_have_left_room(&self) -> bool {
        match self {
            Self::TagUnconfirmed(_)
            | Self::NoRoom(NoRoom::DirectUnconfirmed(_) | NoRoom::DirectUnfit(_))
            | Self::Interrupted => true,
            Self::NoRoom(_)
            | Self::Pexip(_)
            | Self::Records(_)
            | Self::Closed(_)
            | Self::InvalidInstantRoom(_)
            | Self::KeyReused
            | Self::InProgress { .. }
            | Self::RoomEnded => false,
        }
    }
}

/// Why no source gave a room.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoRoom {
    #[error("the pool is empty and POOL_EMPTY=refuse")]
    Refused,
    #[error("the pool is empty and too many others wait for a direct room")]
    TooManyDirect,
    #[error("the hard cap of twice POOL_MAX_ROOMS is reached")]
    HardCap,
    #[error("the pool is empty and creating a direct room failed: {0}")]
    DirectFailed(PexipError),
    /// The room may exist. It is destroyed.
    #[error("the pool is empty and a direct room may have been created: {0}")]
    DirectUnconfirmed(PexipError),
    /// The node made another room than it was asked for. It is destroyed.
    #[error("the pool is empty and a direct room was not made as asked for: {}", .0.as_str())]
    DirectUnfit(Unfit),
    #[error("no room before the deadline")]
    OutOfTime,
}
