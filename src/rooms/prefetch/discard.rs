//! Removes poison messages and dead messages from the queue.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::rooms::fitness::Unfit;
use crate::storage::queue::{LeasedMessage, RoomQueue};

/// How often a message that is not a room name is received before it is set aside: it may be another version's.
const MAX_RECEIVES: i64 = 5;

/// Dead messages that one instance deletes per minute on weak evidence. A node that answers wrongly must not drain the
/// pool.
const MAX_DELETIONS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// A message whose room cannot be handed out.
pub(super) enum Unusable {
    /// Not a room name.
    Poison(LeasedMessage),
    Dead(LeasedMessage, DeadReason),
}

impl Unusable {
    fn message(&self) -> &LeasedMessage {
        match self {
            Self::Poison(message) | Self::Dead(message, _) => message,
        }
    }
}

/// Why the room that a message names cannot be handed out.
#[derive(Clone, Copy)]
pub(super) enum DeadReason {
    /// Another message names the room, and it is ready or being claimed.
    DuplicateMessage,
    RoomHandedOut,
    RoomNotFound,
    RoomUnfit(Unfit),
}

impl DeadReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateMessage => "duplicate_message",
            Self::RoomHandedOut => "room_handed_out",
            Self::RoomNotFound => "room_not_found",
            Self::RoomUnfit(unfit) => unfit.as_str(),
        }
    }
}

/// Which rooms of ours a look-up found. Decides whether the rooms that it did not find can be taken as deleted.
#[derive(Clone, Copy)]
pub(super) enum RoomsFound {
    /// No evidence: a wrong answer may be empty as well, on every instance.
    None,
    /// By answers about them alone.
    InOtherAnswers,
    /// The same answer names others.
    InTheSameAnswer,
}

/// Removes unusable messages in the background. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub(super) struct Discarder {
    queue: RoomQueue,
    deletions: Arc<DefaultDirectRateLimiter>,
    /// One batch at a time.
    batch: Arc<Semaphore>,
}

impl Discarder {
    pub(super) fn new(queue: RoomQueue) -> Self {
        let deletions = Arc::new(RateLimiter::direct(Quota::per_minute(MAX_DELETIONS_PER_MINUTE)));
        Self { queue, deletions, batch: Arc::new(Semaphore::new(1)) }
    }

    /// Removes the messages beside the fill loop: each takes calls to the queue, and requests may wait for the rooms
    /// behind them. Messages that are not removed are received again.
    pub(super) fn discard(&self, messages: Vec<Unusable>, found: RoomsFound) {
        let Ok(permit) = Arc::clone(&self.batch).try_acquire_owned() else { return };
        let discarder = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            for unusable in messages {
                // Others may have received it since.
                if Instant::now() >= unusable.message().lease_ends {
                    return;
                }
                match unusable {
                    Unusable::Poison(message) => discarder.set_aside(&message).await,
                    Unusable::Dead(message, reason) => discarder.delete(&message, reason, found).await,
                }
            }
        });
    }

    async fn set_aside(&self, message: &LeasedMessage) {
        if message.receives < MAX_RECEIVES {
            return;
        }
        match self.queue.set_aside(message).await {
            Ok(()) => warn!(receives = message.receives, "poison message moved to the poison queue"),
            Err(error) => info!(%error, "poison message could not be moved, trying again"),
        }
    }

    async fn delete(&self, message: &LeasedMessage, reason: DeadReason, found: RoomsFound) {
        let is_limited = match (reason, found) {
            (DeadReason::RoomNotFound, RoomsFound::None) => return,
            (DeadReason::RoomNotFound, RoomsFound::InTheSameAnswer) => false,
            _ => true,
        };
        let room = message.room.as_ref().map(ToString::to_string).unwrap_or_default();
        let reason = reason.as_str();
        if is_limited && self.deletions.check().is_err() {
            warn!(room, reason, "dead message left in the queue: too many in this minute");
            return;
        }
        info!(room, reason, "dead message deleted");
        if let Err(error) = self.queue.discard(message).await {
            info!(room, %error, "dead message could not be deleted");
        }
    }
}
