use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use moka::Expiry;
use moka::future::Cache;
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::genesys_api::{GenesysApi, GenesysFailure, TokenInfo, UserMe};
use crate::breaker::Breaker;
use crate::clock::Clock;
use crate::config::{AllowedClients, GenesysConfig};

/// How long a token that Genesys refuses is refused without asking again.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(30);

/// Bounds of the two caches. They are apart so that a flood of bad tokens cannot push out good ones.
const MOST_CALLERS: u64 = 10_000;
const MOST_REFUSALS: u64 = 10_000;

/// How long a request waits for a place among the look-ups.
const LONGEST_WAIT_FOR_A_LOOKUP: Duration = Duration::from_secs(1);

/// Look-ups at Genesys at a time.
const MOST_LOOKUPS: usize = 16;

/// An active user of our Genesys organisation, in our widget.
#[derive(Clone, Debug)]
pub struct GenesysCaller {
    user_id: String,
    organization_id: String,
}

impl GenesysCaller {
    /// The user's id.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The organisation's id.
    pub fn organization_id(&self) -> &str {
        &self.organization_id
    }
}

/// Why a token does not open the route. The reason is for the log; callers are told the kind only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesysRefusal {
    /// Genesys does not know it: 401.
    #[error("Genesys does not know the token")]
    Invalid,
    /// Another organisation, another client, an inactive user: 403.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// Nothing can be said now: 503, after which time to try again.
    #[error("Genesys is unavailable ({0})")]
    Unavailable(String, Duration),
    /// Genesys answered what nobody agreed on: 502.
    #[error("Genesys answered something else ({0})")]
    Unreadable(String),
}

/// Verifies Genesys Cloud user tokens by asking Genesys. Cheap to clone.
#[derive(Clone)]
pub struct GenesysVerifier(Arc<Inner>);

struct Inner {
    config: GenesysConfig,
    api: GenesysApi,
    clock: Clock,
    /// Keys of the caches are keyed hashes: a memory dump shows no token.
    hash_key: hmac::Key,
    callers: Cache<TokenHash, Accepted>,
    refusals: Cache<TokenHash, GenesysRefusal>,
    lookups: Semaphore,
    breaker: Arc<Breaker>,
}

type TokenHash = [u8; 32];

#[derive(Clone)]
struct Accepted {
    caller: GenesysCaller,
    /// How long it is believed from the moment it was looked up.
    lifetime: Duration,
}

struct AcceptedExpiry;

impl Expiry<TokenHash, Accepted> for AcceptedExpiry {
    fn expire_after_create(&self, _: &TokenHash, accepted: &Accepted, _: Instant) -> Option<Duration> {
        Some(accepted.lifetime)
    }
}

impl GenesysVerifier {
    /// A verifier; no call is made yet. `http` follows no redirects.
    pub fn new(config: GenesysConfig, http: reqwest::Client, clock: Clock) -> Self {
        let mut random = [0; 32];
        SysRng.try_fill_bytes(&mut random).expect("a machine without a random source cannot keep secrets");
        Self(Arc::new(Inner {
            api: GenesysApi::new(config.api_url.clone(), http),
            config,
            clock,
            hash_key: hmac::Key::new(hmac::HMAC_SHA256, &random),
            callers: Cache::builder().max_capacity(MOST_CALLERS).expire_after(AcceptedExpiry).build(),
            refusals: Cache::builder().max_capacity(MOST_REFUSALS).time_to_live(REFUSAL_LIFETIME).build(),
            lookups: Semaphore::new(MOST_LOOKUPS),
            breaker: Breaker::new(),
        }))
    }

    /// Who holds this token. Requests with the same token share one look-up; only verdicts are remembered, never an
    /// outage.
    pub async fn verify(&self, token: &SecretString) -> Result<GenesysCaller, GenesysRefusal> {
        let hash = self.hash(token);
        if let Some(refusal) = self.0.refusals.get(&hash).await {
            return Err(refusal);
        }
        match self.0.callers.try_get_with(hash, self.look_up(hash, token)).await {
            Ok(accepted) => Ok(accepted.caller),
            Err(refusal) => Err(Arc::unwrap_or_clone(refusal)),
        }
    }

    async fn look_up(&self, hash: TokenHash, token: &SecretString) -> Result<Accepted, GenesysRefusal> {
        // Made-up tokens must not hold the places of everybody's requests while they wait here.
        let Ok(_place) = timeout(LONGEST_WAIT_FOR_A_LOOKUP, self.0.lookups.acquire()).await else {
            return Err(GenesysRefusal::Unavailable(
                "too many look-ups at a time".to_owned(),
                LONGEST_WAIT_FOR_A_LOOKUP,
            ));
        };
        let call = self.0.breaker.admit().map_err(|open| {
            GenesysRefusal::Unavailable("left alone for now, after it failed".to_owned(), open.retry_in)
        })?;
        let verdict = self.ask_genesys(token).await;
        match &verdict {
            // Its limits are per token, so one that is over its own says nothing about the next: no wait is taken over.
            Err(GenesysRefusal::Unavailable(..)) => call.failed(None),
            Ok(_) | Err(_) => call.succeeded(),
        }
        if let Err(refusal @ (GenesysRefusal::Invalid | GenesysRefusal::NotPermitted(_))) = &verdict {
            self.0.refusals.insert(hash, refusal.clone()).await;
        }
        verdict
    }

    async fn ask_genesys(&self, token: &SecretString) -> Result<Accepted, GenesysRefusal> {
        let info = self.0.api.token_info(token).await?;
        let organization_id = self.check_token(&info)?;
        let user = self.0.api.user(token).await?;
        let user_id = check_user(user)?;
        Ok(Accepted { caller: GenesysCaller { user_id, organization_id }, lifetime: self.lifetime(&info) })
    }

    /// Organisation first: development and production organisation share one API host, so a token of the other one
    /// is as valid there.
    fn check_token(&self, info: &TokenInfo) -> Result<String, GenesysRefusal> {
        let missing = |member: &str| GenesysRefusal::Unreadable(format!("{member} is missing"));
        let organization = info.organization.as_ref().and_then(|organization| organization.id.as_deref());
        let organization = organization.ok_or_else(|| missing("organization.id"))?;
        if !organization.eq_ignore_ascii_case(&self.0.config.organization_id) {
            return Err(GenesysRefusal::NotPermitted("another organisation"));
        }
        // An opaque token has no audience; the client it was issued to is what comes nearest.
        if self.0.config.oauth_clients != AllowedClients::Any {
            let client = info.oauth_client.as_ref().and_then(|client| client.id.as_deref());
            if !self.0.config.oauth_clients.allows(client.ok_or_else(|| missing("OAuthClient.id"))?) {
                return Err(GenesysRefusal::NotPermitted("client not on the list"));
            }
        }
        let home = info.home_organization.as_ref().and_then(|home| home.id.as_deref());
        let home = home.ok_or_else(|| missing("homeOrganization.id"))?;
        if info.cloned_user.is_some() || !home.eq_ignore_ascii_case(organization) {
            return Err(GenesysRefusal::NotPermitted("a user of a partner organisation"));
        }
        Ok(organization.to_owned())
    }

    /// The cache's time, and not beyond the moment when the token idles out.
    fn lifetime(&self, info: &TokenInfo) -> Duration {
        let idles = info.date_token_idles.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let left = idles.map(|idles| Duration::try_from(idles - self.0.clock.now_utc()).unwrap_or_default());
        left.map_or(self.0.config.cache, |left| left.min(self.0.config.cache))
    }

    fn hash(&self, token: &SecretString) -> TokenHash {
        let tag = hmac::sign(&self.0.hash_key, token.expose_secret().as_bytes());
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

fn check_user(user: UserMe) -> Result<String, GenesysRefusal> {
    match (user.id, user.state.as_deref()) {
        (Some(id), Some("active")) => Ok(id),
        (_, Some(state)) if state != "active" => Err(GenesysRefusal::NotPermitted("user not active")),
        _ => Err(GenesysRefusal::Unreadable("id or state of the user is missing".to_owned())),
    }
}

impl From<GenesysFailure> for GenesysRefusal {
    fn from(failure: GenesysFailure) -> Self {
        match failure {
            GenesysFailure::Unauthorized => Self::Invalid,
            GenesysFailure::Forbidden => Self::NotPermitted("Genesys forbids the token to ask"),
            GenesysFailure::Unavailable(cause, wait) => Self::Unavailable(cause, wait),
            GenesysFailure::Invalid(cause) => Self::Unreadable(cause),
        }
    }
}

impl std::fmt::Debug for GenesysVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GenesysVerifier").finish_non_exhaustive()
    }
}
