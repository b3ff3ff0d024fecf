use crate::pexip::PexipError;
use crate::storage::queue::QueueError;

/// Why the pool could not be counted, filled or emptied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Pexip(#[from] PexipError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The room is there, but no message names it: the sweep's.
    #[error("making the room took so long that its message would have no time to live")]
    TooLate,
    /// The task that did the work is gone.
    #[error("the work was interrupted")]
    Interrupted,
    /// A command has run for as long as it may.
    #[error("there is more to do than one run may take")]
    OutOfTime,
}

impl PoolError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Pexip(error) => error.remedy(),
            Self::Queue(error) => error.remedy(),
            Self::TooLate => "raise POOL_ROOM_MAX_AGE_SECONDS, or find out why the management node is slow",
            Self::Interrupted | Self::OutOfTime => "run it again: it goes on where it stopped",
        }
    }
}
