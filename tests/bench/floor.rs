//! The calls that no implementation can do without, made by the load tool itself: a create claims a message and writes the
//! tag, a read looks up the room, an instant create writes a record and a look-up reads it.

use std::sync::Arc;

use maxconf_simulators::queue::account_sas;
use maxconf_simulators::{StoredRoom, World};
use parking_lot::Mutex;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;
use url::Url;

use crate::Error;
use crate::callers::{http, sent};

/// Queue and container of the floor, of which the service does not know.
const QUEUE: &str = "floor";
const CONTAINER: &str = "floor";

/// Messages of one receive, as many as the queue gives at most.
const BATCH: usize = 32;

const STORAGE_VERSION: &str = "2025-11-05";

/// As large as the record of an instant room.
const RECORD_BYTES: usize = 800;

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct Floor(Arc<Shared>);

struct Shared {
    http: Client,
    /// With its signature.
    queue: Url,
    blobs: Url,
    pexip: Url,
    account: (&'static str, String),
    leased: Mutex<Vec<Leased>>,
}

/// A message that is leased, and the address of its room.
struct Leased {
    message: Url,
    room: Url,
}

impl Floor {
    /// Leases messages for so many creates.
    pub(crate) async fn start(world: &World, creates: u32) -> Result<Self, Error> {
        let signed = |mut url: Url| {
            url.set_query(Some(&account_sas()));
            url
        };
        world.blobs.put(CONTAINER, "first", "{}");
        let (queue, blobs) = (signed(world.queue.url()), signed(world.blobs.url()));
        let (pexip, account) = (world.pexip.management_url(), (world.pexip.username(), world.pexip.password()));
        let floor = Self(Arc::new(Shared { http: http()?, queue, blobs, pexip, account, leased: Mutex::default() }));
        for number in 0..creates {
            let name = format!("floor-{number}");
            world.pexip.insert(StoredRoom::named(&name).with_pins("123456", "654321"));
            world.queue.put(QUEUE, &name);
        }
        while floor.0.leased.lock().len() < creates as usize {
            floor.lease(world).await?;
        }
        Ok(floor)
    }

    async fn lease(&self, world: &World) -> Result<(), Error> {
        let mut address = under(&self.0.queue, &[QUEUE, "messages"]);
        address
            .query_pairs_mut()
            .append_pair("numofmessages", &BATCH.to_string())
            .append_pair("visibilitytimeout", "3600");
        let list = sent(self.storage(Method::GET, address), 200).await?;
        for message in list.split("<QueueMessage>").skip(1) {
            let element = |name: &str| {
                let (_, rest) = message.split_once(&format!("<{name}>")).ok_or("no such element")?;
                rest.split_once('<').map(|(text, _)| text).ok_or("an element without an end")
            };
            let mut delete = under(&self.0.queue, &[QUEUE, "messages", element("MessageId")?]);
            delete.query_pairs_mut().append_pair("popreceipt", element("PopReceipt")?);
            let room = world.pexip.room(element("MessageText")?).ok_or("a message without a room")?;
            let room = self.0.pexip.join(&format!("api/admin/configuration/v1/conference/{}/", room.id))?;
            self.0.leased.lock().push(Leased { message: delete, room });
        }
        Ok(())
    }

    pub(crate) async fn create(&self) -> Result<(), String> {
        let Leased { message, room } = self.0.leased.lock().pop().ok_or("too few messages are leased")?;
        sent(self.storage(Method::DELETE, message), 204).await?;
        let tag = json!({ "tag": "https://id.gov.bc.ca/idcheck/MTIzNDU2LDc2NTQzMg", "description": "handed-out" });
        sent(self.node(Method::PATCH, room).json(&tag), 202).await.map(drop)
    }

    pub(crate) async fn read(&self, name: &str) -> Result<(), String> {
        let mut address = self.0.pexip.join("api/admin/configuration/v1/conference/").expect("a path");
        address.query_pairs_mut().append_pair("name", name);
        sent(self.node(Method::GET, address), 200).await.map(drop)
    }

    /// `number` is that of the record.
    pub(crate) async fn create_instant(&self, number: u32) -> Result<(), String> {
        let request = self.storage(Method::PUT, under(&self.0.blobs, &[CONTAINER, &number.to_string()]));
        let request = request.header("x-ms-blob-type", "BlockBlob").body(vec![b' '; RECORD_BYTES]);
        sent(request, 201).await.map(drop)
    }

    pub(crate) async fn look_up(&self) -> Result<(), String> {
        sent(self.storage(Method::GET, under(&self.0.blobs, &[CONTAINER, "first"])), 200).await.map(drop)
    }

    fn storage(&self, method: Method, address: Url) -> RequestBuilder {
        self.0.http.request(method, address).header("x-ms-version", STORAGE_VERSION)
    }

    fn node(&self, method: Method, address: Url) -> RequestBuilder {
        self.0.http.request(method, address).basic_auth(self.0.account.0, Some(&self.0.account.1))
    }
}

/// The account's address with these segments, and its signature.
fn under(account: &Url, segments: &[&str]) -> Url {
    let mut address = account.clone();
    address.path_segments_mut().expect("an http address").extend(segments);
    address
}
