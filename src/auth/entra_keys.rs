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

use super::entra_claims::TokenVersion;
use super::entra_key_set::SigningKey;
use super::entra_key_source::KeySource;
use crate::config::EntraConfig;
use crate::tasks::{BackgroundTask, supervise};

/// Microsoft publishes no interval for key rollover and refreshes its own caches hourly; ± 10 % keeps instances apart.
const SCHEDULED_REFRESH: Duration = Duration::from_secs(3600);

/// Keys that could not be confirmed for this long are not believed any more.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Requests that wait for one refresh; without any usable key, the next ones wait for a place.
const MOST_WAITING: usize = 64;

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// Keys are there, this one is not among them.
    Unknown,
    /// None could be read, or none recently enough, or too many wait to know already.
    CannotTell,
}

/// Entra's signing keys, per profile: read at start, hourly, and on a `kid` that is not known.
pub(super) struct EntraKeys {
    v1: ProfileKeys,
    v2: ProfileKeys,
    /// Ends the refreshers with their owner.
    _stop: DropGuard,
}

impl EntraKeys {
    pub(super) fn start(config: &EntraConfig, http: &reqwest::Client, stop: &CancellationToken) -> Self {
        let stop = stop.child_token();
        let start = |profile| {
            let source = KeySource::new(profile, config, http.clone());
            ProfileKeys::start(source, config.keys_min_refresh, stop.clone())
        };
        Self { v1: start(TokenVersion::V1), v2: start(TokenVersion::V2), _stop: stop.drop_guard() }
    }

    pub(super) fn any_usable(&self) -> bool {
        self.v1.snapshot().is_usable() || self.v2.snapshot().is_usable()
    }

    /// How long ago the keys of each profile were read, by its name; those that never were are left out.
    pub(super) fn ages(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let age = |keys: &ProfileKeys| keys.snapshot().read_at.map(|at| at.elapsed());
        [(TokenVersion::V1.name(), age(&self.v1)), (TokenVersion::V2.name(), age(&self.v2))]
            .into_iter()
            .filter_map(|(name, age)| Some((name, age?)))
    }

    /// Whether a profile's keys could not be read at the last try.
    pub(super) fn any_failing(&self) -> bool {
        [&self.v1, &self.v2].into_iter().any(|keys| keys.failing.load(Ordering::Relaxed))
    }

    pub(super) async fn key(&self, profile: TokenVersion, kid: &str) -> Result<Arc<SigningKey>, NoKey> {
        match profile {
            TokenVersion::V1 => self.v1.key(kid).await,
            TokenVersion::V2 => self.v2.key(kid).await,
        }
    }
}

/// The keys of one profile. Readers never wait for a refresh of keys they have.
struct ProfileKeys {
    current: watch::Receiver<Arc<Snapshot>>,
    unknown_kid: mpsc::Sender<UnknownKid>,
    failing: Arc<AtomicBool>,
}

/// A request that waits for a refresh which may bring its key.
struct UnknownKid {
    kid: String,
    settled: oneshot::Sender<()>,
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

impl ProfileKeys {
    fn start(source: KeySource, min_refresh: Duration, stop: CancellationToken) -> Self {
        let (snapshots, current) = watch::channel(Arc::default());
        let (unknown_kid, requests) = mpsc::channel(MOST_WAITING);
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
        let (settled, waiting) = oneshot::channel();
        let request = UnknownKid { kid: kid.to_owned(), settled };
        if !snapshot.is_usable() {
            // The refresher is gone where the service stops; `waiting` then ends as well.
            let _ = self.unknown_kid.send(request).await;
        } else if let Err(TrySendError::Full(_)) = self.unknown_kid.try_send(request) {
            // While Entra is slow, made-up kids must not hold the places of callers whose keys are known.
            return Err(NoKey::CannotTell);
        }
        let _ = waiting.await;
        let snapshot = self.snapshot();
        snapshot.key(kid).ok_or(if snapshot.is_usable() { NoKey::Unknown } else { NoKey::CannotTell })
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }
}

/// The one task that fetches a profile's keys, so that a fetch is on its way at most once and nobody holds a lock
/// while it is.
struct Refresher {
    requests: mpsc::Receiver<UnknownKid>,
    source: KeySource,
    snapshots: watch::Sender<Arc<Snapshot>>,
    min_refresh: Duration,
    /// When the next scheduled refresh is due; after a failure, when the next try is.
    scheduled: Instant,
    /// From when on an unknown `kid` may cause a refresh.
    on_demand_from: Instant,
    failures: u32,
    /// Whether there are any failures, for who looks on.
    failing: Arc<AtomicBool>,
}

impl Refresher {
    async fn run(&mut self, stop: CancellationToken) {
        loop {
            // In this order: the fetch at start goes before the requests that wait for it.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(self.scheduled) => self.refresh().await,
                Some(request) = self.requests.recv() => self.answer(request).await,
            }
        }
    }

    /// At most one fetch per gate, whatever `kid`s are made up.
    async fn answer(&mut self, request: UnknownKid) {
        let known = self.snapshots.borrow().key(&request.kid).is_some();
        if !known && Instant::now() >= self.on_demand_from {
            self.refresh().await;
            if self.failures == 0 {
                self.on_demand_from = Instant::now() + self.min_refresh;
            }
        }
        let _ = request.settled.send(());
    }

    async fn refresh(&mut self) {
        let fetched = self.source.fetch().await;
        let profile = self.source.profile.name();
        self.failing.store(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok(keys) => {
                info!(profile, keys = keys.len(), "Entra keys read");
                // The set is replaced, so a key that Entra has withdrawn is gone at once.
                self.snapshots.send_replace(Arc::new(Snapshot { keys, read_at: Some(Instant::now()) }));
                self.failures = 0;
                self.scheduled = Instant::now() + SCHEDULED_REFRESH.mul_f64(rand::rng().random_range(0.9..1.1));
            }
            Err(error) => {
                let back_off = FIRST_BACK_OFF.saturating_mul(1 << self.failures.min(6)).min(LONGEST_BACK_OFF);
                let back_off = back_off.mul_f64(rand::rng().random_range(0.8..1.2));
                // A number of 128 bits would be a text in JSON.
                let retry_in_ms = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX);
                warn!(profile, %error, retry_in_ms, "Entra keys could not be read; the known ones stay");
                self.failures = self.failures.saturating_add(1);
                self.scheduled = Instant::now() + back_off;
                // Without a gate of its own, a failing endpoint would be asked for every made-up kid.
                self.on_demand_from = self.on_demand_from.max(self.scheduled);
            }
        }
    }
}
