//! The sandbox's simulators, which are as the operator's systems, and the settings of a service that calls them.

use std::collections::HashMap;
use std::io;

use maxconf_simulators::entra::{CLIENT_ID, CLIENT_SECRET};
use maxconf_simulators::operator::{EVENT_ACCOUNT, POLICY_ACCOUNT};
use maxconf_simulators::pexip::ConferencingNode;
use maxconf_simulators::world::{POOL_QUEUE, World};
use maxconf_simulators::{
    BlobSimulator, EntraSimulator, GenesysSimulator, PexipSimulator, QueueSimulator, StoredMessage, StoredRoom, Traffic,
};
use tokio::sync::broadcast::error::RecvError;
use url::Url;

use crate::RoomSource;

/// Target size of the sandbox's pool.
pub(crate) const POOL_SIZE: usize = 4;

/// The same behind the console, where two instances hold some of the rooms.
pub(crate) const CONSOLE_POOL_SIZE: usize = 8;

/// A room of another system, which agents may read.
pub(crate) const KIOSK: &str = "vkiosk_1";

/// Origin of the widget's page.
const WIDGET: &str = "http://localhost:5173";

/// Ports of Pexip, Entra and Genesys in `local.settings.json`.
const LOCAL_PORTS: [u16; 3] = [7101, 7102, 7103];

/// Address of the Functions host with `local.settings.json`.
pub(crate) const LOCAL_SERVICE: &str = "http://127.0.0.1:7071/";

/// Starts every simulator on a free port.
pub(crate) async fn start() -> World {
    let world = World::start().await;
    world.pexip.insert(StoredRoom::named(KIOSK).with_pins("4711", "0815").with_alias(KIOSK));
    world
}

/// Starts the simulators that `local.settings.json` names, on its ports. Its storage is Azurite's. Pexip
/// accepts its password: that file must not hold a key.
pub(crate) async fn start_for_local_settings() -> io::Result<World> {
    let [pexip, entra, genesys] = LOCAL_PORTS;
    let world = World {
        queue: QueueSimulator::start().await,
        blobs: BlobSimulator::start().await,
        pexip: PexipSimulator::start_on(pexip).await?,
        entra: EntraSimulator::start_on(entra).await?,
        genesys: GenesysSimulator::start_on(genesys).await?,
    };
    world.become_the_operators();
    Ok(world)
}

/// Settings of the service in this world: the operator's. From now on, Pexip refuses its password.
pub(crate) fn settings(world: &World, source: RoomSource) -> HashMap<&'static str, String> {
    let mut settings = world.operators_settings();
    settings.extend([
        ("POOL_TARGET_SIZE", POOL_SIZE.to_string()),
        // Nothing is replicated here, so the 2 minutes of a real deployment are not needed.
        ("POOL_READY_DELAY_SECONDS", "1".to_owned()),
        ("CORS_ALLOWED_ORIGINS", WIDGET.to_owned()),
        // High limits, so that a command can generate load.
        ("PEXIP_REQUESTS_PER_MINUTE", "100000".to_owned()),
        ("RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
        ("POOL_MAX_ROOMS", "100000".to_owned()),
        // Short, but long enough to observe.
        ("ROOM_END_GRACE_SECONDS", "5".to_owned()),
    ]);
    if source == RoomSource::Instant {
        settings.extend([
            ("ROOM_SOURCE", "instant".to_owned()),
            ("INSTANT_ROOM_DIAL_OUT", "sip:queue@sbc.example.org".to_owned()),
        ]);
    }
    settings
}

/// Makes them the settings of the console's instances. Pages of its address may read what agents may read.
pub(crate) fn put_behind_console(settings: &mut HashMap<&'static str, String>, console: &Url) {
    let origin = console.origin().ascii_serialization();
    settings.extend([
        ("CORS_ALLOWED_ORIGINS", format!("{WIDGET},{origin}")),
        ("POOL_TARGET_SIZE", CONSOLE_POOL_SIZE.to_string()),
        // The rooms of a killed instance are soon ready again.
        ("POOL_LEASE_SECONDS", "20".to_owned()),
        // Both sources can be chosen while it runs.
        ("INSTANT_ROOM_DIAL_OUT", "sip:queue@sbc.example.org".to_owned()),
    ]);
}

/// A Conferencing Node on which rooms can be joined. Asks `service` about each call, and sends its events there.
pub(crate) async fn conferencing_node(world: &World, service: &Url) -> ConferencingNode {
    let events = service.join("public/event_sink").expect("a path");
    world.pexip.add_event_sink(events, EVENT_ACCOUNT.0, EVENT_ACCOUNT.1);
    world.pexip.add_policy_server(service.clone(), POLICY_ACCOUNT.0, POLICY_ACCOUNT.1);
    world.pexip.conferencing_node("10.0.0.21").await
}

/// Environment of a command: the service's address and settings, and credentials to call and smoke-test it.
pub(crate) fn environment(
    world: &World,
    settings: HashMap<&'static str, String>,
    service: &Url,
) -> HashMap<&'static str, String> {
    let mut variables = settings;
    variables.extend([
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "0".to_owned()),
        ("MAXCONF_URL", service.to_string()),
        ("SANDBOX_ENTRA_TOKEN", world.entra.token().build()),
        ("SANDBOX_GENESYS_TOKEN", world.genesys.issue_token()),
        ("SMOKE_ENTRA_TOKEN_URL", world.entra.token_url().to_string()),
        ("SMOKE_ENTRA_CLIENT_ID", CLIENT_ID.to_owned()),
        ("SMOKE_ENTRA_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ("SMOKE_ENTRA_SCOPE", world.entra.scope()),
        ("SMOKE_GENESYS_TOKEN", world.genesys.issue_token()),
        ("SMOKE_ORIGIN", WIDGET.to_owned()),
        ("SMOKE_POLICY_USERNAME", POLICY_ACCOUNT.0.to_owned()),
        ("SMOKE_POLICY_PASSWORD", POLICY_ACCOUNT.1.to_owned()),
    ]);
    variables
}

/// Messages that can be received now or are leased by the service.
pub(crate) fn ready_rooms(world: &World) -> usize {
    let visible_or_leased = |message: &&StoredMessage| message.visible || message.dequeue_count > 0;
    world.queue.messages(POOL_QUEUE).iter().filter(visible_or_leased).count()
}

/// Prints each call that the simulators get as a line: without its query, which may hold names of rooms only, but need
/// not be read.
pub(crate) fn show_traffic(world: &World) {
    for (name, traffic) in [
        ("queue", world.queue.traffic()),
        ("records", world.blobs.traffic()),
        ("pexip", world.pexip.traffic()),
        ("entra", world.entra.traffic()),
        ("genesys", world.genesys.traffic()),
    ] {
        tokio::spawn(print_exchanges(name, traffic.clone()));
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
