use maxconf::storage::records::RecordStore;
use maxconf_simulators::BlobSimulator;
use maxconf_simulators::queue::{ACCOUNT, ACCOUNT_KEY, account_sas};
use reqwest::{Client, Method};

use super::queue::{storage_config, storage_http};
use super::{Answer, Azurite, within};

/// A container for one test, which does not exist yet, on the emulator or on the simulator.
pub(crate) struct TestRecords {
    /// Address of the blob service.
    endpoint: String,
    /// Its name, different for each test.
    pub(crate) name: String,
    /// The simulator, for faults; `None` on the emulator.
    simulator: Option<BlobSimulator>,
    http: Client,
}

impl TestRecords {
    /// On Azurite, if this machine has it.
    pub(crate) fn on_azurite() -> Option<Self> {
        let (_, endpoint) = Azurite::get()?.connection_string().split_once("BlobEndpoint=").expect("an endpoint");
        Some(Self::new(endpoint.split(';').next().expect("its end"), None))
    }

    pub(crate) async fn on_the_simulator() -> Self {
        let simulator = BlobSimulator::start().await;
        Self::new(simulator.url().as_str(), Some(simulator))
    }

    fn new(endpoint: &str, simulator: Option<BlobSimulator>) -> Self {
        let name = format!("t-{:032x}", rand::random::<u128>());
        let http = Client::builder().no_proxy().build().expect("a client");
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), name, simulator, http }
    }

    /// The service's own client, as an instance has it; each call makes one more instance.
    pub(crate) fn client(&self) -> RecordStore {
        self.client_with(&format!("AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY}"))
    }

    /// The same with a shared access signature instead of the account's key.
    pub(crate) fn client_with_signature(&self) -> RecordStore {
        self.client_with(&format!("SharedAccessSignature={}", account_sas()))
    }

    /// The same with a key that is not the account's.
    pub(crate) fn client_with_wrong_key(&self) -> RecordStore {
        self.client_with(&format!("AccountName={ACCOUNT};AccountKey=d3Jvbmc="))
    }

    fn client_with(&self, credentials: &str) -> RecordStore {
        let endpoint = &self.endpoint;
        // No test of the records uses the queue service.
        let connection = format!("{credentials};BlobEndpoint={endpoint};QueueEndpoint=http://127.0.0.1:9/{ACCOUNT}");
        let config = storage_config(&connection, [("RECORDS_CONTAINER", self.name.as_str())]);
        RecordStore::new(&config.records, storage_http()).expect("a client of the records")
    }

    pub(crate) fn simulator(&self) -> &BlobSimulator {
        self.simulator.as_ref().expect("a test for the simulator")
    }

    /// Removes the container; the emulator gets slower with everything that lies in it.
    pub(crate) async fn remove(&self) {
        let url = format!("{}/{}?restype=container&{}", self.endpoint, self.name, account_sas());
        let removed = within("an answer of the blob service", self.http.request(Method::DELETE, url).send()).await;
        let answer = Answer::read(removed.expect("an answer")).await;
        assert!(answer.status == 202 || answer.status == 404, "{answer:?}");
    }
}
