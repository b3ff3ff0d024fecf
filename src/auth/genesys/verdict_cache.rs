//! The verdicts of the last minutes, by token.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::verdict::{GenesysCaller, GenesysRefusal, Verdict};
use crate::domain::HashKey;

/// How long a refusal is fresh.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(30);

/// Bounds of the caches. They are separate so that a flood of bad tokens cannot evict good ones.
const MAX_CALLERS: u64 = 10_000;
const MAX_REFUSALS: u64 = 10_000;
const MAX_LIMITED: u64 = 10_000;

/// A token's hash under a key of this process. The cache holds hashes, so that a memory dump shows no token.
pub(super) type TokenHash = [u8; 32];

/// Verdicts by token. Fresh: used without a call. Stale (acceptances only): used while Genesys is unavailable. Expired:
/// not used.
pub(super) struct VerdictCache {
    key: HashKey,
    callers: Cache<TokenHash, Accepted>,
    refusals: Cache<TokenHash, Refused>,
    /// The ends of the pauses that Genesys asked for with a 429, which is about one token.
    pauses: Cache<TokenHash, Instant>,
}

#[derive(Clone)]
struct Accepted {
    caller: GenesysCaller,
    fresh_until: Instant,
    stale_until: Instant,
}

#[derive(Clone)]
struct Refused {
    refusal: GenesysRefusal,
    fresh_until: Instant,
}

impl VerdictCache {
    pub(super) fn new() -> Self {
        Self {
            key: HashKey::random(),
            callers: cache(MAX_CALLERS),
            refusals: cache(MAX_REFUSALS),
            pauses: cache(MAX_LIMITED),
        }
    }

    pub(super) fn hash(&self, token: &SecretString) -> TokenHash {
        self.key.hash(token.expose_secret().as_bytes())
    }

    /// The fresh verdict on this token.
    pub(super) async fn fresh(&self, hash: &TokenHash) -> Option<Verdict> {
        let now = Instant::now();
        if let Some(refused) = self.refusals.get(hash).await.filter(|refused| now < refused.fresh_until) {
            return Some(Err(refused.refusal));
        }
        let accepted = self.callers.get(hash).await.filter(|accepted| now < accepted.fresh_until);
        accepted.map(|accepted| Ok(accepted.caller))
    }

    /// The user of a token whose acceptance has not expired. To be used only while Genesys is unavailable.
    pub(super) async fn stale(&self, hash: &TokenHash) -> Option<GenesysCaller> {
        let accepted = self.callers.get(hash).await.filter(|accepted| Instant::now() < accepted.stale_until);
        accepted.map(|accepted| accepted.caller)
    }

    /// Whether Genesys has accepted this token, however long ago, and not refused it since.
    pub(super) fn was_accepted(&self, hash: &TokenHash) -> bool {
        self.callers.contains_key(hash)
    }

    /// The time for which Genesys does not want to be asked about this token.
    pub(super) async fn pause(&self, hash: &TokenHash) -> Option<Duration> {
        let until = self.pauses.get(hash).await?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Genesys does not want to be asked about this token for so long.
    pub(super) async fn pause_for(&self, hash: TokenHash, wait: Duration) {
        self.pauses.insert(hash, Instant::now() + wait).await;
    }

    /// Caches an acceptance by a call made at `asked_at`. It is fresh for `lifetime` and then stale for as long again,
    /// but expires when the token idles out, after `idles_in`.
    pub(super) async fn accept(
        &self,
        hash: TokenHash,
        caller: GenesysCaller,
        asked_at: Instant,
        lifetime: Duration,
        idles_in: Option<Duration>,
    ) {
        let until = |lifetime: Duration| asked_at + idles_in.map_or(lifetime, |idles_in| idles_in.min(lifetime));
        let accepted = Accepted { caller, fresh_until: until(lifetime), stale_until: until(lifetime * 2) };
        self.callers.insert(hash, accepted).await;
    }

    /// Caches a refusal and removes an acceptance.
    pub(super) async fn refuse(&self, hash: TokenHash, refusal: GenesysRefusal) {
        self.callers.invalidate(&hash).await;
        self.refusals.insert(hash, Refused { refusal, fresh_until: Instant::now() + REFUSAL_LIFETIME }).await;
    }
}

/// LRU instead of moka's default `TinyLFU`, where frequent but expired keys would block the admission of new ones.
fn cache<V: Clone + Send + Sync + 'static>(capacity: u64) -> Cache<TokenHash, V> {
    Cache::builder().max_capacity(capacity).eviction_policy(EvictionPolicy::lru()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> GenesysCaller {
        GenesysCaller { user_id: "a user".to_owned() }
    }

    fn token(number: u64) -> SecretString {
        format!("a-token-of-a-user-{number}").into()
    }

    const LIFETIME: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_flood_of_refusals_is_bounded_and_evicts_no_caller() {
        let verdicts = VerdictCache::new();
        for number in 0..100 {
            let hash = verdicts.hash(&token(number));
            verdicts.accept(hash, caller(), Instant::now(), LIFETIME, None).await;
        }
        for number in 100..100 + 2 * MAX_REFUSALS {
            verdicts.refuse(verdicts.hash(&token(number)), GenesysRefusal::Invalid).await;
        }
        verdicts.refusals.run_pending_tasks().await;

        assert_eq!(verdicts.refusals.entry_count(), MAX_REFUSALS);
        for number in 0..100 {
            assert!(matches!(verdicts.fresh(&verdicts.hash(&token(number))).await, Some(Ok(_))), "{number}");
        }
        // A repeated flood finds its newest refusals cached.
        let newest = verdicts.hash(&token(99 + 2 * MAX_REFUSALS));
        assert!(matches!(verdicts.fresh(&newest).await, Some(Err(GenesysRefusal::Invalid))));
    }

    #[tokio::test]
    async fn callers_are_bounded_and_the_newest_are_kept() {
        let verdicts = VerdictCache::new();
        for number in 0..2 * MAX_CALLERS {
            let hash = verdicts.hash(&token(number));
            verdicts.accept(hash, caller(), Instant::now(), LIFETIME, None).await;
        }
        verdicts.callers.run_pending_tasks().await;

        assert_eq!(verdicts.callers.entry_count(), MAX_CALLERS);
        let newest = verdicts.hash(&token(2 * MAX_CALLERS - 1));
        assert!(matches!(verdicts.fresh(&newest).await, Some(Ok(_))));
    }
}
