//! Messages in the queue of ended rooms.

use std::fmt;
use std::time::Duration;

use crate::domain::{RoomName, RoomNamePrefix};
use crate::rooms::backend::Backend;
use crate::storage::StorageError;
use crate::storage::queue::LeasedMessage;

/// By then a caller's delete is over, unless its process has stopped.
const LONGEST_DELETE: Duration = Duration::from_secs(30);

/// By then the sweep's delete, which waits longer for its calls, is over.
const LONGEST_SWEEP: Duration = Duration::from_secs(180);

const DELETED: &str = "deleted";
const SWEPT: &str = "swept";
const SWEPT_EMPTY: &str = "swept-empty";

/// What a message in the queue of ended rooms says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rooms) enum EndedMessage {
    /// The room's conference is reported to have ended. A hint: anybody with the event sink's account can send it.
    Hint(RoomName),
    /// A caller's delete of the room has begun. An order: whoever is in it.
    Deleted(RoomName),
    /// The sweep's delete of the room has begun, whoever is in it: its absolute lifetime is over.
    Swept(RoomName),
    /// The sweep's delete of the room has begun. Its conference runs, and all of its legs have one of these aliases.
    SweptEmpty(RoomName, Vec<String>),
}

impl EndedMessage {
    /// `None`: the text is none of ours.
    pub(super) fn read(message: &LeasedMessage, prefix: &RoomNamePrefix) -> Option<Self> {
        message.room.clone().map(Self::Hint).or_else(|| Self::parse_deletion(message.text(), prefix))
    }

    fn parse_deletion(text: &str, prefix: &RoomNamePrefix) -> Option<Self> {
        let mut parts = text.split('\t');
        let (kind, room) = parts.next()?.split_once(' ')?;
        // Aliases may have blanks in them.
        let (room, aliases) = (prefix.parse_name(room)?, parts.map(str::to_owned).collect::<Vec<_>>());
        match (kind, aliases.is_empty()) {
            (DELETED, true) => Some(Self::Deleted(room)),
            (SWEPT, true) => Some(Self::Swept(room)),
            (SWEPT_EMPTY, _) => Some(Self::SweptEmpty(room, aliases)),
            _ => None,
        }
    }

    pub(in crate::rooms) fn room(&self) -> &RoomName {
        match self {
            Self::Hint(room) | Self::Deleted(room) | Self::Swept(room) | Self::SweptEmpty(room, _) => room,
        }
    }

    /// Puts it into the queue.
    pub(in crate::rooms) async fn put(&self, backend: &Backend) -> Result<(), StorageError> {
        let (hidden, lifetime) = match self {
            // The sweep ends the room after that.
            Self::Hint(_) => (backend.rooms.end_grace, backend.rooms.end_grace + backend.rooms.max_lifetime),
            // From then on the sweep disconnects the conference by the time in its name.
            Self::Deleted(_) => (LONGEST_DELETE, backend.longest_life()),
            Self::Swept(_) | Self::SweptEmpty(..) => (LONGEST_SWEEP, backend.longest_life()),
        };
        let (queue, text) = (&backend.ended_queue, self.to_string());
        match queue.put_text(&text, hidden, lifetime).await {
            Err(StorageError::NoSuchQueue) => {
                queue.ensure_exists().await?;
                queue.put_text(&text, hidden, lifetime).await
            }
            put => put,
        }
    }
}

impl fmt::Display for EndedMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hint(room) => room.fmt(formatter),
            Self::Deleted(room) => write!(formatter, "{DELETED} {room}"),
            Self::Swept(room) => write!(formatter, "{SWEPT} {room}"),
            Self::SweptEmpty(room, aliases) => {
                write!(formatter, "{SWEPT_EMPTY} {room}")?;
                aliases.iter().try_for_each(|alias| write!(formatter, "\t{alias}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_read_back_as_they_were_written_and_nothing_else_is_one() {
        let prefix = RoomNamePrefix::parse("vbv-").expect("a prefix");
        let name = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
        let room = prefix.parse_name(name).expect("a name");
        let aliases = vec!["queue@sbc.example.org".to_owned(), "Queue of agents".to_owned()];
        for message in [
            EndedMessage::Deleted(room.clone()),
            EndedMessage::Swept(room.clone()),
            EndedMessage::SweptEmpty(room.clone(), vec![]),
            EndedMessage::SweptEmpty(room, aliases),
        ] {
            assert_eq!(EndedMessage::parse_deletion(&message.to_string(), &prefix), Some(message));
        }
        let foreign = "deleted edge-01jd5p3xk8qqqqqqqqqqqqqqqq";
        let more = format!("deleted {name} {name}");
        for text in ["", "deleted", "deleted boardroom", foreign, &format!("Deleted {name}"), &more] {
            assert_eq!(EndedMessage::parse_deletion(text, &prefix), None, "{text}");
        }
    }
}
