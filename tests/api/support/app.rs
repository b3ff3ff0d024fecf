use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime};

use maxconf::app::App;
use maxconf::config::Config;
use maxconf::domain::Clock;
use maxconf::http::server;
use maxconf::storage::queue::RoomQueue;
use maxconf_simulators::functions_host::{Invocation, Level, Mode};
use maxconf_simulators::{
    BlobSimulator, EntraSimulator, FunctionsHost, GenesysSimulator, PexipSimulator, QueueSimulator, StoredRoom,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use url::Url;

use super::{
    Answer, POOL_QUEUE, Program, Promises, TestQueue, UUI_DATA, World, eventually, print_log_if_wanted, room_queue,
    unpacked, within,
};

/// The running service and its outside world, on loopback and for one test only.
pub(crate) struct TestApp {
    pub(crate) queue: QueueSimulator,
    pub(crate) blobs: BlobSimulator,
    pub(crate) pexip: PexipSimulator,
    pub(crate) entra: EntraSimulator,
    pub(crate) genesys: GenesysSimulator,
    pub(crate) url: Url,
    pub(crate) http: Client,
    /// Its queue, where that is not the simulator's.
    emulated: Option<TestQueue>,
    promises: Promises,
    /// Of the service, for further instances.
    settings: HashMap<&'static str, String>,
    runs: Runs,
}

/// One more instance of a service in this process. Dropped, it stops.
pub(crate) struct Another {
    pub(crate) url: Url,
    _stop: oneshot::Sender<()>,
}

/// Where the service runs. Dropped, it stops.
enum Runs {
    InThisProcess {
        _stop: oneshot::Sender<()>,
    },
    /// The test holds it.
    InItsOwn,
    OnHost {
        host: FunctionsHost,
        _package: TempDir,
    },
}

/// A service to be started, with settings of its own.
pub(crate) struct TestAppBuilder {
    settings: Vec<(&'static str, String)>,
    emulated: Option<TestQueue>,
    clock: Clock,
    files: Option<u32>,
    /// Settings before its own.
    settings_of: fn(&World) -> HashMap<&'static str, String>,
}

impl TestAppBuilder {
    /// Makes the service an OAuth2 client at Pexip, which refuses Basic authentication.
    pub(crate) fn oauth2(mut self) -> Self {
        self.settings_of = |world| {
            let mut settings = world.settings();
            settings.extend(world.oauth2_settings());
            settings
        };
        self
    }

    /// Makes settings and outside world the operator's.
    pub(crate) fn the_operators(mut self) -> Self {
        self.settings_of = World::operators_settings;
        self
    }

    /// Sets a variable for this service; an empty value takes it away.
    #[expect(clippy::needless_pass_by_value, reason = "tests give numbers, addresses and texts as they have them")]
    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    /// Gives the service a queue on the emulator.
    pub(crate) fn emulated_queue(self, queue: TestQueue) -> Self {
        let service = self
            .set("PoolStorage", &queue.connection_string)
            .set("POOL_QUEUE_NAME", &queue.name)
            .set("RECORDS_CONTAINER", &queue.name);
        Self { emulated: Some(queue), ..service }
    }

    /// Lets the service read the time from `now`.
    pub(crate) fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::from_fn(now);
        self
    }

    /// Lets the program have so many file descriptors at most.
    pub(crate) fn files(mut self, files: u32) -> Self {
        self.files = Some(files);
        self
    }

    /// Starts the service as the binary does.
    pub(crate) async fn start(self) -> TestApp {
        self.start_in(World::start().await).await
    }

    /// The same in a world that is there already.
    pub(crate) async fn start_in(mut self, world: World) -> TestApp {
        print_log_if_wanted();
        let emulated = self.emulated.take();
        let settings = self.own_settings(&world);
        let (url, stop) = serve(&settings, self.clock);
        let has_pool =
            settings["POOL_TARGET_SIZE"] != "0" && settings.get("ROOM_SOURCE").is_none_or(|source| source != "instant");
        if has_pool && settings["PEXIP_MANAGEMENT_URL"] == world.pexip.management_url().as_str() {
            rooms_are_counted(&world.pexip).await;
            // Tests of tokens are about the fetch for this call as well.
            if !settings.contains_key("PEXIP_OAUTH_CLIENT_ID") {
                world.pexip.traffic().clear();
            }
        }
        let app = TestApp::new(world, url, emulated, Runs::InThisProcess { _stop: stop });
        TestApp { settings, ..app }
    }

    /// Starts the real program instead, in a process of its own.
    pub(crate) async fn start_program(self) -> (TestApp, Program) {
        let world = World::start().await;
        let files = self.files;
        let settings = self.program_settings(&world);
        let program = match files {
            None => Program::start(&["serve"], settings.clone()),
            Some(files) => Program::serve_with_files(files, settings.clone()),
        };
        let url = program.url().await;
        (TestApp { settings, ..TestApp::around(world, url) }, program)
    }

    /// Starts the real program as the handler behind a Functions host, which requests then go to.
    async fn start_on_host(mut self, mode: Mode) -> TestApp {
        let world = World::start().await;
        let emulated = self.emulated.take();
        let package = unpacked(Path::new(env!("CARGO_BIN_EXE_maxconf")));
        let host = FunctionsHost::start(package.path(), mode, self.program_settings(&world)).await;
        let host = host.expect("a package without faults");
        let url = host.url();
        TestApp::new(world, url, emulated, Runs::OnHost { host, _package: package })
    }

    fn program_settings(self, world: &World) -> HashMap<&'static str, String> {
        let mut settings = self.own_settings(world);
        settings.retain(|_, value| !value.is_empty());
        settings
    }

    fn own_settings(&self, world: &World) -> HashMap<&'static str, String> {
        let mut settings = (self.settings_of)(world);
        settings.extend(self.settings.clone());
        settings
    }
}

/// Waits for the count of the rooms that follows a start: it must neither meet the faults of a test nor be taken for a
/// call that the test causes.
async fn rooms_are_counted(pexip: &PexipSimulator) {
    eventually("the rooms are counted", async || {
        let mut calls = pexip.traffic().log().into_iter();
        calls.any(|call| call.query.contains("name__startswith") && call.status.is_some())
    })
    .await;
}

/// Starts an instance in this process, as the binary does.
fn serve(settings: &HashMap<&'static str, String>, clock: Clock) -> (Url, oneshot::Sender<()>) {
    let config = Config::read(|name| settings.get(name).map(OsString::from)).expect("settings that can be used");
    let listener = server::bind(&config.server).expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("a bound address"));
    let app = App::build(config, clock).expect("a service that can be built");
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(app.serve(listener, async {
        let _ = stopped.await;
        0
    }));
    (url.parse().expect("a URL"), stop)
}

/// Runs `test` with a service in this process, and with one behind a Functions host of either kind, which must not have
/// anything to complain of.
pub(crate) async fn on_every_host(service: impl Fn() -> TestAppBuilder, test: impl AsyncFn(&TestApp)) {
    let on = async |host| {
        let app = match host {
            None => service().start().await,
            Some(mode) => service().start_on_host(mode).await,
        };
        test(&app).await;
        app.assert_no_complaint_of_a_host();
        app.remove_emulated_queue().await;
    };
    Box::pin(on(None)).await;
    // At once, for the time of another process cannot be made to pass.
    tokio::join!(Box::pin(on(Some(Mode::Forwarding))), Box::pin(on(Some(Mode::Proxying))));
}

impl TestApp {
    /// A service with an empty pool of four and no ready delay.
    pub(crate) async fn start() -> Self {
        Self::with().start().await
    }

    /// A service at `url` that was started in this world by other means.
    pub(crate) fn around(world: World, url: Url) -> Self {
        Self::new(world, url, None, Runs::InItsOwn)
    }

    fn new(world: World, url: Url, emulated: Option<TestQueue>, runs: Runs) -> Self {
        let World { queue, blobs, pexip, entra, genesys } = world;
        let http = Client::builder().no_proxy().build().expect("a client");
        Self {
            queue,
            blobs,
            pexip,
            entra,
            genesys,
            url,
            http,
            emulated,
            promises: Promises::default(),
            settings: HashMap::new(),
            runs,
        }
    }

    /// The settings of this service, for one more program.
    pub(crate) fn settings_of_a_program(&self) -> HashMap<&'static str, String> {
        self.settings.clone()
    }

    /// One more instance with the same settings and the system's clock.
    pub(crate) fn another_instance(&self) -> Another {
        let (url, stop) = serve(&self.settings, Clock::system());
        Another { url, _stop: stop }
    }

    pub(crate) fn with() -> TestAppBuilder {
        TestAppBuilder {
            settings: Vec::new(),
            emulated: None,
            clock: Clock::system(),
            files: None,
            settings_of: World::settings,
        }
    }

    /// Its queue, as one more instance has it.
    pub(crate) fn room_queue(&self) -> RoomQueue {
        match &self.emulated {
            Some(queue) => queue.client(),
            None => room_queue(&self.queue.connection_string(), POOL_QUEUE),
        }
    }

    /// A request to the service, without credentials.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url.join(path).expect("a path"))
    }

    /// Sends it and holds the answer against the API's document, whatever the test is about.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = within("an answer of the service", self.http.execute(request)).await.expect("an answer");
        let answer = Answer::read(response).await;
        assert_eq!(self.promises.broken_by(&method, &path, &answer), None);
        answer
    }

    /// IDIM's create, for the case in the customer's documents.
    pub(crate) async fn create_room(&self) -> Answer {
        self.create_room_for(UUI_DATA).await
    }

    pub(crate) async fn create_room_for(&self, uui_data: &str) -> Answer {
        let path = format!("room/create?uuiData={uui_data}");
        self.send(self.request(Method::POST, &path).bearer_auth(self.entra.token().build())).await
    }

    /// IDIM's delete.
    pub(crate) async fn delete_room(&self, name: &str) -> Answer {
        let path = format!("room/{name}");
        self.send(self.request(Method::DELETE, &path).bearer_auth(self.entra.token().build())).await
    }

    /// The read of the agent's widget.
    pub(crate) async fn public_room(&self, name: &str) -> Answer {
        let path = format!("public/room/{name}");
        self.send(self.request(Method::GET, &path).header("x-auth-token", self.genesys.issue_token())).await
    }

    /// A list of Pexip's status API, as an administrator reads it.
    pub(crate) async fn status_of_pexip(&self, path: &str) -> Vec<Value> {
        let url = self.pexip.management_url().join(&format!("api/admin/status/v1/{path}")).expect("a path");
        let token = self.pexip.issue_oauth2_token(Duration::from_secs(60));
        let answer = within("an answer of Pexip", self.http.get(url).bearer_auth(token).send()).await;
        let list: Value = answer.expect("an answer").json().await.expect("JSON");
        list["objects"].as_array().expect("objects").clone()
    }

    /// The Functions host's timer.
    pub(crate) async fn run_maintenance(&self) -> Answer {
        let body = r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}},"Metadata":{}}"#;
        let request = self.request(Method::POST, "function_pool_maintenance");
        self.send(request.header("content-type", "application/json; charset=utf-8").body(body)).await
    }

    /// A run of the timer, by the host where there is one. Returns what the run wants to have logged.
    pub(crate) async fn maintain(&self) -> String {
        let Runs::OnHost { host, .. } = &self.runs else {
            let answer = self.run_maintenance().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            return answer.json()["Logs"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
        };
        match within("a run of the timer", host.run_timer("function_pool_maintenance")).await {
            Invocation::Succeeded { logs } => logs.concat(),
            other => panic!("{other:?}"),
        }
    }

    /// Fills the pool to its target, by the timer. On a busy machine a call of the first run may time out.
    pub(crate) async fn fill_pool(&self) {
        eventually("the pool is filled", async || self.maintain().await.contains("failed 0")).await;
    }

    pub(crate) fn is_in_this_process(&self) -> bool {
        matches!(self.runs, Runs::InThisProcess { .. })
    }

    /// Stops the service first, which would make the queue anew.
    pub(crate) async fn remove_emulated_queue(self) {
        let Self { queue, blobs, emulated, runs, .. } = self;
        drop(runs);
        if let Some(emulated) = emulated {
            for traffic in [queue.traffic(), blobs.traffic()] {
                assert_eq!(traffic.log().len(), 0, "the simulators of storage are unused beside the emulator");
            }
            emulated.remove().await;
        }
    }

    /// Asserts that the Functions host, if there is one, has reported no problem.
    fn assert_no_complaint_of_a_host(&self) {
        let Runs::OnHost { host, .. } = &self.runs else { return };
        let complaints: Vec<_> = host.log().into_iter().filter(|line| line.level != Level::Information).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        assert_eq!(host.starts(), 1, "the handler was started once");
    }

    /// Fills the pool and waits until this instance keeps one room ready to hand out.
    pub(crate) async fn warm_up(&self) {
        self.fill_pool().await;
        eventually("a room is leased", async || {
            self.queue.messages(POOL_QUEUE).iter().any(|message| !message.visible)
                && self.pexip.traffic().log().iter().any(|exchange| exchange.query.contains("name__in"))
        })
        .await;
    }

    /// Puts a room into the pool as an earlier run would have: on Pexip and in the queue.
    pub(crate) fn pool_holds(&self, room: StoredRoom) {
        let name = room.name.clone();
        self.pexip.insert(room);
        self.queue.put(POOL_QUEUE, &name);
    }
}
