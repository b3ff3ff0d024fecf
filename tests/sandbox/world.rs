use std::ffi::OsString;
use std::io;

use maxconf_simulators::{EntraSimulator, GenesysSimulator, PexipSimulator, QueueSimulator, Traffic};
use tokio::sync::broadcast::error::RecvError;

/// Rooms that the sandbox keeps ready.
pub(crate) const POOL_SIZE: usize = 4;

const QUEUE: &str = "room-creation-queue";

/// The automatic participant that dials out to the Genesys queue, as an operator would have made it on Pexip.
const DIAL_OUT_ID: u64 = 1;

/// Where `local.settings.json` looks for Pexip, Entra and Genesys.
const LOCAL_PORTS: [u16; 3] = [7101, 7102, 7103];

/// The outside world of the sandbox.
pub(crate) struct World {
    pub(crate) queue: QueueSimulator,
    pub(crate) pexip: PexipSimulator,
    pub(crate) entra: EntraSimulator,
    pub(crate) genesys: GenesysSimulator,
}

impl World {
    /// Every simulator, on ports that are free.
    pub(crate) async fn start() -> Self {
        let world = Self {
            queue: QueueSimulator::start().await,
            pexip: PexipSimulator::start().await,
            entra: EntraSimulator::start().await,
            genesys: GenesysSimulator::start().await,
        };
        world.pexip.add_automatic_participant(DIAL_OUT_ID, "sip:SBC_VBV_TEST@sbc.example.org");
        world
    }

    /// Those that `local.settings.json` names, on its ports; the queue there is an emulator's.
    pub(crate) async fn for_local_settings() -> io::Result<Self> {
        let [pexip, entra, genesys] = LOCAL_PORTS;
        Ok(Self {
            queue: QueueSimulator::start().await,
            pexip: PexipSimulator::start_on(pexip).await?,
            entra: EntraSimulator::start_on(entra).await?,
            genesys: GenesysSimulator::start_on(genesys).await?,
        })
    }

    /// The value of a setting of the service in this world.
    pub(crate) fn setting(&self, name: &str, port: u16) -> Option<OsString> {
        let value = match name {
            "FUNCTIONS_CUSTOMHANDLER_PORT" => port.to_string(),
            "PoolStorage" => self.queue.connection_string(),
            "POOL_QUEUE_NAME" => QUEUE.to_owned(),
            "POOL_TARGET_SIZE" => POOL_SIZE.to_string(),
            // Nothing is replicated here, so nobody has to wait the 90 seconds that a real deployment needs.
            "POOL_READY_DELAY_SECONDS" => "1".to_owned(),
            "ROOM_AUTOMATIC_PARTICIPANTS" => DIAL_OUT_ID.to_string(),
            "PEXIP_MANAGEMENT_URL" => self.pexip.management_url().to_string(),
            "PEXIP_USERNAME" => self.pexip.username().to_owned(),
            "PEXIP_PASSWORD" => self.pexip.password(),
            "ENTRA_AUTHORITY_URL" => self.entra.authority_url().to_string(),
            "ENTRA_TENANT_ID" => self.entra.tenant_id().to_owned(),
            "ENTRA_AUDIENCE" => format!("{},{}", self.entra.audience(), self.entra.app_id_uri()),
            "GENESYS_API_URL" => self.genesys.api_url().to_string(),
            "GENESYS_ORGANIZATION_ID" => self.genesys.organization_id().to_owned(),
            "GENESYS_OAUTH_CLIENT_IDS" => self.genesys.oauth_client_id().to_owned(),
            "CORS_ALLOWED_ORIGINS" => "http://localhost:5173".to_owned(),
            _ => return None,
        };
        Some(value.into())
    }

    /// Messages that can be received now or are leased by the service.
    pub(crate) fn ready_rooms(&self) -> usize {
        let visible_or_leased =
            |message: &&maxconf_simulators::StoredMessage| message.visible || message.dequeue_count > 0;
        self.queue.messages(QUEUE).iter().filter(visible_or_leased).count()
    }

    /// Prints each call that the simulators get as a line: without its query, which may hold names of rooms only, but
    /// need not be read.
    pub(crate) fn show_traffic(&self) {
        for (name, traffic) in [
            ("queue", self.queue.traffic()),
            ("pexip", self.pexip.traffic()),
            ("entra", self.entra.traffic()),
            ("genesys", self.genesys.traffic()),
        ] {
            tokio::spawn(print_exchanges(name, traffic.clone()));
        }
    }
}

async fn print_exchanges(name: &'static str, traffic: Traffic) {
    let mut exchanges = traffic.subscribe();
    loop {
        match exchanges.recv().await {
            Ok(exchange) => {
                let status = exchange.status.map_or_else(|| "cut".to_owned(), |status| status.to_string());
                let path = exchange.path.strip_prefix("/devstoreaccount1").unwrap_or(&exchange.path);
                println!("      └ {name:<7} {status} {:<6} {path}", exchange.method.as_str());
            }
            Err(RecvError::Lagged(missed)) => println!("      └ {name:<7} {missed} calls not shown"),
            Err(RecvError::Closed) => return,
        }
    }
}
