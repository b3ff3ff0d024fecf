use std::collections::HashMap;
use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use maxconf::config::Config;
use maxconf::domain::{RoomName, RoomNamePrefix};
use maxconf::outbound::client_builder;
use maxconf::storage::queue::RoomQueue;
use maxconf_simulators::QueueSimulator;
use maxconf_simulators::queue::{ACCOUNT, account_sas};
use reqwest::{Client, Method};

use super::{Answer, Azurite, within};

/// A queue for one test, which does not exist yet, on the emulator or on the simulator.
pub(crate) struct TestQueue {
    pub(crate) connection_string: String,
    /// Its name, different for each test.
    pub(crate) name: String,
    /// The simulator, for faults; `None` on the emulator.
    simulator: Option<QueueSimulator>,
    http: Client,
}

impl TestQueue {
    /// On Azurite, if this machine has it.
    pub(crate) fn on_azurite() -> Option<Self> {
        Some(Self::new(Azurite::get()?.connection_string().to_owned(), None))
    }

    pub(crate) async fn on_the_simulator() -> Self {
        let simulator = QueueSimulator::start().await;
        Self::new(simulator.connection_string(), Some(simulator))
    }

    fn new(connection_string: String, simulator: Option<QueueSimulator>) -> Self {
        let name = format!("t-{:032x}", rand::random::<u128>());
        Self { connection_string, name, simulator, http: Client::builder().no_proxy().build().expect("a client") }
    }

    /// The service's own client, as an instance has it; each call makes one more instance.
    pub(crate) fn client(&self) -> RoomQueue {
        room_queue(&self.connection_string, &self.name)
    }

    /// The same with a shared access signature instead of the account's key.
    pub(crate) fn client_with_signature(&self) -> RoomQueue {
        let endpoint = self.endpoint();
        room_queue(&format!("{};SharedAccessSignature={}", queue_endpoint(endpoint), account_sas()), &self.name)
    }

    /// The same with a key that is not the account's.
    pub(crate) fn client_with_wrong_key(&self) -> RoomQueue {
        let endpoint = self.endpoint();
        room_queue(&format!("AccountName={ACCOUNT};AccountKey=d3Jvbmc=;{}", queue_endpoint(endpoint)), &self.name)
    }

    pub(crate) fn simulator(&self) -> &QueueSimulator {
        self.simulator.as_ref().expect("a test for the simulator")
    }

    /// Puts any text, as another writer would.
    pub(crate) async fn put_text(&self, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let message = format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>");
        let answer = self.send(Method::POST, "/messages", "", &message).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// How many messages a receive would find now.
    pub(crate) async fn visible(&self) -> usize {
        self.peek("").await.len()
    }

    /// What lies in the queue of messages that were set aside, for an operator.
    pub(crate) async fn set_aside(&self) -> Vec<String> {
        self.peek("-poison").await
    }

    async fn peek(&self, suffix: &str) -> Vec<String> {
        let path = format!("{suffix}/messages");
        let answer = self.send(Method::GET, &path, "peekonly=true&numofmessages=32&", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let texts = answer.text.split("<MessageText>").skip(1).filter_map(|rest| rest.split("</").next());
        let plain =
            |text: &str| text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        texts.map(plain).collect()
    }

    /// Removes the queue; the emulator gets slower with everything that lies in it.
    pub(crate) async fn remove(&self) {
        for suffix in ["", "-poison"] {
            let answer = self.send(Method::DELETE, suffix, "", "").await;
            assert!(answer.status == 204 || answer.status == 404, "{answer:?}");
        }
    }

    /// `path` comes right after the queue's name.
    async fn send(&self, method: Method, path: &str, query: &str, body: &str) -> Answer {
        let url = format!("{}/{}{path}?{query}{}", self.endpoint(), self.name, account_sas());
        let request = self.http.request(method, url).body(body.to_owned()).send();
        Answer::read(within("an answer of the queue service", request).await.expect("an answer")).await
    }

    fn endpoint(&self) -> &str {
        let (_, rest) = self.connection_string.split_once("QueueEndpoint=").expect("an endpoint");
        rest.split(';').next().expect("its end").trim_end_matches('/')
    }
}

/// The part of a connection string that names the queue service; no test of the queue uses the blob service.
fn queue_endpoint(endpoint: &str) -> String {
    format!("QueueEndpoint={endpoint};BlobEndpoint=http://127.0.0.1:9/{ACCOUNT}")
}

/// The service's own client for this queue, made from the settings that an operator gives.
pub(crate) fn room_queue(connection_string: &str, name: &str) -> RoomQueue {
    let config = storage_config(connection_string, [("POOL_QUEUE_NAME", name)]);
    RoomQueue::new(&config.queue, config.room.prefix, storage_http()).expect("a queue client")
}

/// The settings of a service with this storage account.
pub(super) fn storage_config<'a>(
    connection_string: &'a str,
    own: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Config {
    let mut settings = HashMap::from([
        ("PoolStorage", connection_string),
        ("PEXIP_MANAGEMENT_URL", "https://pexip.example.org"),
        ("PEXIP_USERNAME", "maxconf"),
        ("PEXIP_PASSWORD", "password"),
        ("ENTRA_TENANT_ID", maxconf_simulators::entra::TENANT_ID),
        ("ENTRA_AUDIENCE", maxconf_simulators::entra::API_CLIENT_ID),
        ("GENESYS_API_URL", "https://genesys.example.org"),
        ("GENESYS_ORGANIZATION_ID", maxconf_simulators::genesys::ORGANIZATION_ID),
    ]);
    settings.extend(own);
    Config::read(|name| settings.get(name).map(OsString::from)).expect("settings that can be used")
}

/// As the service has it: the emulator closes idle connections after five seconds.
pub(super) fn storage_http() -> Client {
    let http = client_builder(Duration::from_secs(2)).pool_idle_timeout(Duration::from_secs(4));
    http.build().expect("a client")
}

/// A room's name of the form that the service mints, different each time.
pub(crate) fn a_name() -> RoomName {
    let prefix = RoomNamePrefix::parse("vbv-").expect("the usual prefix");
    prefix.mint(SystemTime::now(), &mut rand::rng())
}
