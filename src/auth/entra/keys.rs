//! Keeps Entra's keys current: one background task per token version reads them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::claims::TokenVersion;
use super::key_set::SigningKey;
use super::key_source::KeySource;
use crate::config::EntraConfig;
use crate::tasks::{BackgroundTask, supervise};

/// Microsoft documents no interval of key rollover; its own libraries refresh hourly. Jitter of ± 10 % keeps the
/// instances from reading at the same time.
const SCHEDULED_REFRESH: Duration = Duration::from_secs(3600);

/// Keys that have not been read again for this long are not used.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

const MIN_BACK_OFF: Duration = Duration::from_secs(1);
const MAX_BACK_OFF: Duration = Duration::from_secs(60);

/// Bound on the requests that wait for a refresh. Beyond it a request fails if there are usable keys, else it waits for
/// the channel.
const MAX_WAITING: usize = 64;

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// There are usable keys, but not with this `kid`.
    Unknown,
    /// There are no usable keys, or too many requests wait for a refresh.
    Unavailable,
}

/// Entra's signing keys by token version: read at start, hourly, and for an unknown `kid`.
pub(super) struct EntraKeys {
    v1: VersionKeys,
    v2: VersionKeys,
    /// Stops the refreshers when this is dropped.
    _stop: DropGuard,
}

impl EntraKeys {
    pub(super) fn start(config: &EntraConfig, http: &reqwest::Client, stop: &CancellationToken) -> Self {
        let stop = stop.child_token();
        let start = |version| {
            let source = KeySource::new(version, config, http.clone());
            VersionKeys::start(source, config.keys_min_refresh, stop.clone())
        };
        Self { v1: start(TokenVersion::V1), v2: start(TokenVersion::V2), _stop: stop.drop_guard() }
    }

    pub(super) fn any_usable(&self) -> bool {
        self.v1.snapshot().is_usable() || self.v2.snapshot().is_usable()
    }

    /// Time since the last successful read, for each token version whose keys have been read.
    pub(super) fn ages(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let age = |keys: &VersionKeys| keys.snapshot().read_at.map(|at| at.elapsed());
        [(TokenVersion::V1.as_str(), age(&self.v1)), (TokenVersion::V2.as_str(), age(&self.v2))]
            .into_iter()
            .filter_map(|(version, age)| Some((version, age?)))
    }

    /// Whether the last read of either version's keys failed.
    pub(super) fn any_failing(&self) -> bool {
        [&self.v1, &self.v2].into_iter().any(|keys| keys.failing.load(Ordering::Relaxed))
    }

    pub(super) async fn key(&self, version: TokenVersion, kid: &str) -> Result<Arc<SigningKey>, NoKey> {
        match version {
            TokenVersion::V1 => self.v1.key(kid).await,
            TokenVersion::V2 => self.v2.key(kid).await,
        }
    }
}

/// The keys of one token version. A request whose key is known never waits for a refresh.
struct VersionKeys {
    current: watch::Receiver<Arc<Snapshot>>,
    unknown_kid: mpsc::Sender<UnknownKid>,
    failing: Arc<AtomicBool>,
}

/// A request that waits for a refresh that may bring its key.
struct UnknownKid {
    kid: String,
    answered: oneshot::Sender<()>,
}

#[derive(Default)]
struct Snapshot {
    keys: HashMap<String, Arc<SigningKey>>,
    read_at: Option<Instant>,
}

impl Snapshot {
    fn is_usable(&self) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() < KEY_LIFETIME)
    }

    fn key(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.keys.get(kid).filter(|_| self.is_usable()).cloned()
    }
}

impl VersionKeys {
    fn start(source: KeySource, min_refresh: Duration, stop: CancellationToken) -> Self {
        let (snapshots, current) = watch::channel(Arc::default());
        let (unknown_kid, requests) = mpsc::channel(MAX_WAITING);
        let failing = Arc::new(AtomicBool::new(false));
        let refresher = Refresher {
            failing: Arc::clone(&failing),
            requests,
            source,
            snapshots,
            min_refresh,
            scheduled: Instant::now(),
            on_demand_from: Instant::now(),
            failures: 0,
        };
        // Outlives a run, so that a restart keeps the requests that wait.
        let refresher = Arc::new(tokio::sync::Mutex::new(refresher));
        supervise(BackgroundTask::EntraKeys, stop, move |stop| {
            let refresher = Arc::clone(&refresher);
            async move { refresher.lock().await.run(stop).await }
        });
        Self { current, unknown_kid, failing }
    }

    async fn key(&self, kid: &str) -> Result<Arc<SigningKey>, NoKey> {
        let snapshot = self.snapshot();
        if let Some(key) = snapshot.key(kid) {
            return Ok(key);
        }
        let (answered, answer) = oneshot::channel();
        let request = UnknownKid { kid: kid.to_owned(), answered };
        if !snapshot.is_usable() {
            // Fails when the service stops and the refresher has ended; `answer` then fails too.
            let _ = self.unknown_kid.send(request).await;
        } else if let Err(TrySendError::Full(_)) = self.unknown_kid.try_send(request) {
            // Otherwise made-up kids could take all request slots while Entra is slow.
            return Err(NoKey::Unavailable);
        }
        let _ = answer.await;
        let snapshot = self.snapshot();
        snapshot.key(kid).ok_or(if snapshot.is_usable() { NoKey::Unknown } else { NoKey::Unavailable })
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }
}

/// The task that reads the keys of one token version. Because there is only one, reads do not overlap and need no lock.
struct Refresher {
    requests: mpsc::Receiver<UnknownKid>,
    source: KeySource,
    snapshots: watch::Sender<Arc<Snapshot>>,
    min_refresh: Duration,
    /// Time of the next scheduled refresh or, after a failure, of the next attempt.
    scheduled: Instant,
    /// An unknown `kid` causes no refresh before this time.
    on_demand_from: Instant,
    /// Consecutive failures.
    failures: u32,
    /// Whether the last read failed; shared with [`VersionKeys`].
    failing: Arc<AtomicBool>,
}

impl Refresher {
    async fn run(&mut self, stop: CancellationToken) {
        loop {
            // Biased, so that the read at start comes before the requests that wait for it.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(self.scheduled) => self.refresh().await,
                Some(request) = self.requests.recv() => self.answer(request).await,
            }
        }
    }

    /// Reads the keys for an unknown `kid`, at most once per `min_refresh`, however many made-up `kid`s are sent.
    async fn answer(&mut self, request: UnknownKid) {
        let known = self.snapshots.borrow().key(&request.kid).is_some();
        if !known && Instant::now() >= self.on_demand_from {
            self.refresh().await;
            if self.failures == 0 {
                self.on_demand_from = Instant::now() + self.min_refresh;
            }
        }
        let _ = request.answered.send(());
    }

    async fn refresh(&mut self) {
        let fetched = self.source.fetch().await;
        let token_version = self.source.version.as_str();
        self.failing.store(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok(keys) => {
                info!(token_version, keys = keys.len(), "Entra keys read");
                // Replaces the whole set, so that a withdrawn key is not accepted any more.
                self.snapshots.send_replace(Arc::new(Snapshot { keys, read_at: Some(Instant::now()) }));
                self.failures = 0;
                self.scheduled = Instant::now() + SCHEDULED_REFRESH.mul_f64(rand::rng().random_range(0.9..1.1));
            }
            Err(error) => {
                let back_off = MIN_BACK_OFF.saturating_mul(1 << self.failures.min(6)).min(MAX_BACK_OFF);
                let back_off = back_off.mul_f64(rand::rng().random_range(0.8..1.2));
                // 64 bits, because the JSON log writes a 128-bit number as a string.
                let retry_in_ms = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX);
                warn!(token_version, %error, retry_in_ms, "Entra keys could not be read, keeping the known ones");
                self.failures = self.failures.saturating_add(1);
                self.scheduled = Instant::now() + back_off;
                // Otherwise every made-up kid would call a failing endpoint.
                self.on_demand_from = self.on_demand_from.max(self.scheduled);
            }
        }
    }
}
