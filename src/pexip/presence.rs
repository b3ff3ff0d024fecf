//! Who is in which room: conferences that run and their participants.

use std::collections::HashSet;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use time::OffsetDateTime;

use super::conferences::Meta;
use super::{PexipClient, PexipError};
use crate::domain::RoomName;

/// Objects per page of a list.
const PAGE: usize = 500;

const RUNNING: &str = "status/v1/conference";
const PARTICIPANTS: &str = "status/v1/participant";

/// Presence snapshot: one reading of who is in which room.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    running: HashSet<String>,
    /// Conferences with people in them.
    people: HashSet<String>,
    /// Conferences with legs that Pexip dialled out itself.
    dialled_legs: HashSet<String>,
}

impl Presence {
    /// Whether a conference of this name runs, with or without people.
    pub fn is_running(&self, name: &RoomName) -> bool {
        self.running.contains(name.as_str())
    }

    /// The names of all running conferences, including those that are not ours.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.running.iter().map(String::as_str)
    }

    /// Whether people are in the room; legs that Pexip dialled out do not count. A running conference without any known
    /// participant counts as occupied, to be safe.
    pub fn is_occupied(&self, name: &RoomName) -> bool {
        let name = name.as_str();
        self.people.contains(name) || (self.running.contains(name) && !self.dialled_legs.contains(name))
    }
}

impl PexipClient {
    /// Takes a presence snapshot.
    pub async fn presence(&self) -> Result<Presence, PexipError> {
        let mut presence = Presence::default();
        // Conferences first: who joins between the two calls is in the second.
        for running in self.all::<Running>("running", RUNNING).await? {
            presence.running.insert(running.name);
        }
        for participant in self.all::<Participant>("participants", PARTICIPANTS).await? {
            let dialled = participant.call_direction.as_deref() == Some("out");
            let counted = if dialled { &mut presence.dialled_legs } else { &mut presence.people };
            counted.insert(participant.conference);
        }
        Ok(presence)
    }

    /// Disconnects the conference of this name if it runs.
    pub async fn disconnect(&self, name: &RoomName) -> Result<(), PexipError> {
        let permit = self.reserve().await?;
        let query = [("name", name.as_str())];
        let request = self.request(Method::GET, RUNNING).query(&query);
        let (running, _): (ListPage<Running>, _) = self.fetch("running", permit, request).await?;
        for instance in running.objects.into_iter().filter(|instance| instance.name == name.as_str()) {
            let permit = self.reserve().await?;
            let body = json!({ "conference_id": instance.id });
            let request = self.request(Method::POST, "command/v1/conference/disconnect").json(&body);
            match self.send("disconnect", permit, request, &[200, 202]).await {
                // The command API answers 400 if the conference has ended in the meantime.
                Ok(_) | Err(PexipError::Rejected { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One page of a list, starting at `offset`, and the node's clock at its response.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
        query: &[(&str, &str)],
        offset: usize,
    ) -> Result<(T, Option<OffsetDateTime>), PexipError> {
        let permit = self.reserve().await?;
        let request = self.request(Method::GET, path).query(query).query(&[("limit", PAGE), ("offset", offset)]);
        self.fetch(call, permit, request).await
    }

    /// All objects of a list. `call` is its name in traces.
    pub(super) async fn all<T: DeserializeOwned>(&self, call: &'static str, path: &str) -> Result<Vec<T>, PexipError> {
        let mut all = Vec::new();
        loop {
            let (page, _): (ListPage<T>, _) = self.page(call, path, &[], all.len()).await?;
            let last = page.meta.next.is_none() || page.objects.is_empty();
            all.extend(page.objects);
            if last {
                return Ok(all);
            }
        }
    }
}

#[derive(Deserialize)]
struct ListPage<T> {
    meta: Meta,
    objects: Vec<T>,
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
    conference: String,
    #[serde(default)]
    call_direction: Option<String>,
}
