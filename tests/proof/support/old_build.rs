use std::time::Duration;

use maxconf::domain::Marks;
use maxconf::outbound::client_builder;
use maxconf::storage::queue::{Deletion, RoomQueue};
use reqwest::Client;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;

use super::{Case, Outcome, Settings, World};

/// The part of a build from before the room records that counts beside this one: it leases a message, reads its room,
/// claims the room by the delete of the message alone, and tags it.
pub(crate) struct OldBuild {
    queue: RoomQueue,
    http: Client,
    lease: Duration,
}

impl OldBuild {
    pub(crate) fn new(settings: &Settings) -> Self {
        let config = settings.config();
        let http = client_builder(Duration::from_secs(5)).build().expect("a client");
        let queue = RoomQueue::new(&config.queue, config.room.prefix, http.clone()).expect("a client of the queue");
        Self { queue, http, lease: settings.seconds("POOL_LEASE_SECONDS") }
    }

    /// A room from the pool, kept for `pause` between lease and claim; `None` if the pool is empty.
    pub(crate) async fn create(&self, world: &World, case: Case, pause: Duration) -> Option<Outcome> {
        let message = self.queue.receive(1, self.lease).await.ok()?.pop()?;
        let room = world.pexip.room(message.room.as_ref()?.as_str()).filter(|room| room.tag.is_empty())?;
        sleep(pause).await;
        if self.queue.delete(&message).await != Ok(Deletion::Ours) {
            return None;
        }
        let ready_until = Marks::read(&room.description).ready_until?;
        let [ready_until, handed_out] =
            [ready_until, OffsetDateTime::now_utc()].map(|time| time.format(&Rfc3339).expect("a time"));
        let marks = format!("ready-until={ready_until} handed-out={handed_out}");
        let path = format!("api/admin/configuration/v1/conference/{}/", room.id);
        let request = self.http.patch(world.pexip.management_url().join(&path).expect("a path"));
        let request = request.basic_auth(world.pexip.username(), Some(world.pexip.password()));
        let answer = request.json(&json!({ "tag": case.tag(), "description": marks })).send().await.ok()?;
        assert!(answer.status().is_success(), "{answer:?}");
        Some(Outcome::Room { name: room.name, from_pool: true, replayed: false, instant: None })
    }
}
