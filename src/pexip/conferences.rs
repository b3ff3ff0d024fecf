use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU64;

use reqwest::header::LOCATION;
use reqwest::{Method, Response};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use time::OffsetDateTime;

use super::{Permit, PexipClient, PexipError, TagSlot};
use crate::domain::{Marks, Pins, RoomName, RoomNamePrefix, Tag};
use crate::outbound::CallFailure;

const COLLECTION: &str = "configuration/v1/conference";

pub(super) const AUTOMATIC_PARTICIPANT: &str = "configuration/v1/automatic_participant";

/// The id of a conference's configuration.
///
/// Never zero and always there: a path made with it is never that of the collection, where a DELETE wipes the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct ConferenceId(NonZeroU64);

impl ConferenceId {
    /// The number, as callers get it.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    fn path(self) -> String {
        format!("{COLLECTION}/{self}")
    }
}

impl fmt::Display for ConferenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A virtual meeting room of ours as the management node has it.
#[derive(Clone, Debug)]
pub struct Conference {
    pub id: ConferenceId,
    pub name: RoomName,
    pub service_type: String,
    pub allow_guests: bool,
    pub host_pin: SecretString,
    pub guest_pin: SecretString,
    /// `None` while it belongs to nobody.
    pub tag: Option<Tag>,
    pub marks: Marks,
    pub aliases: Vec<Alias>,
}

impl Conference {
    /// Whether it belongs, or has belonged, to a citizen.
    pub fn is_handed_out(&self) -> bool {
        self.tag.is_some() || self.marks.handed_out.is_some()
    }

    /// Whether it is the same room in the same state: name, tag and marks.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let tag = |room: &Self| room.tag.as_ref().map(|tag| tag.expose().to_owned());
        self.id == other.id && self.name == other.name && self.marks == other.marks && tag(self) == tag(other)
    }
}

/// A dial string of a conference.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct Alias {
    /// What is dialled.
    #[schemars(example = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq")]
    pub alias: String,
    /// When it was made, by Pexip's clock in UTC and without an offset.
    #[serde(default)]
    #[schemars(example = "2026-03-04T22:32:11.234996")]
    pub creation_time: String,
    /// Its description on Pexip, usually empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schemars(example = "")]
    pub description: String,
    /// Its number on Pexip.
    #[schemars(example = 111)]
    pub id: u64,
}

/// All conferences of ours at one moment.
#[derive(Clone, Debug)]
pub struct Listing {
    pub conferences: Vec<Conference>,
    /// The node's own clock, by the `Date` of its answer.
    pub node_time: Option<OffsetDateTime>,
}

/// A conference to be made.
#[derive(Clone, Debug)]
pub struct NewConference {
    pub name: RoomName,
    pub pins: Pins,
    /// Set at once only for a room that goes straight to a citizen.
    pub tag: Option<Tag>,
    pub marks: Marks,
    /// Ids of `automatic_participant` objects to attach.
    pub automatic_participants: Vec<u64>,
}

impl PexipClient {
    /// Makes a conference. On an ambiguous error it may exist: [`PexipClient::find_by_name`] tells.
    pub async fn create(&self, new: &NewConference) -> Result<ConferenceId, PexipError> {
        let permit = self.reserve().await?;
        let body = json!({
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
        let response = self.send("create", permit, self.request(Method::POST, COLLECTION).json(&body), &[201]).await?;
        Ok(id_in_location(&response).ok_or(CallFailure::Unreadable)?)
    }

    /// The conference of this name, or `None`.
    pub async fn find_by_name(&self, name: &RoomName) -> Result<Option<Conference>, PexipError> {
        let permit = self.reserve().await?;
        let query = [("name", name.as_str()), ("limit", "2")];
        let mut found = self.list("find", permit, &query).await?;
        Ok(found.remove(name))
    }

    /// Those of these names (at most a queue batch) that exist, in one call.
    pub async fn find_by_names(&self, names: &[RoomName]) -> Result<HashMap<RoomName, Conference>, PexipError> {
        let permit = self.reserve().await?;
        let all: Vec<&str> = names.iter().map(RoomName::as_str).collect();
        let limit = names.len().to_string();
        self.list("find_many", permit, &[("name__in", all.join(",").as_str()), ("limit", limit.as_str())]).await
    }

    /// How many conferences have names with our prefix.
    pub async fn count_ours(&self) -> Result<usize, PexipError> {
        let permit = self.reserve().await?;
        let query = [("name__startswith", self.shared.prefix.as_str()), ("limit", "1")];
        let (page, _): (Page, _) =
            self.fetch("count", permit, self.request(Method::GET, COLLECTION).query(&query)).await?;
        Ok(page.meta.total_count)
    }

    /// Every conference of ours, page by page, and what time the node says it is.
    pub async fn list_ours(&self) -> Result<Listing, PexipError> {
        let query = [("name__startswith", self.shared.prefix.as_str()), ("order_by", "name")];
        let mut conferences = HashMap::new();
        let mut node_time = None;
        // By name, which never changes. Rooms made or deleted meanwhile shift a page: one may be missing or seen
        // twice in this look, which the next one mends.
        let mut offset = Some(0);
        while let Some(from) = offset {
            let (page, answered): (Page, _) = self.page("list", COLLECTION, &query, from).await?;
            offset = page.meta.next.as_ref().map(|_| from + page.objects.len()).filter(|next| *next > from);
            // The earliest: by the later ones a room is older than it was when it was read.
            node_time = node_time.or(answered);
            conferences.extend(page.ours(&self.shared.prefix));
        }
        Ok(Listing { conferences: conferences.into_values().collect(), node_time })
    }

    /// The conference with this id as it is now, if it is there and ours.
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

    /// Writes tag and marks in one PATCH. Idempotent: after an ambiguous error it may be repeated as it was.
    pub async fn tag(&self, slot: &mut TagSlot, id: ConferenceId, tag: &Tag, marks: &Marks) -> Result<(), PexipError> {
        let permit = match slot.first_call() {
            Some(permit) => permit,
            None => self.reserve().await?,
        };
        let body = json!({ "tag": tag.expose(), "description": marks.to_string() });
        self.send("tag", permit, self.request(Method::PATCH, &id.path()).json(&body), &[202, 204]).await.map(drop)
    }

    /// Deletes one conference. Fine, too, if it is gone already.
    pub async fn delete(&self, id: ConferenceId) -> Result<(), PexipError> {
        let permit = self.reserve().await?;
        match self.send("delete", permit, self.request(Method::DELETE, &id.path()), &[204]).await {
            Ok(_) | Err(PexipError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        call: &'static str,
        permit: Permit,
        query: &[(&str, &str)],
    ) -> Result<HashMap<RoomName, Conference>, PexipError> {
        let (page, _): (Page, _) = self.fetch(call, permit, self.request(Method::GET, COLLECTION).query(query)).await?;
        Ok(page.ours(&self.shared.prefix).collect())
    }
}

fn automatic_participant(id: u64) -> String {
    format!("/api/admin/{AUTOMATIC_PARTICIPANT}/{id}/")
}

/// `Location` is absolute or a path, by release; its last segment is the id.
fn id_in_location(response: &Response) -> Option<ConferenceId> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let id = location.trim_end_matches('/').rsplit('/').next()?;
    id.parse().ok().map(ConferenceId)
}

#[derive(Deserialize)]
struct Page {
    meta: Meta,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
pub(super) struct Meta {
    #[serde(default)]
    pub(super) next: Option<String>,
    total_count: usize,
}

/// A conference on the wire. What this service does not need is passed over, whatever a release adds.
#[derive(Deserialize)]
struct Object {
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
}

impl Page {
    fn ours(self, prefix: &RoomNamePrefix) -> impl Iterator<Item = (RoomName, Conference)> {
        self.objects.into_iter().filter_map(|object| {
            let name = prefix.parse_name(&object.name)?;
            Some((name.clone(), object.conference(name)))
        })
    }
}

impl Object {
    fn conference(self, name: RoomName) -> Conference {
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
