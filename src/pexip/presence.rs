//! Who is in which room: conferences that run and their participants.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use time::format_description::well_known::Iso8601;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::conferences::{Conference, dial_string, null_as_default};
use super::list::Pages;
use super::{PexipClient, PexipError};
use crate::domain::RoomName;
use crate::outbound::CallFailure;

/// Each page repeats the last objects of the one before: one in so many.
const OVERLAP: usize = 10;

const RUNNING: &str = "status/v1/conference";
const PARTICIPANTS: &str = "status/v1/participant";

/// Presence snapshot: one reading of who is in which room.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// Ids of the running instances of each conference.
    running: HashMap<String, Vec<String>>,
    /// Conferences with people in them.
    people: HashSet<String>,
    /// Legs of each conference that were dialled out, each with its aliases. Pexip dials automatic participants, and a
    /// host may dial a citizen.
    dialled_legs: HashMap<String, Vec<[String; 2]>>,
    /// Connect time of the person past the PIN who has been longest in each conference, by the node's clock.
    first_person_since: HashMap<String, OffsetDateTime>,
    /// The node's clock at the reading of the participants.
    node_time: Option<OffsetDateTime>,
}

impl Presence {
    /// Whether a conference of this name runs, with or without people.
    pub fn is_running(&self, name: &RoomName) -> bool {
        self.running.contains_key(name.as_str())
    }

    /// The names of all running conferences, including those that are not ours.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.running.keys().map(String::as_str)
    }

    /// Whether people are in the room; only legs of its own automatic participants are nobody.
    pub fn is_occupied(&self, room: &Conference) -> bool {
        self.has_people(&room.name, &room.automatic_participants)
    }

    /// Whether people are in the conference of this name, where legs with one of these aliases are nobody. A running
    /// conference without any known participant counts as occupied, to be safe.
    pub fn has_people(&self, name: &RoomName, nobody: &[String]) -> bool {
        let key = name.as_str();
        self.people.contains(key)
            || self.legs_of_others(name, nobody) > 0
            || (self.is_running(name) && !self.dialled_legs.contains_key(key))
    }

    /// The number of dialled legs in the room that are not of its automatic participants.
    pub fn unrecognised_legs(&self, room: &Conference) -> usize {
        self.legs_of_others(&room.name, &room.automatic_participants)
    }

    fn legs_of_others(&self, name: &RoomName, nobody: &[String]) -> usize {
        let legs = self.dialled_legs.get(name.as_str()).into_iter().flatten();
        legs.filter(|aliases| !aliases.iter().any(|alias| nobody.contains(alias))).count()
    }

    /// Names of the conferences in which somebody has been for longer than `wait` and which have no dialled leg. The
    /// time is the participant's own on the node, so a restart of this process loses nothing.
    pub fn without_dialled_leg(&self, wait: Duration) -> impl Iterator<Item = &str> {
        let since = self.node_time.map(|now| now - wait);
        self.first_person_since
            .iter()
            .filter(move |(name, from)| {
                since.is_some_and(|since| **from < since) && !self.dialled_legs.contains_key(*name)
            })
            .map(|(name, _)| name.as_str())
    }

    fn add(&mut self, participant: Participant) {
        if participant.call_direction.as_deref() == Some("out") {
            let aliases = [participant.source_alias, participant.destination_alias].map(|alias| dial_string(&alias));
            self.dialled_legs.entry(participant.conference).or_default().push(aliases);
            return;
        }
        if participant.is_past_pin()
            && let Some(connected) = participant.connect_time.as_deref().and_then(read_time)
        {
            let first = self.first_person_since.entry(participant.conference.clone()).or_insert(connected);
            *first = connected.min(*first);
        }
        self.people.insert(participant.conference);
    }
}

/// A time of the status API: in UTC, usually without an offset.
fn read_time(text: &str) -> Option<OffsetDateTime> {
    let with_offset = OffsetDateTime::parse(text, &Iso8601::PARSING);
    with_offset
        .or_else(|_| Ok::<_, time::error::Parse>(PrimitiveDateTime::parse(text, &Iso8601::PARSING)?.assume_utc()))
        .ok()
}

impl PexipClient {
    /// Takes a presence snapshot of all rooms.
    pub async fn presence(&self) -> Result<Presence, PexipError> {
        self.read_presence(&[], &[]).await
    }

    /// Takes a presence snapshot of this room. A node that ignores the filters lists all rooms, which is as good.
    pub async fn presence_in(&self, name: &RoomName) -> Result<Presence, PexipError> {
        self.read_presence(&[("name", name.as_str())], &[("conference", name.as_str())]).await
    }

    async fn read_presence(
        &self,
        conferences: &[(&str, &str)],
        participants: &[(&str, &str)],
    ) -> Result<Presence, PexipError> {
        // Conferences first: who joins between the two calls is in the second.
        let mut presence = Presence { running: self.running(conferences).await?, ..Presence::default() };
        let (participants, node_time) = self
            .changing_list(
                "participants",
                PARTICIPANTS,
                participants,
                [|one: &Participant| &one.id, |one| &one.conference],
            )
            .await?;
        presence.node_time = node_time;
        for participant in participants {
            presence.add(participant);
        }
        Ok(presence)
    }

    /// The names of all running conferences.
    pub async fn running_names(&self) -> Result<Vec<String>, PexipError> {
        Ok(self.running(&[]).await?.into_keys().collect())
    }

    /// Ids of the running instances of each conference.
    async fn running(&self, query: &[(&str, &str)]) -> Result<HashMap<String, Vec<String>>, PexipError> {
        let (list, _) =
            self.changing_list("running", RUNNING, query, [|one: &Running| &one.id, |one| &one.name]).await?;
        let mut running: HashMap<_, Vec<_>> = HashMap::new();
        for Running { id, name } in list {
            running.entry(name).or_default().push(id);
        }
        Ok(running)
    }

    /// Disconnects the conference of this name if it runs, whoever is in it.
    pub async fn disconnect(&self, name: &RoomName) -> Result<(), PexipError> {
        let running = self.running(&[("name", name.as_str())]).await?;
        self.disconnect_seen(&Presence { running, ..Presence::default() }, name).await
    }

    /// Disconnects the conferences that `presence` shows running under this name, without reading presence again.
    pub async fn disconnect_seen(&self, presence: &Presence, name: &RoomName) -> Result<(), PexipError> {
        for id in presence.running.get(name.as_str()).into_iter().flatten() {
            let permit = self.reserve().await?;
            let request =
                self.request(Method::POST, "command/v1/conference/disconnect").json(&json!({ "conference_id": id }));
            match self.send("disconnect", permit, request, &[200, 202]).await {
                // The command API answers 400 if the conference has ended in the meantime.
                Ok(_) | Err(PexipError::Rejected { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All objects of a list that changes while it is read, and the node's clock at the first page.
    ///
    /// Pages are counted by offset: each object that goes moves those behind it forward, perhaps out of the next page.
    /// Whether the node can sort participants is unknown. So each page begins with the end of the one before; one that
    /// does not, and so may have skipped an object, is unreadable.
    async fn changing_list<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
        query: &[(&str, &str)],
        [id, name]: [fn(&T) -> &str; 2],
    ) -> Result<(Vec<T>, Option<OffsetDateTime>), PexipError> {
        let mut pages = Pages::new(self, call, path, query, name, 0);
        let (mut all, mut known) = (Vec::new(), HashSet::new());
        while let Some(page) = pages.next().await? {
            let (before, length) = (all.len(), page.len());
            let joins_on = page.iter().any(|object| known.contains(id(object)));
            let is_new = |object: &T| id(object).is_empty() || known.insert(id(object).to_owned());
            all.extend(page.into_iter().filter(is_new));
            if before > 0 && !joins_on {
                return Err(CallFailure::Unreadable.into());
            }
            if all.len() == before && !pages.are_over() {
                return Err(pages.refuse());
            }
            pages.continue_at(all.len() - (length / OVERLAP).max(1).min(all.len()));
        }
        Ok((all, pages.node_time))
    }
}

/// A running conference. Its id is unrelated to that of the VMR; only the name joins them.
#[derive(Deserialize)]
struct Running {
    id: String,
    name: String,
}

/// A participant of a conference, including those on a PIN screen.
#[derive(Deserialize)]
struct Participant {
    #[serde(default)]
    id: String,
    conference: String,
    #[serde(default)]
    call_direction: Option<String>,
    #[serde(default)]
    service_type: Option<String>,
    #[serde(default)]
    connect_time: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    source_alias: String,
    #[serde(default, deserialize_with = "null_as_default")]
    destination_alias: String,
}

impl Participant {
    /// Whether the participant has entered the PIN, which starts the dial-out.
    fn is_past_pin(&self) -> bool {
        !matches!(self.service_type.as_deref(), Some("connecting" | "ivr"))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_of_the_status_api_are_read_in_every_form() {
        for (text, expected) in [
            ("2026-03-04T22:32:11.234996", Some(datetime!(2026-03-04 22:32:11.234996 UTC))),
            ("2026-03-04T22:32:11", Some(datetime!(2026-03-04 22:32:11 UTC))),
            ("2026-03-04T22:32:11Z", Some(datetime!(2026-03-04 22:32:11 UTC))),
            ("2026-03-04T14:32:11-08:00", Some(datetime!(2026-03-04 22:32:11 UTC))),
            ("", None),
            ("yesterday", None),
        ] {
            assert_eq!(read_time(text), expected, "{text:?}");
        }
    }
}
