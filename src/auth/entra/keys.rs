//! Keeps Entra's keys current: one background task per token version reads them.

mod snapshot;
mod unknown_kids;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info, warn};

use self::snapshot::{Cause, Snapshot};
use self::unknown_kids::UnknownKids;
use super::claims::TokenVersion;
use super::key_set::SigningKey;
use super::key_source::{EntraKeysError, KeySource};
use crate::config::EntraConfig;
use crate::domain::Clock;
use crate::tasks::{BackgroundTask, SingleFlight, supervise};

/// Microsoft documents no interval of key rollover; its own libraries refresh hourly. Jitter of ± 10 % keeps the
/// instances from reading at the same time.
const SCHEDULED_REFRESH: Duration = Duration::from_secs(3600);

const MIN_BACK_OFF: Duration = Duration::from_secs(1);
const MAX_BACK_OFF: Duration = Duration::from_secs(60);

/// Bound on the requests that wait for a refresh. With usable keys, requests for one `kid` count once, and those beyond
/// the bound are refused; without usable keys they wait.
const MAX_WAITING: usize = 64;

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// There are usable keys, but not with this `kid`.
    Unknown,
    /// There are usable keys, and the next read, after this time, may bring one with this `kid`.
    NotYetListed(Duration),
    /// There are no usable keys.
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
    pub(super) fn start(config: &EntraConfig, http: &reqwest::Client, clock: &Clock, stop: &CancellationToken) -> Self {
        let stop = stop.child_token();
        let start = |version| {
            let source = KeySource::new(version, config, http.clone(), clock.clone());
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
    refresher: mpsc::Sender<KeyRequest>,
    /// The requests that wait for the same key wait together, so that many of them are no flood.
    waiting: SingleFlight<String, Result<Arc<SigningKey>, NoKey>>,
    failing: Arc<AtomicBool>,
}

/// A request that waits for a refresh that may bring its key.
struct KeyRequest {
    kid: String,
    answer: oneshot::Sender<Result<Arc<SigningKey>, NoKey>>,
}

impl VersionKeys {
    fn start(source: KeySource, min_refresh: Duration, stop: CancellationToken) -> Self {
        let (snapshots, current) = watch::channel(Arc::default());
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        let failing = Arc::new(AtomicBool::new(false));
        let refresher = Refresher {
            failing: Arc::clone(&failing),
            requests,
            source: Arc::new(source),
            snapshots,
            scheduled: Instant::now(),
            retry: None,
            unknown: UnknownKids::new(min_refresh),
            failures: 0,
        };
        // Outlives a run, so that a restart keeps the requests that wait.
        let refresher = Arc::new(tokio::sync::Mutex::new(refresher));
        supervise(BackgroundTask::EntraKeys, stop, move |stop| {
            let refresher = Arc::clone(&refresher);
            async move { refresher.lock().await.run(stop).await }
        });
        Self { current, refresher: sender, waiting: SingleFlight::default(), failing }
    }

    async fn key(&self, kid: &str) -> Result<Arc<SigningKey>, NoKey> {
        let snapshot = self.snapshot();
        if let Some(key) = snapshot.key(kid) {
            return Ok(key);
        }
        let (answer, answered) = oneshot::channel();
        let request = KeyRequest { kid: kid.to_owned(), answer };
        if !snapshot.is_usable() {
            // Fails when the service stops and the refresher has ended; `answered` then fails too.
            let _ = self.refresher.send(request).await;
            return answered.await.unwrap_or(Err(NoKey::Unavailable));
        }
        let refresher = self.refresher.clone();
        let ask = async move {
            match refresher.try_send(request) {
                // Otherwise made-up kids could take all request slots while Entra is slow.
                Err(TrySendError::Full(_)) => Err(NoKey::Unknown),
                Ok(()) | Err(TrySendError::Closed(_)) => answered.await.unwrap_or(Err(NoKey::Unavailable)),
            }
        };
        self.waiting.run(kid.to_owned(), ask).await
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }
}

/// The task that reads the keys of one token version. Because there is only one, reads do not overlap and need no lock.
struct Refresher {
    requests: mpsc::Receiver<KeyRequest>,
    source: Arc<KeySource>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Time of the next scheduled refresh or, after it has failed, of its repetition.
    scheduled: Instant,
    /// Time of the next attempt after a read for an unknown `kid` has failed.
    retry: Option<Instant>,
    unknown: UnknownKids,
    /// Consecutive failures.
    failures: u32,
    /// Whether the last read failed; shared with [`VersionKeys`].
    failing: Arc<AtomicBool>,
}

impl Refresher {
    async fn run(&mut self, stop: CancellationToken) {
        loop {
            let now = Instant::now();
            // Here and not in the select, for a timer is late by up to a millisecond: a request that comes before the
            // read at start must wait for that read.
            if now >= self.scheduled {
                self.refresh(Cause::Schedule).await;
                continue;
            }
            if self.retry.is_some_and(|retry| now >= retry) {
                self.refresh(Cause::Retry).await;
                continue;
            }
            let next = self.retry.map_or(self.scheduled, |retry| retry.min(self.scheduled));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
                Some(KeyRequest { kid, answer }) = self.requests.recv() => {
                    let _ = answer.send(self.look_up(kid).await);
                }
            }
        }
    }

    /// The key of this `kid`. Reads the keys for it, at most once per `min_refresh` however many made-up `kid`s are
    /// sent, and a second time for a `kid` that comes again.
    async fn look_up(&mut self, kid: String) -> Result<Arc<SigningKey>, NoKey> {
        if let Some(key) = self.known(&kid) {
            return Ok(key);
        }
        let now = Instant::now();
        let noted = self.unknown.note(kid.clone(), now);
        let in_flood = self.unknown.is_flooded(now);
        let read_is_due = now >= self.unknown.next_read_for_unknown();
        let reread_is_due = !in_flood && !noted.is_confirmed_unknown && now >= self.unknown.reread_of(noted);
        if read_is_due || reread_is_due {
            self.refresh(Cause::UnknownKid).await;
            if self.failures == 0 {
                self.unknown.put_off(!read_is_due);
            }
        }
        if let Some(key) = self.known(&kid) {
            return Ok(key);
        }
        if !self.snapshots.borrow().is_usable() {
            return Err(NoKey::Unavailable);
        }
        if in_flood || self.unknown.is_confirmed_unknown(&kid) {
            return Err(NoKey::Unknown);
        }
        let next_read = self.unknown.reread_of(noted).min(self.unknown.next_read_for_unknown());
        Err(NoKey::NotYetListed(next_read.saturating_duration_since(Instant::now())))
    }

    fn known(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.snapshots.borrow().key(kid)
    }

    async fn refresh(&mut self, cause: Cause) {
        let begun = Instant::now();
        let source = Arc::clone(&self.source);
        // In a task of its own: a panic counts as a failed read, so that nobody waits for a restart of this task.
        let fetched = tokio::spawn(async move { source.fetch().await }.in_current_span()).await;
        let fetched = fetched.unwrap_or(Err(EntraKeysError::Panicked));
        let token_version = self.source.version.as_str();
        self.failing.store(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok(listed) => {
                info!(token_version, keys = listed.len(), "Entra keys read");
                let snapshot = self.snapshots.borrow().after(listed, cause);
                self.unknown.mark_read(begun, &snapshot);
                self.snapshots.send_replace(Arc::new(snapshot));
                self.failures = 0;
                self.retry = None;
                // Not after a read for an unknown `kid`: made-up ones could put it off for ever.
                if cause == Cause::Schedule {
                    self.scheduled = Instant::now() + SCHEDULED_REFRESH.mul_f64(rand::rng().random_range(0.9..1.1));
                }
            }
            Err(error) => {
                let back_off = MIN_BACK_OFF.saturating_mul(1 << self.failures.min(6)).min(MAX_BACK_OFF);
                let asked = error.retry_after().unwrap_or_default().min(MAX_BACK_OFF);
                let back_off = back_off.mul_f64(rand::rng().random_range(0.8..1.2)).max(asked);
                // 64 bits, because the JSON log writes a 128-bit number as a string.
                let retry_in_ms = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX);
                warn!(token_version, %error, retry_in_ms, "Entra keys could not be read, keeping the known ones");
                self.failures = self.failures.saturating_add(1);
                let retry = Instant::now() + back_off;
                match cause {
                    Cause::Schedule => self.scheduled = retry,
                    Cause::Retry | Cause::UnknownKid => self.retry = Some(retry),
                }
                self.unknown.put_off_until(retry);
                // Nor any other read before the time that Entra asks for.
                let earliest = Instant::now() + asked;
                self.scheduled = self.scheduled.max(earliest);
                self.retry = self.retry.map(|retry| retry.max(earliest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::dns::{Name, Resolve, Resolving};
    use tokio::time::timeout;

    use super::*;
    use crate::outbound::client_builder;

    struct Panicking;

    impl Resolve for Panicking {
        fn resolve(&self, _: Name) -> Resolving {
            panic!("a bug in the read")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_a_read_is_a_failed_read_and_leaves_nobody_waiting() {
        let http = client_builder(Duration::from_secs(1)).dns_resolver(Arc::new(Panicking)).build().expect("a client");
        let source = KeySource::at("https://login.example".parse().expect("a URL"), http);
        let keys = VersionKeys::start(source, Duration::from_secs(60), CancellationToken::new());
        let key = timeout(Duration::from_secs(600), keys.key("unknown")).await.expect("an answer");
        assert_eq!(key.err(), Some(NoKey::Unavailable));
        assert!(keys.failing.load(Ordering::Relaxed));
    }
}
