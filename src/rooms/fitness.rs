//! Whether a room is still as this service made it. Others can change it on the node, and a setting may have changed
//! since.

use secrecy::ExposeSecret;

use crate::domain::{HostPin, Tag, named_enum};
use crate::pexip::Conference;

named_enum! {
    /// What makes a room unfit to be handed out.
    pub enum Unfit {
        /// It is no conference, such as a test call.
        ServiceType = "service_type",
        NoGuests = "no_guests",
        /// None, or not in the form of the settings. An account that may not see PINs finds none.
        Pins = "pins",
        /// Its name is not its only alias.
        Alias = "alias",
        /// The node has another tag than was written, or none.
        Tag = "tag",
        /// Neither mark: its age is unknown, so the sweep would never delete it.
        Unmarked = "unmarked",
    }
}

/// What makes this room unfit, if anything does.
pub(super) fn check_fitness(room: &Conference, host_pin: &HostPin) -> Result<(), Unfit> {
    let has_own_alias = matches!(room.aliases.as_slice(), [only] if only.alias == room.name.as_str());
    let is_marked = room.marks.ready_until.or(room.marks.handed_out).is_some();
    if room.service_type != "conference" {
        Err(Unfit::ServiceType)
    } else if !room.allow_guests {
        Err(Unfit::NoGuests)
    } else if !host_pin.has_made(room.host_pin.expose_secret(), room.guest_pin.expose_secret()) {
        Err(Unfit::Pins)
    } else if !has_own_alias {
        Err(Unfit::Alias)
    } else if !is_marked {
        Err(Unfit::Unmarked)
    } else {
        Ok(())
    }
}

/// Whether the room carries the tag that it was made with.
pub(super) fn check_tag(room: &Conference, written: Option<&Tag>) -> Result<(), Unfit> {
    if room.tag.as_ref().map(Tag::expose) == written.map(Tag::expose) { Ok(()) } else { Err(Unfit::Tag) }
}
