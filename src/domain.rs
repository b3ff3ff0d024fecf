//! Rules of a room's name, PINs, tag and marks; the clock; keyed hashes. No input or output.

mod clock;
mod hash_key;
mod marks;
mod name;
mod pin;
mod tag;

pub use clock::Clock;
pub use hash_key::HashKey;
pub use marks::Marks;
pub use name::{InvalidRoomNamePrefix, RoomName, RoomNamePrefix};
pub use pin::{HostPin, InvalidPin, Pin, Pins};
pub use tag::{InvalidUuiData, LONGEST_TAG, LONGEST_TAG_SEGMENT, Tag, TagRule, UuiData, UuiDataFormat};
