//! Two instances of the service, each with threads of its own, so that one can be killed at whatever it is doing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use maxconf::app::App;
use maxconf::domain::Clock;
use maxconf::http::server;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{RoomSource, read_config};

/// Their names.
pub(super) const NAMES: [&str; 2] = ["A", "B"];

/// By which name of this machine each of them calls the simulated systems, so that a call tells whose it is.
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];

/// Settings that hold addresses of simulated systems. Without Entra's: the issuer of tokens has the same host as its
/// address has, so both instances call it by one name.
const ADDRESSES: [&str; 3] = ["PoolStorage", "PEXIP_MANAGEMENT_URL", "GENESYS_API_URL"];

/// Limit for a stop in order: longer than the service's own.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What a create gets when the pool is empty: a value of `POOL_EMPTY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WhenEmpty {
    #[default]
    Direct,
    Instant,
    Refuse,
}

/// What the operator may change while the service runs: each change restarts the instances, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) source: RoomSource,
    pub(super) when_empty: WhenEmpty,
}

#[derive(Debug)]
pub(crate) struct Instances {
    running: Mutex<[Option<Running>; 2]>,
    mode: Mutex<Mode>,
    settings: Mutex<HashMap<&'static str, String>>,
    turn: AtomicUsize,
    /// One start, kill or restart at a time.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Running {
    url: Url,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    threads: Runtime,
}

impl WhenEmpty {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Instant, Self::Refuse];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Instant => "instant",
            Self::Refuse => "refuse",
        }
    }
}

/// The instance that sent a request with these headers to a simulated system whose address is among its settings.
pub(super) fn caller(headers: &HeaderMap) -> Option<&'static str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let index = HOSTS.iter().position(|name| host.split_once(':').is_some_and(|(host, _)| host == *name))?;
    Some(NAMES[index])
}

impl Instances {
    pub(super) fn new(source: RoomSource) -> Self {
        Self {
            running: Mutex::default(),
            mode: Mutex::new(Mode { source, when_empty: WhenEmpty::default() }),
            settings: Mutex::default(),
            turn: AtomicUsize::new(0),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Starts both with these settings.
    pub(super) async fn start_all(&self, settings: HashMap<&'static str, String>) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        *self.settings.lock() = settings;
        for index in 0..NAMES.len() {
            self.start(index).await?;
        }
        Ok(())
    }

    /// The running instances, the one whose turn it is first.
    pub(super) fn in_turn(&self) -> Vec<(&'static str, Url)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let running = self.running.lock();
        let order = (0..NAMES.len()).map(|step| (turn + step) % NAMES.len());
        order.filter_map(|index| Some((NAMES[index], running[index].as_ref()?.url.clone()))).collect()
    }

    pub(super) fn is_running(&self, index: usize) -> bool {
        self.running.lock()[index].is_some()
    }

    pub(super) fn mode(&self) -> Mode {
        *self.mode.lock()
    }

    /// Ends an instance as the Functions host does: without a warning, whatever it is doing.
    pub(super) async fn kill(&self, index: usize) {
        let _changing = self.changing.lock().await;
        let running = self.running.lock()[index].take();
        if let Some(running) = running {
            running.threads.shutdown_background();
        }
    }

    /// Starts an instance that was killed.
    pub(super) async fn revive(&self, index: usize) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        if self.is_running(index) { Ok(()) } else { self.start(index).await }
    }

    /// Changes the settings. Each instance that runs is replaced by a new one and stops in order.
    pub(super) async fn set_mode(&self, mode: Mode) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        if std::mem::replace(&mut *self.mode.lock(), mode) == mode {
            return Ok(());
        }
        for index in 0..NAMES.len() {
            if self.is_running(index) {
                self.start(index).await?;
            }
        }
        Ok(())
    }

    /// Stops both in order.
    pub(super) async fn stop_all(&self) {
        let _changing = self.changing.lock().await;
        let all = std::mem::take(&mut *self.running.lock());
        for running in all.into_iter().flatten() {
            running.end().await;
        }
    }

    async fn start(&self, index: usize) -> Result<(), String> {
        let new = Running::start(NAMES[index], &self.own_settings(index)).await?;
        let old = self.running.lock()[index].replace(new);
        if let Some(old) = old {
            tokio::spawn(old.end());
        }
        Ok(())
    }

    fn own_settings(&self, index: usize) -> HashMap<&'static str, String> {
        let mut settings = self.settings.lock().clone();
        for address in ADDRESSES {
            settings.entry(address).and_modify(|address| *address = address.replace(HOSTS[0], HOSTS[index]));
        }
        let mode = self.mode();
        settings.insert("ROOM_SOURCE", mode.source.as_str().to_owned());
        settings.insert("POOL_EMPTY", mode.when_empty.as_str().to_owned());
        settings
    }
}

impl Running {
    async fn start(name: &str, settings: &HashMap<&'static str, String>) -> Result<Self, String> {
        let config = read_config(settings, 0).map_err(|error| error.to_string())?;
        let threads = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
        let threads = threads.map_err(|error| error.to_string())?;
        let (sender, started) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = threads.spawn(async move {
            let ready = server::bind(&config.server).map_err(|error| error.to_string()).and_then(|listener| {
                let address = listener.local_addr().map_err(|error| error.to_string())?;
                let app = App::build(config, Clock::system()).map_err(|error| error.to_string())?;
                Ok((listener, app, address))
            });
            match ready {
                Ok((listener, app, address)) => {
                    // The sandbox may have been stopped.
                    let _ = sender.send(Ok(address));
                    let stop = async {
                        stopped.await;
                        0
                    };
                    if let Err(error) = app.serve(listener, stop).await {
                        eprintln!("an instance has failed: {error}");
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                }
            }
        });
        let started = started.await.map_err(|_| "the instance has panicked".to_owned()).and_then(|started| started);
        match started {
            Ok(address) => {
                let url = format!("http://{address}/").parse().expect("an address makes a URL");
                Ok(Self { url, stop, serving, threads })
            }
            Err(error) => {
                threads.shutdown_background();
                Err(error)
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        // Whatever is left by then is killed.
        let _ = tokio::time::timeout(STOP_LIMIT, self.serving).await;
        self.threads.shutdown_background();
    }
}
