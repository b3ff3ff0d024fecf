//! Rules of a room's name, PINs, tag, marks and properties; service hours; the clock; keyed hashes. No input or output.

mod clock;
mod hash_key;
mod idempotency_key;
mod marks;
mod name;
mod names;
mod pin;
mod room_properties;
mod service_hours;
mod tag;
mod tag_url;
mod uui_data;
mod validity;

pub use clock::Clock;
pub use hash_key::HashKey;
pub use idempotency_key::{IdempotencyKey, InvalidIdempotencyKey};
pub use marks::Marks;
pub use name::{ForeignRoomName, InvalidRoomNamePrefix, ReadablePrefix, RoomName, RoomNamePrefix};
pub(crate) use names::named_enum;
pub use pin::{HostPin, InvalidPin, Pin, Pins};
pub use room_properties::{InvalidRoomProperties, RoomProperties};
pub use service_hours::{ClosedDates, InvalidServiceHours, ServiceHours};
pub use tag::{LONGEST_TAG, Tag, TagRule, UuiDataFormat};
pub use tag_url::{InvalidTagUrl, TagHost, TagUrl};
pub use uui_data::{InvalidUuiData, UuiData};
pub(crate) use validity::FURTHEST_START;
pub use validity::{GivenValidity, InvalidValidity, Validity};
