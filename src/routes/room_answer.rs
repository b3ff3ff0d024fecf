use secrecy::ExposeSecret;
use serde::Serialize;

use crate::pexip::{Alias, Conference};
use crate::room::Tag;

/// A `ConstrainedConference`: what callers see of a room, exactly these fields. Holds both PINs and the tag.
#[derive(Serialize)]
pub(super) struct ConstrainedConference<'a> {
    id: u64,
    name: &'a str,
    service_type: &'a str,
    allow_guests: bool,
    pin: &'a str,
    guest_pin: &'a str,
    tag: &'a str,
    aliases: &'a [Alias],
}

impl<'a> From<&'a Conference> for ConstrainedConference<'a> {
    fn from(conference: &'a Conference) -> Self {
        Self {
            id: conference.id.get(),
            name: conference.name.as_str(),
            service_type: &conference.service_type,
            allow_guests: conference.allow_guests,
            pin: conference.host_pin.expose_secret(),
            guest_pin: conference.guest_pin.expose_secret(),
            tag: conference.tag.as_ref().map_or("", Tag::expose),
            aliases: &conference.aliases,
        }
    }
}
