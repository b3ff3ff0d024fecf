//! One create request: where it stands, and what it still has in flight.
//!
//! ```text
//! NotArrived ─▶ Keying ─▶ Waiting ─▶ Claiming ─▶ Tagging ─▶ Tagged ─▶ Noting ─▶ Noted ─▶ Answered
//!                  │         │           │           │          │        │         │
//!                  ▼         ▼           ▼           ▼          ▼        ▼         ▼
//!              Replaying  Removing  next room    Destroying: the room is deleted   kept: the key finds it
//! ```
//!
//! Keying, replaying, removing and noting exist only with an `Idempotency-Key`; a direct room skips claiming and tagging.

use crate::queue::Message;
use crate::records::{KeyRecord, KeyWrite};
use crate::world::{Id, Instance, Room};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) at: Instance,
    pub(crate) phase: Phase,
    /// The id that an abandoned PATCH may still reach.
    pub(crate) late_tag: Option<Id>,
    /// An abandoned write to the key's record. Of two such writes only the last is followed.
    pub(crate) late_key: Option<KeyWrite>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    #[default]
    NotArrived,
    /// The key's record is made or taken over.
    Keying(KeyCall, Attempt),
    /// Answers the room in the key's record.
    Replaying(Room),
    Waiting,
    Claiming(Claiming),
    /// Claimed, except with the mistakes that tag too early.
    Tagging(ReadyRoom),
    Tagged(TaggedRoom),
    /// The first change of the key's record to done was not answered.
    Noting(TaggedRoom, NoteCall, Attempt),
    /// The key's record says done.
    Noted(TaggedRoom),
    /// The POST of a direct room was sent.
    MakingDirect(Room),
    Answered(Room),
    Destroying {
        room: Room,
        id: Id,
        checked: bool,
    },
    /// The request fails without a room: its key's record is removed.
    Removing,
    Failed,
}

impl Phase {
    /// The room that an unfinished request works on.
    pub(crate) fn room_in_hand(self) -> Option<Room> {
        match self {
            Self::Claiming(Claiming { ready, .. }) | Self::Tagging(ready) => Some(ready.message.room),
            Self::Tagged(TaggedRoom { room, .. })
            | Self::Noting(TaggedRoom { room, .. }, ..)
            | Self::Noted(TaggedRoom { room, .. })
            | Self::MakingDirect(room)
            | Self::Destroying { room, .. } => Some(room),
            Self::NotArrived
            | Self::Keying(..)
            | Self::Replaying(_)
            | Self::Waiting
            | Self::Answered(_)
            | Self::Removing
            | Self::Failed => None,
        }
    }

    pub(crate) fn is_under_way(self) -> bool {
        !matches!(self, Self::NotArrived | Self::Answered(_) | Self::Failed)
    }
}

/// A leased message and the room that it names, as the instance checked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadyRoom {
    pub(crate) message: Message,
    pub(crate) id: Id,
    /// No node failure since the id was looked up.
    pub(crate) fresh: bool,
}

/// The node has answered that the tag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TaggedRoom {
    pub(crate) room: Room,
    pub(crate) id: Id,
    /// The node was not restored since.
    pub(crate) kept: bool,
}

/// The two halves of a claim, which run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claiming {
    pub(crate) ready: ReadyRoom,
    pub(crate) record: RecordHalf,
    pub(crate) message: MessageHalf,
    /// The tag is written already, by mistake.
    pub(crate) tagged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RecordHalf {
    Make(Attempt),
    /// The make was not answered, or the second one met a record: whose is it?
    Read(Attempt),
    Ours,
    NotOurs,
    /// An old build, which knows no records.
    NotNeeded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MessageHalf {
    Delete(Attempt),
    Deleted,
    /// Deleted by somebody else, or unknown.
    NotOurs,
}

/// The next call for the key's record, before the request takes a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyCall {
    Make,
    Read,
    /// Of a record that was running past its time when it was read.
    TakeOver(KeyRecord),
}

/// The next call for the key's record, after the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NoteCall {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    First,
    /// The same call again, after the first was unanswered.
    Second,
}

/// `DELETE /room/{name}` for an answered room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum End {
    #[default]
    NotAsked,
    /// The room was looked up. Next the message is put.
    Noting {
        at: Instance,
        id: Id,
    },
    Deleting {
        at: Instance,
        id: Id,
        /// One delete was sent without an answer; it may have been carried out.
        unanswered: bool,
    },
    /// The room is gone. Next its call is disconnected.
    Disconnecting {
        at: Instance,
    },
    Done,
}

impl End {
    /// The instance at work on it.
    pub(crate) fn instance(self) -> Option<Instance> {
        match self {
            Self::NotAsked | Self::Done => None,
            Self::Noting { at, .. } | Self::Deleting { at, .. } | Self::Disconnecting { at } => Some(at),
        }
    }
}
