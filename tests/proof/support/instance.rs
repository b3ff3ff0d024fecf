use std::collections::HashMap;
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Request};
use maxconf::app::App;
use maxconf::config::Config;
use maxconf::domain::Clock;
use maxconf::http::server;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;
use tower::ServiceExt;
use url::Url;

use super::caller::IDEMPOTENCY_KEY;
use super::{Case, Outcome, World};

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
        let (status, headers, body) = self.post(&case.path(), case.key()).await;
        Outcome::read(status, |name| headers.get(name)?.to_str().ok(), &body)
    }

    /// The Functions host's timer. Returns the run's report.
    pub(crate) async fn run_maintenance(&self) -> String {
        let (status, _, body) = self.post("/function_pool_maintenance", None).await;
        assert_eq!(status, 200, "the host would repeat the run");
        String::from_utf8(body).expect("a text")
    }

    async fn post(&self, path: &str, key: Option<String>) -> (u16, HeaderMap, Vec<u8>) {
        let authorization = format!("Bearer {}", self.tokens.of_today());
        let mut request = Request::post(path).header(AUTHORIZATION, authorization);
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

    /// No answer if it is killed meanwhile.
    pub(crate) fn create(&self, case: Case) -> impl Future<Output = Outcome> + use<> {
        let instance = Arc::clone(&self.instance);
        let create = self.runtime.as_ref().map(|runtime| runtime.spawn(async move { instance.create(case).await }));
        async {
            match create.expect("not killed yet").await {
                Ok(outcome) => outcome,
                Err(failed) => failed.try_into_panic().map_or(Outcome::NoAnswer, |panic| resume_unwind(panic)),
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
