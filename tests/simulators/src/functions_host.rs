//! The Azure Functions host as a custom handler sees it: it starts the handler from an unpacked package, forwards
//! requests to it, runs its timer, and kills it.

mod console;
mod forwarding;
mod function;
mod handler;
mod package;
mod timer;
mod wire;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use time::OffsetDateTime;
use url::Url;

use crate::server::Server;
use function::Trigger;
use handler::{Handler, Process};
use package::Package;

pub use console::{Level, LogLine};
pub use package::PackageFault;
pub use timer::Invocation;

/// The key of functions that require one.
pub const FUNCTION_KEY: &str = "key-of-the-functions-host";

/// The host's version.
const HOST_VERSION: &str = "4.1052.200.0";

/// How HTTP requests are forwarded to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Older hosts rebuild each request.
    Forwarding,
    /// Hosts since 2025 are a reverse proxy.
    Proxying,
}

/// A Functions host on loopback with one package. Dropping it kills the handler.
#[derive(Debug)]
pub struct FunctionsHost {
    host: Arc<Host>,
    server: Server,
}

#[derive(Debug)]
struct Host {
    package: Arc<Package>,
    mode: Mode,
    has_homepage: bool,
    handler: Handler,
    last_runs: Mutex<HashMap<String, OffsetDateTime>>,
}

impl FunctionsHost {
    /// Starts the handler of the package in this folder. Its environment is these settings and what the host adds. Does
    /// not wait until the handler is up; requests do.
    pub async fn start<N, V>(
        package: &Path,
        mode: Mode,
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, PackageFault>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let settings: HashMap<String, String> =
            settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let package = Arc::new(Package::read(package, mode, &settings)?);
        let has_homepage = settings.get("AzureWebJobsDisableHomepage").is_none_or(|value| value != "true");
        let handler = Handler::start(Arc::clone(&package), settings);
        let host = Arc::new(Host { package, mode, has_homepage, handler, last_runs: Mutex::default() });
        let server = Server::start(Router::new().fallback(answer).with_state(Arc::clone(&host))).await;
        Ok(Self { host, server })
    }

    /// Base address of the functions, with a trailing slash.
    pub fn url(&self) -> Url {
        self.server.url()
    }

    /// Runs a timer now, regardless of its schedule. Panics if there is no such timer.
    pub async fn run_timer(&self, name: &str) -> Invocation {
        let function = self.host.package.function_named(name).unwrap_or_else(|| panic!("no function {name}"));
        let Trigger::Timer { binding } = &function.trigger else { panic!("{name} is no timer") };
        if function.is_disabled {
            return Invocation::NotRun;
        }
        let Some(process) = self.host.handler.process().await else { return Invocation::NotRun };
        let now = OffsetDateTime::now_utc();
        let last = self.last_runs().insert(name.to_owned(), now);
        let envelope = timer::envelope(name, binding, last, now);
        let invocation = timer::invoke(process.address, name, &envelope);
        self.host.within_timeout(&process, invocation).await.unwrap_or(Invocation::TimedOut)
    }

    /// Waits until the handler has answered the probe. False if the host has stopped.
    pub async fn is_up(&self) -> bool {
        self.host.handler.process().await.is_some()
    }

    /// Kills the handler and starts it again, as a swap does. Returns once the old process has ended.
    pub async fn restart(&self) {
        self.host.handler.restart().await;
    }

    /// Kills the handler and stops the host.
    pub async fn stop(&self) {
        self.host.handler.stop().await;
    }

    /// The handler's process id, while it is up.
    pub fn process_id(&self) -> Option<u32> {
        self.host.handler.process_now().map(|process| process.id)
    }

    /// Number of starts of the handler.
    pub fn starts(&self) -> usize {
        self.host.handler.starts()
    }

    /// The host's log: lines of the handler and of the host.
    pub fn log(&self) -> Vec<LogLine> {
        self.host.handler.log()
    }

    fn last_runs(&self) -> std::sync::MutexGuard<'_, HashMap<String, OffsetDateTime>> {
        self.host.last_runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(host): State<Arc<Host>>, request: Request) -> Response {
    if host.handler.is_down() {
        return not_running();
    }
    let (method, path) = (request.method().as_str(), request.uri().path());
    let Some(function) = host.package.function_for(method, path) else {
        return if path == "/" && method == "GET" { host.homepage() } else { StatusCode::NOT_FOUND.into_response() };
    };
    if !function.admits(request.headers(), request.uri().query()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if function.is_disabled {
        return StatusCode::NOT_FOUND.into_response();
    }
    match host.mode {
        // The older host does not notice that a caller disconnects.
        Mode::Forwarding => {
            let invoked = tokio::spawn(async move { host.invoke(request).await });
            invoked.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        Mode::Proxying => host.invoke(request).await,
    }
}

impl Host {
    async fn invoke(&self, request: Request) -> Response {
        let Some(process) = self.handler.process().await else { return not_running() };
        let forwarded = forwarding::send_to_handler(self.mode, process.address, request);
        match self.within_timeout(&process, forwarded).await {
            Some(Ok(response)) => response,
            // The real host gives no reason.
            Some(Err(_)) | None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    /// The result, unless `functionTimeout` passes first: then the process is killed, which ends every other invocation
    /// of this instance too.
    async fn within_timeout<T>(&self, process: &Process, invocation: impl Future<Output = T>) -> Option<T> {
        let Some(limit) = self.package.function_timeout else { return Some(invocation.await) };
        let result = tokio::time::timeout(limit, invocation).await.ok();
        if result.is_none() {
            process.kill().await;
        }
        result
    }

    fn homepage(&self) -> Response {
        if self.has_homepage {
            Html("<!DOCTYPE html><title>Your Functions 4.0 app is up and running</title>").into_response()
        } else {
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

fn not_running() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Body::from("Function host is not running.")).into_response()
}
