//! Checks of what is written to a room.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use time::format_description::well_known::Iso8601;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::administration::AUTOMATIC_PARTICIPANT_PATH;
use super::fields::{self, Fault, Kind};
use super::pins;
use super::platform::State;
use super::refusal::Refusal;
use super::room::{StoredAlias, StoredRoom};

const RESOURCE: &str = "conference";
const LONGEST_TEXT: usize = 250;

/// Applies the fields of a request to a room and checks the result.
pub(super) fn write(state: &State, room: StoredRoom, request: &Map<String, Value>) -> Result<StoredRoom, Refusal> {
    let mut draft = Draft { state, room, errors: BTreeMap::new() };
    for (field, value) in request {
        draft.set(field, value)?;
    }
    draft.check_name();
    draft.check_aliases();
    // How the node treats stored PINs that have become too short is not known: here only writes of PINs are checked.
    if ["pin", "guest_pin", "allow_guests"].iter().any(|field| request.contains_key(*field)) {
        draft.check_pins();
    }
    draft.finish()
}

struct Draft<'a> {
    state: &'a State,
    room: StoredRoom,
    errors: BTreeMap<&'static str, Vec<String>>,
}

impl Draft<'_> {
    fn set(&mut self, field: &str, value: &Value) -> Result<(), Refusal> {
        match field {
            "name" => self.room.name = self.text("name", value),
            "tag" => self.room.tag = self.text("tag", value),
            "description" => self.room.description = self.text("description", value),
            "pin" => self.room.pin = self.text("pin", value),
            "guest_pin" => self.room.guest_pin = self.text("guest_pin", value),
            "allow_guests" => match value.as_bool() {
                Some(allowed) => self.room.allow_guests = allowed,
                None => self.refuse("allow_guests", "This value must be either True or False."),
            },
            "creation_time" => match parse_time(value) {
                Some(at) => self.room.creation_time = at,
                None => self.refuse("creation_time", "Enter a valid date/time."),
            },
            "aliases" => self.room.aliases = aliases(value)?,
            "automatic_participants" => {
                self.room.automatic_participants = self.automatic_participants(value)?;
            }
            // Unknown fields are ignored, and so are `id` and `resource_uri`, which the platform sets.
            other => {
                if let Some((name, kind)) = fields::find(other) {
                    self.set_other(name, kind, value)?;
                }
            }
        }
        Ok(())
    }

    fn set_other(&mut self, field: &'static str, kind: Kind, value: &Value) -> Result<(), Refusal> {
        match kind.check(value) {
            Ok(_) if matches!(kind, Kind::ReadOnly) => {}
            // The global setting reads back as an empty text.
            Ok(Value::Null) if field == "crypto_mode" => self.store(field, "".into()),
            Ok(value) => self.store(field, value),
            Err(Fault::Field(message)) => self.refuse(field, &message),
            Err(Fault::NoSuchObject(uri)) => return Err(Refusal::no_object(&uri)),
        }
        Ok(())
    }

    fn store(&mut self, field: &str, value: Value) {
        self.room.settings.insert(field.to_owned(), value);
    }

    fn text(&mut self, field: &'static str, value: &Value) -> String {
        let Some(text) = value.as_str() else {
            self.refuse(field, "This field must be a string and may not be null.");
            return String::new();
        };
        let length = text.chars().count();
        if length > LONGEST_TEXT {
            self.refuse(field, &format!("Ensure this value has at most {LONGEST_TEXT} characters (it has {length})."));
        }
        text.to_owned()
    }

    fn automatic_participants(&self, value: &Value) -> Result<Vec<u64>, Refusal> {
        list("automatic_participants", value)?
            .iter()
            .map(|uri| {
                let uri = uri.as_str().unwrap_or_default();
                uri.strip_prefix(AUTOMATIC_PARTICIPANT_PATH)
                    .and_then(|rest| rest.strip_suffix('/')?.parse().ok())
                    .filter(|id| self.state.automatic_participants.contains_key(id))
                    .ok_or_else(|| Refusal::no_object(uri))
            })
            .collect()
    }

    fn check_name(&mut self) {
        if self.room.name.is_empty() {
            self.refuse("name", "This field is required.");
        }
        let taken = self.state.rooms.named(&self.room.name);
        if taken.is_some_and(|other| other.id != self.room.id) {
            // Recorded from a production node.
            self.refuse("name", "Virtual Meeting Room with this Name already exists.");
        }
    }

    fn check_aliases(&mut self) {
        let own = &self.room.aliases;
        let is_taken = has_taken_alias(self.state, &self.room);
        let malformed =
            own.iter().map(|alias| alias.alias.chars().count()).any(|length| length == 0 || length > LONGEST_TEXT);
        if is_taken {
            self.refuse("aliases", "Alias with this Alias already exists.");
        }
        if malformed {
            self.refuse("aliases", "Enter an alias of 1 to 250 characters.");
        }
    }

    fn check_pins(&mut self) {
        let room = &self.room;
        for (field, message) in pins::faults(&room.pin, &room.guest_pin, room.allow_guests, self.state.min_pin_length) {
            self.refuse(field, &message);
        }
    }

    fn refuse(&mut self, field: &'static str, message: &str) {
        self.errors.entry(field).or_default().push(message.to_owned());
    }

    fn finish(self) -> Result<StoredRoom, Refusal> {
        if self.errors.is_empty() {
            return Ok(self.room);
        }
        Err(Refusal::Fields { resource: RESOURCE, fields: self.errors })
    }
}

/// Whether one of the room's aliases occurs twice or belongs to another room.
pub(super) fn has_taken_alias(state: &State, room: &StoredRoom) -> bool {
    let own = &room.aliases;
    let is_repeated = own.iter().enumerate().any(|(at, alias)| own[..at].iter().any(|it| it.alias == alias.alias));
    let clashes = |other: &StoredAlias| own.iter().any(|alias| alias.alias == other.alias && alias.id != other.id);
    let mut others = state.rooms.values().filter(|other| other.id != room.id);
    is_repeated || others.any(|other| other.aliases.iter().any(clashes))
}

/// Inline aliases; writing them replaces the whole list.
fn aliases(value: &Value) -> Result<Vec<StoredAlias>, Refusal> {
    list("aliases", value)?
        .iter()
        .map(|alias| {
            let text = |field| alias.get(field).and_then(Value::as_str).map(str::to_owned);
            let dialled = text("alias").ok_or_else(|| Refusal::field(RESOURCE, "aliases", "An alias is an object."))?;
            Ok(StoredAlias { id: 0, alias: dialled, description: text("description").unwrap_or_default() })
        })
        .collect()
}

fn list<'a>(field: &'static str, value: &'a Value) -> Result<&'a [Value], Refusal> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        _ => Err(Refusal::field(RESOURCE, field, "Enter a list of values.")),
    }
}

fn parse_time(value: &Value) -> Option<OffsetDateTime> {
    let text = value.as_str()?;
    OffsetDateTime::parse(text, &Iso8601::DEFAULT)
        .or_else(|_| PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc))
        .ok()
}
