//! The console: a page that shows the service at work, and buttons that act as its callers, its operator and its bad
//! days.

mod actions;
mod faults;
mod feed;
mod gateway;
mod guard;
mod idim;
mod instances;
mod load;
mod mask;
mod rooms;
mod sessions;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use maxconf_simulators::entra::{CLIENT_ID, CLIENT_SECRET};
use maxconf_simulators::pexip::ConferencingNode;
use maxconf_simulators::world::RECORDS;
use maxconf_simulators::{Server, Traffic, World};
use parking_lot::Mutex;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::pages::{self, CSS, File, HTML, JAVASCRIPT, SVG};
use crate::{RoomSource, reference, website, widget, world};

use actions::Action;
use faults::Faults;
use feed::Feed;
use gateway::Gateway;
use idim::Idim;
use instances::{Instances, NAMES};
use rooms::Lives;
use sessions::Sessions;
use website::Website;
use wire::{Callee, Wire};

/// Interval of reads of the rooms while nothing happens: validities end, leases too.
const READ_INTERVAL: Duration = Duration::from_millis(500);

/// Least time between two reads.
const PAUSE: Duration = Duration::from_millis(80);

/// Time from the first participant to the call to the agents' queue: the vendor's ten seconds are long to watch.
const DIAL_OUT: Duration = Duration::from_secs(2);

/// Above the gateway's.
const DEADLINE: Duration = Duration::from_secs(60);

/// Largest request of the page.
const LARGEST_REQUEST: usize = 4_096;

const FILES: [File; 4] = [
    ("/", HTML, include_str!("console/page/index.html")),
    ("/console.css", CSS, include_str!("console/page/console.css")),
    ("/console.js", JAVASCRIPT, include_str!("console/page/console.js")),
    ("/icon.svg", SVG, include_str!("console/page/icon.svg")),
];

/// The console, its gateway and the instances behind it.
pub(crate) struct Console {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    world: Arc<World>,
    node: ConferencingNode,
    instances: Arc<Instances>,
    gateway: Gateway,
    idim: Idim,
    website: Arc<Website>,
    /// The console's own address, set once its server listens.
    address: OnceLock<Url>,
    http: Client,
    feed: Feed,
    wire: Wire,
    faults: Faults,
    sessions: Mutex<Sessions>,
    lives: Mutex<Lives>,
    /// Something has ended: the rooms may have changed.
    ended: Arc<Notify>,
    is_loading: AtomicBool,
}

impl Console {
    /// Starts the page, a node and the gateway, which has no instances yet. Both listen on the given ports, or on free
    /// ones if those are in use.
    pub(crate) async fn start(world: Arc<World>, source: RoomSource, port: u16, service_port: u16) -> Self {
        let instances = Arc::new(Instances::new(source));
        let gateway = Gateway::start(service_port, Arc::clone(&instances)).await;
        world.pexip.set_dial_out_delay(DIAL_OUT);
        world.pexip.use_direct_media(true);
        let node = world::conferencing_node(&world, &gateway.url()).await;
        let http = Client::builder().no_proxy().timeout(DEADLINE).build().expect("a client without settings of TLS");
        let idim = Idim::start(http.clone(), gateway.url(), world.entra.token_url(), world.entra.scope()).await;
        let (feed, ended) = (Feed::new(), Arc::new(Notify::new()));
        let wire = Wire::new(feed.clone(), Arc::clone(&ended));
        for (callee, traffic) in [
            (Callee::Idim, idim.traffic()),
            (Callee::Gateway, gateway.traffic()),
            (Callee::Entra, world.entra.traffic()),
            (Callee::Queue, world.queue.traffic()),
            (Callee::Records, world.blobs.traffic()),
            (Callee::Pexip, world.pexip.traffic()),
            (Callee::Node, node.traffic()),
            (Callee::Genesys, world.genesys.traffic()),
        ] {
            wire.follow(callee, traffic);
        }
        let website = Arc::new(website(&world, &gateway.url(), &node.server().url()));
        let shared = Arc::new(Shared {
            world,
            node,
            instances,
            gateway,
            idim,
            website,
            address: OnceLock::new(),
            http,
            feed,
            wire,
            faults: Faults::default(),
            sessions: Mutex::default(),
            lives: Mutex::default(),
            ended,
            is_loading: AtomicBool::new(false),
        });
        let website = Traffic::default();
        shared.wire.follow(Callee::Website, &website);
        let sites = sites(&shared, &website);
        let router = router(Arc::clone(&shared), sites);
        let server = match Server::start_on(router.clone(), port).await {
            Ok(server) => server,
            Err(_) => Server::start(router).await,
        };
        shared.address.set(server.url()).expect("it is set here only");
        tokio::spawn(Arc::clone(&shared).keep_reading());
        Self { server, shared }
    }

    pub(crate) fn url(&self) -> Url {
        self.server.url()
    }

    /// The service's address: the gateway's.
    pub(crate) fn service(&self) -> Url {
        self.shared.gateway.url()
    }

    pub(crate) fn node(&self) -> &ConferencingNode {
        &self.shared.node
    }

    pub(crate) async fn start_instances(&self, settings: HashMap<&'static str, String>) -> Result<(), String> {
        self.shared.instances.start_all(settings).await
    }

    /// Keeps Pexip's rooms as they are now, to be restored.
    pub(crate) fn back_up(&self) {
        self.shared.faults.back_up(&self.shared.world);
        self.shared.read_rooms();
    }

    pub(crate) async fn stop_instances(&self) {
        self.shared.instances.stop_all().await;
    }
}

impl Shared {
    async fn keep_reading(self: Arc<Self>) {
        loop {
            // Either is a reason to read.
            let _ = timeout(READ_INTERVAL, self.ended.notified()).await;
            self.read_rooms();
            sleep(PAUSE).await;
        }
    }

    fn read_rooms(&self) {
        let mut lives = self.lives.lock();
        lives.read(&self.world, self.feed.now());
        let mode = self.instances.mode();
        let running = |index| json!({ "name": NAMES[index], "is_running": self.instances.is_running(index) });
        self.feed.tell_state(json!({
            "mode": { "source": mode.source.as_str(), "when_empty": mode.when_empty.as_str() },
            "instances": (0..NAMES.len()).map(running).collect::<Vec<_>>(),
            "faults": self.faults.json(), "has_backup": self.faults.has_backup(),
            "target": world::CONSOLE_POOL_SIZE, "rooms": lives.json(), "room_counts": lives.counts(), "sessions": self.sessions.lock().json(),
            "counters": self.wire.counters(),
        }));
    }

    fn open_instant_rooms(&self) -> Vec<String> {
        let records = self.world.blobs.blobs(RECORDS);
        let open = records.iter().filter(|record| record.text.contains("\"open\""));
        open.filter_map(|record| record.name.strip_prefix("instant/").map(ToOwned::to_owned)).collect()
    }
}

fn website(world: &World, api: &Url, node: &Url) -> Website {
    let registration = website::Registration {
        token_url: world.entra.token_url(),
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        scope: world.entra.scope(),
    };
    Website::new(website::Settings { api: api.clone(), node: node.clone(), registration })
}

/// Pages of other parties, each with a server part of its own.
fn sites(shared: &Shared, website: &Traffic) -> Router {
    let (api, node) = (shared.gateway.url(), shared.node.server().url());
    let (genesys, both) = (Arc::clone(&shared.world), Arc::clone(&shared.world));
    let tokens = move || reference::Tokens { entra: both.entra.token().build(), genesys: both.genesys.issue_token() };
    let reference = reference::router(&api, tokens);
    let widget = widget::router(&widget::Settings { api, node }, move || genesys.genesys.issue_token());
    website
        .watch(Router::new().nest("/website/", website::router(Arc::clone(&shared.website))))
        .nest("/widget/", widget)
        .nest("/api/", reference)
        .layer(middleware::from_fn(guard::refuse_other_origins))
}

fn router(shared: Arc<Shared>, sites: Router) -> Router {
    let server = Router::new()
        .route("/events", get(async |State(shared): State<Arc<Shared>>| shared.feed.stream()))
        .route("/exchange/{id}", get(exchange))
        .route("/act", post(act))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(shared);
    let own = pages::files(&FILES).merge(server).route_layer(middleware::from_fn(guard::refuse_other_pages));
    let own = pages::with_headers(own, &[]);
    Router::new().merge(own).merge(sites).layer(middleware::from_fn(guard::refuse_other_hosts))
}

/// The details of an exchange, without its secrets.
async fn exchange(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    match shared.feed.detail(id) {
        Some(detail) => Json(detail).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// In a task of its own: whoever closes the page must not stop an action half-way.
async fn act(State(shared): State<Arc<Shared>>, Json(action): Json<Action>) -> Json<Value> {
    let acting = tokio::spawn(async move { shared.act(action).await.json() });
    Json(acting.await.unwrap_or_else(|_| json!({ "result": "failed", "text": "the sandbox has an error" })))
}
