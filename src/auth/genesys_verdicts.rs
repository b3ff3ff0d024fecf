use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::genesys::{GenesysCaller, GenesysRefusal};
use crate::domain::HashKey;

/// How long a token that Genesys refuses is refused without asking again.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(30);

/// Bounds of the two memories. They are apart so that a flood of bad tokens cannot push out good ones.
const MOST_CALLERS: u64 = 10_000;
const MOST_REFUSALS: u64 = 10_000;

/// What stands for a token in memory: its hash under a key of this process, so that a memory dump shows no token.
pub(super) type TokenHash = [u8; 32];

/// What Genesys said about tokens lately.
pub(super) struct Verdicts {
    key: HashKey,
    callers: Cache<TokenHash, Accepted>,
    refusals: Cache<TokenHash, Refused>,
}

#[derive(Clone)]
struct Accepted {
    caller: GenesysCaller,
    fresh_until: Instant,
    usable_until: Instant,
}

#[derive(Clone)]
struct Refused {
    refusal: GenesysRefusal,
    until: Instant,
}

impl Verdicts {
    pub(super) fn new() -> Self {
        Self { key: HashKey::random(), callers: memory(MOST_CALLERS), refusals: memory(MOST_REFUSALS) }
    }

    pub(super) fn hash(&self, token: &SecretString) -> TokenHash {
        self.key.hash(token.expose_secret().as_bytes())
    }

    /// What is known of this token without asking.
    pub(super) async fn known(&self, hash: &TokenHash) -> Option<Result<GenesysCaller, GenesysRefusal>> {
        let now = Instant::now();
        if let Some(refused) = self.refusals.get(hash).await.filter(|refused| now < refused.until) {
            return Some(Err(refused.refusal));
        }
        let accepted = self.callers.get(hash).await.filter(|accepted| now < accepted.fresh_until);
        accepted.map(|accepted| Ok(accepted.caller))
    }

    /// Who held this token by the last word of Genesys, which is good enough while nobody can ask.
    pub(super) async fn last_known(&self, hash: &TokenHash) -> Option<GenesysCaller> {
        let accepted = self.callers.get(hash).await.filter(|accepted| Instant::now() < accepted.usable_until);
        accepted.map(|accepted| accepted.caller)
    }

    /// Whether Genesys has vouched for this token before, and not refused it since.
    pub(super) fn was_accepted(&self, hash: &TokenHash) -> bool {
        self.callers.contains_key(hash)
    }

    /// Keeps what Genesys was asked at `asked_at`: for `lifetime`, and for as long again while nobody can ask, but
    /// never beyond the moment when the token ends, which is `left` away if it is known.
    pub(super) async fn accept(
        &self,
        hash: TokenHash,
        caller: GenesysCaller,
        asked_at: Instant,
        lifetime: Duration,
        left: Option<Duration>,
    ) {
        let until = |lifetime: Duration| asked_at + left.map_or(lifetime, |left| left.min(lifetime));
        let accepted = Accepted { caller, fresh_until: until(lifetime), usable_until: until(lifetime * 2) };
        self.callers.insert(hash, accepted).await;
    }

    /// Keeps a refusal, and forgets what was good about the token.
    pub(super) async fn refuse(&self, hash: TokenHash, refusal: GenesysRefusal) {
        self.callers.invalidate(&hash).await;
        self.refusals.insert(hash, Refused { refusal, until: Instant::now() + REFUSAL_LIFETIME }).await;
    }
}

/// The least recently used make way: by frequency, what has long expired would keep out what is new.
fn memory<V: Clone + Send + Sync + 'static>(most: u64) -> Cache<TokenHash, V> {
    Cache::builder().max_capacity(most).eviction_policy(EvictionPolicy::lru()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> GenesysCaller {
        GenesysCaller { user_id: "a user".to_owned() }
    }

    fn token(number: u64) -> SecretString {
        format!("a-token-of-somebody-{number}").into()
    }

    const LIFETIME: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_flood_of_refusals_keeps_to_its_bound_and_pushes_out_nobody() {
        let verdicts = Verdicts::new();
        for number in 0..100 {
            let hash = verdicts.hash(&token(number));
            verdicts.accept(hash, caller(), Instant::now(), LIFETIME, None).await;
        }
        for number in 100..100 + 2 * MOST_REFUSALS {
            verdicts.refuse(verdicts.hash(&token(number)), GenesysRefusal::Invalid).await;
        }
        verdicts.refusals.run_pending_tasks().await;

        assert_eq!(verdicts.refusals.entry_count(), MOST_REFUSALS);
        for number in 0..100 {
            assert!(matches!(verdicts.known(&verdicts.hash(&token(number))).await, Some(Ok(_))), "{number}");
        }
        // The newest are what a flood is repeated with.
        let newest = verdicts.hash(&token(99 + 2 * MOST_REFUSALS));
        assert!(matches!(verdicts.known(&newest).await, Some(Err(GenesysRefusal::Invalid))));
    }

    #[tokio::test]
    async fn callers_keep_to_their_bound_and_the_newest_are_known() {
        let verdicts = Verdicts::new();
        for number in 0..2 * MOST_CALLERS {
            let hash = verdicts.hash(&token(number));
            verdicts.accept(hash, caller(), Instant::now(), LIFETIME, None).await;
        }
        verdicts.callers.run_pending_tasks().await;

        assert_eq!(verdicts.callers.entry_count(), MOST_CALLERS);
        let newest = verdicts.hash(&token(2 * MOST_CALLERS - 1));
        assert!(matches!(verdicts.known(&newest).await, Some(Ok(_))));
    }
}
