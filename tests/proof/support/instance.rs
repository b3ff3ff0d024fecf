use std::collections::HashMap;
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maxconf::app::App;
use maxconf::config::Config;
use maxconf::domain::Clock;
use maxconf::http::server;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;
use tower::ServiceExt;
use url::Url;

use super::caller::{IDEMPOTENCY_KEY, look_up_path};
use super::{Case, NodeAnswer, Outcome, World};

/// The account of the Conferencing Nodes.
pub(super) const NODES: (&str, &str) = ("conferencing-nodes", "of the nodes");

/// Where the rooms of an instance come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rooms {
    Pool,
    Instant,
}

/// Settings of an instance by their names.
#[derive(Clone)]
pub(crate) struct Settings(HashMap<&'static str, String>);

impl Settings {
    /// The world's settings, with limits that no proof's load reaches.
    pub(crate) fn without_limits(world: &World) -> Self {
        Self::of(world)
            .set("PEXIP_REQUESTS_PER_MINUTE", 100_000)
            .set("PEXIP_MAX_IN_FLIGHT", 64)
            .set("RATE_LIMIT_PER_MINUTE", 1_000_000)
            .set("POOL_MAX_ROOMS", 100_000)
            .set("SWEEP_MAX_DELETIONS", 10_000)
    }

    /// The same with rooms from there.
    pub(crate) fn with_rooms(self, rooms: Rooms) -> Self {
        match rooms {
            Rooms::Pool => self,
            Rooms::Instant => self.with_policy().set("ROOM_SOURCE", "instant").set("POOL_TARGET_SIZE", 0),
        }
    }

    /// The same for Conferencing Nodes that ask about instant rooms.
    pub(crate) fn with_policy(self) -> Self {
        self.set("PEXIP_POLICY_USERNAME", NODES.0).set("PEXIP_POLICY_PASSWORD", NODES.1)
    }

    /// The world's settings; all others have their defaults.
    pub(crate) fn of(world: &World) -> Self {
        Self(world.settings())
    }

    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts as a proof has them")]
    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.insert(name, value.to_string());
        self
    }

    /// The value of a numeric setting, or its default.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.config_value(name).parse().unwrap_or_else(|_| panic!("{name} is no number"))
    }

    pub(crate) fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    pub(crate) fn as_environment(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    pub(super) fn config(&self) -> Config {
        Config::read(|name| self.0.get(name).map(OsString::from)).expect("settings that can be used")
    }

    fn config_value(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| {
            let setting = Config::settings().find(|setting| setting.name == name).expect("a setting");
            setting.default.to_string()
        })
    }
}

/// The service in this process, called without a network.
pub(crate) struct Instance {
    router: Router,
    tokens: Tokens,
    /// Stops the background work when dropped.
    _background: DropGuard,
}

impl Instance {
    pub(crate) fn start(world: &World, settings: &Settings, clock: Clock) -> Self {
        let app = App::build(settings.config(), clock.clone()).expect("a service that can be built");
        let (router, background) = app.into_parts();
        Self { router, tokens: Tokens::issue(world, clock), _background: background }
    }

    pub(crate) async fn create(&self, case: Case) -> Outcome {
        self.create_by(&case.path(), case).await
    }

    /// The same with a validity that begins then.
    pub(crate) async fn create_valid_from(&self, case: Case, from: OffsetDateTime) -> Outcome {
        let from = from.replace_nanosecond(0).expect("a whole second").format(&Rfc3339).expect("a time");
        self.create_by(&format!("{}&validFrom={from}", case.path()), case).await
    }

    async fn create_by(&self, path: &str, case: Case) -> Outcome {
        let (status, headers, body) = self.ask(Method::POST, path, &self.bearer(), case.key()).await;
        Outcome::read(status, |name| headers.get(name)?.to_str().ok(), &body)
    }

    /// Returns the status.
    pub(crate) async fn delete(&self, name: &str) -> u16 {
        self.ask(Method::DELETE, &format!("/room/{name}"), &self.bearer(), None).await.0
    }

    /// The answer to a Conferencing Node that looks up this room.
    pub(crate) async fn look_up(&self, name: &str) -> NodeAnswer {
        let account = STANDARD.encode(format!("{}:{}", NODES.0, NODES.1));
        let (status, _, body) = self.ask(Method::GET, &look_up_path(name), &format!("Basic {account}"), None).await;
        NodeAnswer::read(status, &body)
    }

    /// The Functions host's timer. Returns the run's report.
    pub(crate) async fn run_maintenance(&self) -> String {
        let (status, _, body) = self.ask(Method::POST, "/function_pool_maintenance", &self.bearer(), None).await;
        assert_eq!(status, 200, "the host would repeat the run");
        String::from_utf8(body).expect("a text")
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.tokens.of_today())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        authorization: &str,
        key: Option<String>,
    ) -> (u16, HeaderMap, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path).header(AUTHORIZATION, authorization);
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let request = request.body(Body::empty()).expect("a request");
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body that can be read");
        (head.status.as_u16(), head.headers, body.into())
    }
}

/// An instance in a runtime of its own, which a kill ends at any step: no task of it gets past its next await.
pub(crate) struct Mortal {
    instance: Arc<Instance>,
    /// `None` while it is killed.
    runtime: Option<Runtime>,
}

impl Mortal {
    pub(crate) fn start(world: &World, settings: &Settings, clock: Clock) -> Self {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let inside = runtime.enter();
        let instance = Arc::new(Instance::start(world, settings, clock));
        drop(inside);
        Self { instance, runtime: Some(runtime) }
    }

    /// Asks it something. `None` if it is killed meanwhile.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static, A: FnOnce(Arc<Instance>) -> F>(
        &self,
        ask: A,
    ) -> impl Future<Output = Option<T>> + use<T, F, A> {
        let asked = ask(Arc::clone(&self.instance));
        let asked = self.runtime.as_ref().map(|runtime| runtime.spawn(asked));
        async {
            match asked.expect("not killed yet").await {
                Ok(answer) => Some(answer),
                Err(failed) => failed.try_into_panic().map_or(None, |panic| resume_unwind(panic)),
            }
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One day of the instance's clock, which leaps through many days in a full run.
const DAY: i64 = 24 * 3600;

/// One token for each day, because no token is valid for much longer.
struct Tokens {
    clock: Clock,
    first_day: i64,
    by_day: Vec<String>,
}

impl Tokens {
    /// Issues tokens for more days than the longest run leaps through.
    fn issue(world: &World, clock: Clock) -> Self {
        let first_day = clock.now_utc().unix_timestamp();
        let token = |day: i64| {
            let begins = first_day + day * DAY;
            let token = world.entra.token().claim("iat", begins).claim("nbf", begins);
            token.claim("exp", begins + DAY + 3600).build()
        };
        Self { clock, first_day, by_day: (0..20).map(token).collect() }
    }

    fn of_today(&self) -> &str {
        let day = (self.clock.now_utc().unix_timestamp() - self.first_day) / DAY;
        &self.by_day[usize::try_from(day).expect("clocks go forward")]
    }
}

/// The service in this process, on a port, for callers who hang up.
pub(crate) struct Served {
    pub(crate) url: Url,
    /// Stops the service when dropped.
    _stop: oneshot::Sender<()>,
}

impl Served {
    pub(crate) fn start(settings: &Settings) -> Self {
        let config = settings.config();
        let listener = server::bind(&config.server).expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("a bound address"));
        let app = App::build(config, Clock::system()).expect("a service that can be built");
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(app.serve(listener, async {
            let _ = stopped.await;
            0
        }));
        Self { url: url.parse().expect("a URL"), _stop: stop }
    }
}
