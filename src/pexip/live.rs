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

/// Who is in which room at one moment.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    running: HashSet<String>,
    /// Conferences with people in them, and with legs that Pexip dialled out itself.
    people: HashSet<String>,
    dialled_legs: HashSet<String>,
}

impl Presence {
    /// Whether a conference of this name runs, whoever is in it.
    pub fn is_running(&self, name: &RoomName) -> bool {
        self.running.contains(name.as_str())
    }

    /// The conferences that run, rooms of ours and others.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.running.iter().map(String::as_str)
    }

    /// Whether somebody is in the room who was not dialled by Pexip itself. A conference that runs with nobody to be
    /// seen in it counts as occupied: who is in there cannot be told.
    pub fn is_occupied(&self, name: &RoomName) -> bool {
        let name = name.as_str();
        self.people.contains(name) || (self.running.contains(name) && !self.dialled_legs.contains(name))
    }
}

impl PexipClient {
    /// Who is in which room now.
    pub async fn presence(&self) -> Result<Presence, PexipError> {
        let mut presence = Presence::default();
        // Conferences first: somebody who comes in between the two looks is seen in the second.
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

    /// Ends a call that is running under this name, if there is one.
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
                // The command API answers 400 for a conference that has ended meanwhile.
                Ok(_) | Err(PexipError::Rejected { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One page of a list from `offset` on, and the node's clock when it answered.
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

    /// Every object of a list, page by page. `call` names it in traces and metrics.
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

/// A running conference: its id is the instance's, unrelated to the configuration's; only the name joins them.
#[derive(Deserialize)]
struct Running {
    id: String,
    name: String,
}

/// Somebody, or some thing, in a conference, on a PIN screen included.
#[derive(Deserialize)]
struct Participant {
    conference: String,
    #[serde(default)]
    call_direction: Option<String>,
}
