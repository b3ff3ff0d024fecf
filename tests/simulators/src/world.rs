//! All systems that the service calls, together.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio_rustls::TlsAcceptor;

use crate::queue::{ACCOUNT, ACCOUNT_KEY, account_sas};
use crate::{BlobSimulator, EntraSimulator, GenesysSimulator, PexipSimulator, QueueSimulator};

/// The queue that the service uses on the simulator.
pub const POOL_QUEUE: &str = "room-creation-queue";

/// The OAuth2 client that the service is at Pexip.
pub const OAUTH2_CLIENT: &str = "room-service";

/// The container of the room records on the simulator.
pub const RECORDS: &str = "room-records";

/// The systems that the service calls, on loopback.
#[derive(Debug)]
pub struct World {
    /// Storage of the pool's messages.
    pub queue: QueueSimulator,
    /// Storage of the room records.
    pub blobs: BlobSimulator,
    /// The Pexip platform.
    pub pexip: PexipSimulator,
    /// Issuer of IDIM's tokens.
    pub entra: EntraSimulator,
    /// Issuer of the agents' tokens.
    pub genesys: GenesysSimulator,
}

impl World {
    /// Starts every simulator on a free port.
    pub async fn start() -> Self {
        let (queue, blobs, pexip, entra, genesys) = tokio::join!(
            QueueSimulator::start(),
            BlobSimulator::start(),
            PexipSimulator::start(),
            EntraSimulator::start(),
            GenesysSimulator::start()
        );
        Self { queue, blobs, pexip, entra, genesys }
    }

    /// Starts every simulator with https and one certificate for all.
    pub async fn start_tls(certificate: impl Into<TlsAcceptor>) -> Self {
        let certificate: TlsAcceptor = certificate.into();
        let (queue, blobs, pexip, entra, genesys) = tokio::join!(
            QueueSimulator::start_tls(certificate.clone()),
            BlobSimulator::start_tls(certificate.clone()),
            PexipSimulator::start_tls(certificate.clone()),
            EntraSimulator::start_tls(certificate.clone()),
            GenesysSimulator::start_tls(certificate.clone())
        );
        Self { queue, blobs, pexip, entra, genesys }
    }

    /// Connection string of the storage account, with its key.
    pub fn connection_string(&self) -> String {
        format!("DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{}", self.endpoints())
    }

    /// The same with an account SAS with all permissions for a day.
    pub fn sas_connection_string(&self) -> String {
        format!("{}SharedAccessSignature={};", self.endpoints(), account_sas())
    }

    /// The part of a connection string that names both services.
    pub fn endpoints(&self) -> String {
        format!("QueueEndpoint={};BlobEndpoint={};", self.queue.url(), self.blobs.url())
    }

    /// Settings of a service that is an OAuth2 client at Pexip, to be added to the others. Pexip refuses Basic
    /// authentication from now on.
    pub fn oauth2_settings(&self) -> [(&'static str, String); 4] {
        let key = self.pexip.add_oauth2_client(OAUTH2_CLIENT);
        self.pexip.accept_basic(false);
        [
            ("PEXIP_OAUTH_CLIENT_ID", OAUTH2_CLIENT.to_owned()),
            ("PEXIP_OAUTH_PRIVATE_KEY", BASE64_STANDARD.encode(key)),
            ("PEXIP_USERNAME", String::new()),
            ("PEXIP_PASSWORD", String::new()),
        ]
    }

    /// Settings of a service that calls these systems: an empty pool of four without ready delay, and any port.
    pub fn settings(&self) -> HashMap<&'static str, String> {
        HashMap::from([
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "0".to_owned()),
            ("POOL_TIMER_SCHEDULE", "0 * * * * *".to_owned()),
            ("PoolStorage", self.connection_string()),
            ("POOL_QUEUE_NAME", POOL_QUEUE.to_owned()),
            ("RECORDS_CONTAINER", RECORDS.to_owned()),
            ("RECORDS_HASH_KEY", "key of the simulated records".to_owned()),
            ("POOL_TARGET_SIZE", "4".to_owned()),
            ("POOL_READY_DELAY_SECONDS", "0".to_owned()),
            ("PEXIP_MANAGEMENT_URL", self.pexip.management_url().to_string()),
            ("PEXIP_USERNAME", self.pexip.username().to_owned()),
            ("PEXIP_PASSWORD", self.pexip.password()),
            ("ENTRA_AUTHORITY_URL", self.entra.authority_url().to_string()),
            ("ENTRA_TENANT_ID", self.entra.tenant_id().to_owned()),
            ("ENTRA_AUDIENCE", format!("{},{}", self.entra.audience(), self.entra.app_id_uri())),
            ("GENESYS_API_URL", self.genesys.api_url().to_string()),
            ("GENESYS_ORGANIZATION_ID", self.genesys.organization_id().to_owned()),
            ("GENESYS_OAUTH_CLIENT_IDS", self.genesys.oauth_client_id().to_owned()),
            ("GENESYS_DIVISION_IDS", self.genesys.division_id().to_owned()),
            ("CORS_ALLOWED_ORIGINS", "https://agent.example.org".to_owned()),
        ])
    }
}
