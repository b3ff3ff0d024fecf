//! VMRs: create, list, read, tag, delete.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::num::NonZeroU64;

use reqwest::header::LOCATION;
use reqwest::{Method, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::list::Pages;
use super::{PexipClient, PexipError, TagPermit};
use crate::domain::{ForeignRoomName, Marks, Pin, Pins, RoomName, RoomNamePrefix, RoomProperties, Tag};
use crate::outbound::{CallFailure, parse_json};

/// Bound on a conference object that is passed on. A room of ours has about 3 KB.
const LARGEST_OBJECT: usize = 256 * 1024;

/// Rooms of ours beyond the hard cap that are still listed: instances that create at the same time exceed it, and after
/// `POOL_MAX_ROOMS` was lowered the rooms from before must be seen to be ended.
const MOST_OVER_CAP: usize = 10_000;

pub(super) const COLLECTION: &str = "configuration/v1/conference";

pub(super) const AUTOMATIC_PARTICIPANT: &str = "configuration/v1/automatic_participant";

/// The id of a VMR. Never missing or zero: a path without it would be that of the collection, where DELETE wipes the
/// node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct ConferenceId(NonZeroU64);

impl ConferenceId {
    /// The id as a number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    fn path(self) -> String {
        format!("{COLLECTION}/{self}")
    }

    /// The path by which other objects of the node name the VMR.
    pub fn resource_uri(self) -> String {
        format!("/api/admin/{COLLECTION}/{self}/")
    }
}

impl fmt::Display for ConferenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A VMR as the management node has it: one of ours, unless its name says otherwise.
#[derive(Clone, Debug)]
pub struct Conference<N = RoomName> {
    pub id: ConferenceId,
    pub name: N,
    pub service_type: String,
    pub allow_guests: bool,
    pub host_pin: SecretString,
    pub guest_pin: SecretString,
    /// `None` until the room is handed out.
    pub tag: Option<Tag>,
    pub marks: Marks,
    pub aliases: Vec<Alias>,
    /// What Pexip dials when the first participant joins, as [`dial_string`] writes it.
    pub automatic_participants: Vec<String>,
}

impl Conference {
    /// Whether it belongs or belonged to a citizen.
    pub fn is_handed_out(&self) -> bool {
        self.tag.is_some() || self.marks.handed_out.is_some()
    }

    fn has_pins(&self) -> bool {
        [&self.host_pin, &self.guest_pin].iter().all(|pin| Pin::parse(pin.expose_secret()).is_ok())
    }

    /// Whether both are the same room in the same state.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let tag = |room: &Self| room.tag.as_ref().map(|tag| tag.expose().to_owned());
        self.id == other.id && self.name == other.name && self.marks == other.marks && tag(self) == tag(other)
    }
}

/// An alias of a VMR.
#[derive(Clone, Debug, Deserialize)]
pub struct Alias {
    /// What a client dials.
    pub alias: String,
    /// By Pexip's clock, in UTC and without an offset.
    #[serde(default)]
    pub creation_time: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub description: String,
    pub id: u64,
}

/// All VMRs of ours at one time.
#[derive(Clone, Debug)]
pub struct Listing {
    pub conferences: Vec<Conference>,
    /// The node's clock, from the `Date` header.
    pub node_time: Option<OffsetDateTime>,
}

/// A VMR to create.
#[derive(Clone, Debug)]
pub struct NewConference {
    pub name: RoomName,
    pub pins: Pins,
    /// Set for a direct room only.
    pub tag: Option<Tag>,
    pub marks: Marks,
    /// Ids of `automatic_participant` objects to attach.
    pub automatic_participants: Vec<u64>,
    pub properties: RoomProperties,
}

impl PexipClient {
    /// Creates a VMR. After an ambiguous error it may exist; [`PexipClient::find_by_name`] finds it.
    pub async fn create(&self, new: &NewConference) -> Result<ConferenceId, PexipError> {
        let permit = self.reserve().await?;
        let mut body = json!({
            "name": new.name.as_str(),
            "service_type": "conference",
            "allow_guests": true,
            "pin": new.pins.host.expose(),
            "guest_pin": new.pins.guest.expose(),
            "tag": new.tag.as_ref().map_or("", Tag::expose),
            "description": new.marks.to_string(),
            "aliases": [{ "alias": new.name.as_str() }],
            "automatic_participants": new.automatic_participants.iter().copied().map(automatic_participant).collect::<Vec<_>>(),
        });
        for (field, value) in new.properties.iter() {
            body[field] = value.clone();
        }
        let response = self.send("create", permit, self.request(Method::POST, COLLECTION).json(&body), &[201]).await?;
        Ok(id_in_location(&response).ok_or(CallFailure::Unreadable)?)
    }

    /// The VMR of this name that is not ours, or `None`. With a mark it is a room of this service in another
    /// deployment.
    pub async fn find_foreign(
        &self,
        name: &ForeignRoomName,
    ) -> Result<Option<Conference<ForeignRoomName>>, PexipError> {
        let permit = self.reserve().await?;
        let query = [("name", name.as_ref()), ("limit", "2")];
        let request = self.request(Method::GET, COLLECTION).query(&query);
        let (page, _): (Page, _) = self.fetch("find", permit, request).await?;
        // A node may compare names without case. One that lists any other room has ignored the filter: whether the room
        // exists is unknown.
        let is_variant = |object: &Object| object.name.eq_ignore_ascii_case(name.as_ref());
        if page.meta.total_count != page.objects.len() || !page.objects.iter().all(is_variant) {
            return Err(CallFailure::Unreadable.into());
        }
        let found = page.objects.into_iter().find(|object| object.name == name.as_ref());
        let foreign = found.filter(|object| !Marks::are_in(&object.description));
        Ok(foreign.map(|object| object.conference(name.clone())))
    }

    /// The VMR of this name as the node writes it, and what this service reads of it; or `None`.
    pub async fn find_object(&self, name: &RoomName) -> Result<Option<(Conference, Box<RawValue>)>, PexipError> {
        let permit = self.reserve().await?;
        let query = [("name", name.as_str()), ("limit", "2")];
        let request = self.request(Method::GET, COLLECTION).query(&query);
        let (page, _): (Page<Box<RawValue>>, _) = self.fetch("find", permit, request).await?;
        let Some(raw) = page.objects.into_iter().next() else {
            return if page.meta.total_count == 0 { Ok(None) } else { Err(CallFailure::Unreadable.into()) };
        };
        let object: Object = parse_json(raw.get().as_bytes()).ok_or(CallFailure::Unreadable)?;
        // Another room than the one asked for does not mean that this one does not exist.
        if object.name != name.as_str() || raw.get().len() > LARGEST_OBJECT {
            return Err(CallFailure::Unreadable.into());
        }
        Ok(Some((object.conference(name.clone()), raw)))
    }

    /// The newest VMR with our prefix, as the node writes it. It holds PINs, and may hold a tag.
    pub async fn newest_object(&self) -> Result<Option<Value>, PexipError> {
        let permit = self.reserve().await?;
        // A name's ULID starts with its time.
        let query = [("name__startswith", self.shared.prefix.as_str()), ("order_by", "-name"), ("limit", "1")];
        let (page, _): (Page<Value>, _) =
            self.fetch("find_newest", permit, self.request(Method::GET, COLLECTION).query(&query)).await?;
        Ok(page.objects.into_iter().next())
    }

    /// Whether our account sees PINs, by the newest of our rooms: all of them have both. `None` if there is no room.
    pub async fn shows_pins(&self) -> Result<Option<bool>, PexipError> {
        let permit = self.reserve().await?;
        let query = [("name__startswith", self.shared.prefix.as_str()), ("order_by", "-name"), ("limit", "5")];
        let (page, _): (Page, _) =
            self.fetch("look_for_pins", permit, self.request(Method::GET, COLLECTION).query(&query)).await?;
        // Others may have removed the PINs of one.
        Ok(page.ours(&self.shared.prefix).map(|(_, room)| room.has_pins()).reduce(|one, other| one || other))
    }

    /// The number of VMRs with our prefix.
    pub async fn count_ours(&self) -> Result<usize, PexipError> {
        let permit = self.reserve().await?;
        let query = [("name__startswith", self.shared.prefix.as_str()), ("limit", "1")];
        let (page, _): (Page, _) =
            self.fetch("count", permit, self.request(Method::GET, COLLECTION).query(&query)).await?;
        Ok(page.meta.total_count)
    }

    /// All VMRs with our prefix, and the node's clock. `hard_cap` is the number above which this service makes no more.
    pub async fn list_ours(&self, hard_cap: usize) -> Result<Listing, PexipError> {
        let query = [("name__startswith", self.shared.prefix.as_str()), ("order_by", "name")];
        let mut pages = Pages::new(self, "list", COLLECTION, &query, |room: &Object| &room.name, hard_cap);
        let (mut conferences, mut known) = (HashMap::new(), HashSet::new());
        // Ordered by name, which never changes. If rooms are created or deleted in between, a room may be missing from
        // this listing or be in it twice; the next listing corrects that.
        while let Some(page) = pages.next().await? {
            let before = known.len();
            known.extend(page.iter().map(|room| room.id));
            conferences.extend(ours(page, &self.shared.prefix));
            if conferences.len() > hard_cap + MOST_OVER_CAP || (known.len() == before && !pages.are_over()) {
                return Err(pages.refuse());
            }
        }
        Ok(Listing { conferences: conferences.into_values().collect(), node_time: pages.node_time })
    }

    /// The VMR with this id, if it exists and is ours.
    pub async fn read(&self, id: ConferenceId) -> Result<Option<Conference>, PexipError> {
        let permit = self.reserve().await?;
        match self.fetch::<Object>("read", permit, self.request(Method::GET, &id.path())).await {
            Ok((object, _)) => {
                let name = self.shared.prefix.parse_name(&object.name);
                Ok(name.map(|name| object.conference(name)))
            }
            Err(PexipError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes tag and marks in one PATCH. Idempotent: may be repeated unchanged after an ambiguous error.
    pub async fn tag(
        &self,
        tag_permit: &mut TagPermit,
        id: ConferenceId,
        tag: &Tag,
        marks: &Marks,
    ) -> Result<(), PexipError> {
        let permit = match tag_permit.take_first_call() {
            Some(permit) => permit,
            None => self.reserve().await?,
        };
        let body = json!({ "tag": tag.expose(), "description": marks.to_string() });
        self.send("tag", permit, self.request(Method::PATCH, &id.path()).json(&body), &[202, 204]).await.map(drop)
    }

    /// Deletes one VMR. Succeeds if it no longer exists.
    pub async fn delete(&self, id: ConferenceId) -> Result<(), PexipError> {
        let permit = self.reserve().await?;
        match self.send("delete", permit, self.request(Method::DELETE, &id.path()), &[204]).await {
            Ok(_) | Err(PexipError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn automatic_participant(id: u64) -> String {
    format!("/api/admin/{AUTOMATIC_PARTICIPANT}/{id}/")
}

/// The alias of an automatic participant, which the node shows as an object. A release that shows only its path says
/// nothing about the alias.
fn dialled_alias(participant: &Value) -> Option<String> {
    participant["alias"].as_str().map(dial_string)
}

/// An alias without scheme and in lower case: `sip:Queue@sbc.example.org` and `queue@sbc.example.org` are the same.
pub(super) fn dial_string(alias: &str) -> String {
    let lower = alias.trim().to_ascii_lowercase();
    let rest = ["sips:", "sip:", "h323:", "tel:"].into_iter().find_map(|scheme| lower.strip_prefix(scheme));
    rest.map(str::to_owned).unwrap_or(lower)
}

/// The id in `Location`: its last segment. Some releases send a URL, others a path.
fn id_in_location(response: &Response) -> Option<ConferenceId> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let id = location.trim_end_matches('/').rsplit('/').next()?;
    id.parse().ok().map(ConferenceId)
}

#[derive(Deserialize)]
pub(super) struct Page<T = Object> {
    pub(super) meta: Meta,
    pub(super) objects: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct Meta {
    #[serde(default)]
    pub(super) next: Option<String>,
    pub(super) total_count: usize,
}

/// A VMR on the wire. Other members are ignored.
#[derive(Deserialize)]
pub(super) struct Object {
    id: ConferenceId,
    name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    service_type: String,
    #[serde(default, deserialize_with = "null_as_default")]
    allow_guests: bool,
    #[serde(default)]
    pin: Option<SecretString>,
    #[serde(default)]
    guest_pin: Option<SecretString>,
    #[serde(default, deserialize_with = "null_as_default")]
    tag: String,
    #[serde(default, deserialize_with = "null_as_default")]
    description: String,
    #[serde(default, deserialize_with = "null_as_default")]
    aliases: Vec<Alias>,
    #[serde(default, deserialize_with = "null_as_default")]
    automatic_participants: Vec<Value>,
}

impl Page {
    pub(super) fn ours(self, prefix: &RoomNamePrefix) -> impl Iterator<Item = (RoomName, Conference)> {
        ours(self.objects, prefix)
    }
}

fn ours(objects: Vec<Object>, prefix: &RoomNamePrefix) -> impl Iterator<Item = (RoomName, Conference)> {
    objects.into_iter().filter_map(|object| {
        let name = prefix.parse_name(&object.name)?;
        Some((name.clone(), object.conference(name)))
    })
}

impl Object {
    fn conference<N>(self, name: N) -> Conference<N> {
        Conference {
            id: self.id,
            name,
            service_type: self.service_type,
            allow_guests: self.allow_guests,
            host_pin: self.pin.unwrap_or_default(),
            guest_pin: self.guest_pin.unwrap_or_default(),
            tag: Tag::read(self.tag),
            marks: Marks::read(&self.description),
            aliases: self.aliases,
            automatic_participants: self.automatic_participants.iter().filter_map(dialled_alias).collect(),
        }
    }
}

pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
