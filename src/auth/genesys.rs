use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use secrecy::SecretString;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::Reason;
use super::genesys_api::{GenesysApi, GenesysFailure, TokenInfo, UserMe};
use super::genesys_verdicts::{TokenHash, Verdicts};
use super::lookup_rate::LookupRate;
use crate::config::{AllowedClients, GenesysConfig};
use crate::domain::Clock;
use crate::outbound::breaker::{Breaker, Open};
use crate::tasks::run_to_completion;
use crate::telemetry::audit;
use crate::telemetry::metrics::GENESYS_LOOKUPS;

/// How long a request waits for a place among the look-ups.
const LONGEST_WAIT_FOR_A_LOOKUP: Duration = Duration::from_secs(1);

/// Look-ups at Genesys at a time.
const MOST_LOOKUPS: usize = 16;

/// An active user of our Genesys organisation, in our widget.
#[derive(Clone, Debug)]
pub struct GenesysCaller {
    pub(super) user_id: String,
}

impl GenesysCaller {
    /// The user's id.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }
}

impl From<GenesysCaller> for audit::Caller {
    fn from(GenesysCaller { user_id }: GenesysCaller) -> Self {
        Self::Genesys { user_id }
    }
}

/// Why a token does not open the route. The reason is for the log; callers are told the kind only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesysRefusal {
    /// Genesys does not know it: 401.
    #[error("Genesys does not know the token")]
    Invalid,
    /// Another organisation, another client: 403.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// A user of ours, with this id, who is inactive: 403.
    #[error("user not active")]
    Inactive(String),
    /// Nothing can be said now: 503, after which time to try again.
    #[error("Genesys is unavailable ({0})")]
    Unavailable(String, Duration),
    /// Genesys has had too much of us and wants to be left alone this long: 503.
    #[error("Genesys is unavailable (429)")]
    Busy(Duration),
    /// Genesys answered what nobody agreed on: 502.
    #[error("Genesys answered something else ({0})")]
    Unreadable(String),
    /// Too many tokens that may be made up came from the caller's address: 429, until when.
    #[error("too many unknown tokens from one address")]
    TooManyLookups(Duration),
}

impl GenesysRefusal {
    /// Who is refused, if Genesys has said it.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::Inactive(user_id) => Some(user_id),
            _ => None,
        }
    }
}

impl Reason for GenesysRefusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid => "unknown token",
            Self::NotPermitted(reason) => reason,
            Self::Inactive(_) => "user not active",
            Self::Unavailable(..) | Self::Busy(_) => "unavailable",
            Self::Unreadable(_) => "unreadable answer",
            Self::TooManyLookups(_) => "too many look-ups",
        }
    }
}

/// Verifies Genesys Cloud user tokens by asking Genesys. Cheap to clone.
#[derive(Clone)]
pub struct GenesysVerifier(Arc<Inner>);

struct Inner {
    config: GenesysConfig,
    api: GenesysApi,
    clock: Clock,
    verdicts: Verdicts,
    /// Look-ups under way. Nothing is ever kept in here: what a look-up comes to goes out as its "error", which all
    /// who wait for it get and nobody after them.
    under_way: Cache<TokenHash, Infallible>,
    places: Semaphore,
    rate: LookupRate,
    breaker: Arc<Breaker>,
}

/// What a look-up came to.
type Verdict = Result<GenesysCaller, GenesysRefusal>;

/// A caller whom Genesys has just vouched for.
struct VouchedFor {
    caller: GenesysCaller,
    /// What is left of the token's time, if Genesys says.
    left: Option<Duration>,
}

impl GenesysVerifier {
    /// A verifier; no call is made yet. `http` follows no redirects.
    pub fn new(config: GenesysConfig, http: reqwest::Client, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            api: GenesysApi::new(config.api_url.clone(), http),
            config,
            clock,
            verdicts: Verdicts::new(),
            under_way: Cache::builder().build(),
            places: Semaphore::new(MOST_LOOKUPS),
            rate: LookupRate::new(),
            breaker: Breaker::new(),
        }))
    }

    /// Who holds this token, which came from `address`. Requests with the same token share one look-up. While Genesys
    /// is unavailable its last good word is believed as long again; an outage is never remembered as a verdict.
    pub async fn verify(&self, token: &SecretString, address: Option<IpAddr>) -> Verdict {
        let hash = self.0.verdicts.hash(token);
        if let Some(verdict) = self.0.verdicts.known(&hash).await {
            GENESYS_LOOKUPS.count(["cache".into()]);
            return verdict;
        }
        let verdict = self.share_a_look_up(hash, token.clone(), address).await;
        if let Err(refusal @ (GenesysRefusal::Unavailable(..) | GenesysRefusal::Busy(_))) = &verdict
            && let Some(caller) = self.0.verdicts.last_known(&hash).await
        {
            GENESYS_LOOKUPS.count(["last_word".into()]);
            warn!(genesys_user = caller.user_id, error = %refusal, "the last word of Genesys is believed once more");
            return Ok(caller);
        }
        verdict
    }

    /// In a task of its own: whoever hangs up would otherwise leave nothing for the next one, who asks anew.
    async fn share_a_look_up(&self, hash: TokenHash, token: SecretString, address: Option<IpAddr>) -> Verdict {
        let verifier = self.clone();
        let asked = async move {
            let shared = async { Err(verifier.look_up(hash, &token, address).await) };
            let Err(verdict) = verifier.0.under_way.try_get_with(hash, shared).await;
            Arc::unwrap_or_clone(verdict)
        };
        run_to_completion(asked).await
    }

    /// Whether Genesys is left alone after failures.
    pub fn is_circuit_open(&self) -> bool {
        self.0.breaker.is_open()
    }

    async fn look_up(&self, hash: TokenHash, token: &SecretString, address: Option<IpAddr>) -> Verdict {
        // Whoever came a moment too late to share a look-up finds what it has brought.
        if let Some(verdict) = self.0.verdicts.known(&hash).await {
            return verdict;
        }
        self.0.breaker.check()?;
        // Made-up tokens must not keep out those whom Genesys has vouched for, however long ago.
        if !self.0.verdicts.was_accepted(&hash) {
            self.0.rate.spend(address).await.map_err(GenesysRefusal::TooManyLookups)?;
        }
        // Made-up tokens must not hold the places of everybody's requests while they wait here.
        let Ok(_place) = timeout(LONGEST_WAIT_FOR_A_LOOKUP, self.0.places.acquire()).await else {
            return Err(GenesysRefusal::Unavailable(
                "too many look-ups at a time".to_owned(),
                LONGEST_WAIT_FOR_A_LOOKUP,
            ));
        };
        let call = self.0.breaker.admit()?;
        GENESYS_LOOKUPS.count(["genesys".into()]);
        let asked_at = Instant::now();
        let answer = self.ask_genesys(token).await;
        match &answer {
            Err(GenesysRefusal::Busy(wait)) => call.failed(Some(*wait)),
            Err(GenesysRefusal::Unavailable(..)) => call.failed(None),
            Ok(_) | Err(_) => call.succeeded(),
        }
        match answer {
            Ok(VouchedFor { caller, left }) => {
                self.0.verdicts.accept(hash, caller.clone(), asked_at, self.0.config.cache, left).await;
                Ok(caller)
            }
            Err(
                refusal @ (GenesysRefusal::Invalid | GenesysRefusal::NotPermitted(_) | GenesysRefusal::Inactive(_)),
            ) => {
                self.0.verdicts.refuse(hash, refusal.clone()).await;
                Err(refusal)
            }
            Err(nothing_known) => Err(nothing_known),
        }
    }

    async fn ask_genesys(&self, token: &SecretString) -> Result<VouchedFor, GenesysRefusal> {
        let info = self.0.api.token_info(token).await?;
        self.check_token(&info)?;
        let user = self.0.api.user(token).await?;
        let user_id = check_user(user)?;
        Ok(VouchedFor { caller: GenesysCaller { user_id }, left: self.time_left(&info) })
    }

    /// Organisation first: development and production organisation share one API host, so a token of the other one
    /// is as valid there.
    fn check_token(&self, info: &TokenInfo) -> Result<(), GenesysRefusal> {
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
        Ok(())
    }

    /// How long it is until the token idles out.
    fn time_left(&self, info: &TokenInfo) -> Option<Duration> {
        let idles = OffsetDateTime::parse(info.date_token_idles.as_deref()?, &Rfc3339).ok()?;
        Some(Duration::try_from(idles - self.0.clock.now_utc()).unwrap_or_default())
    }
}

fn check_user(user: UserMe) -> Result<String, GenesysRefusal> {
    match (user.id, user.state.as_deref()) {
        (Some(id), Some("active")) => Ok(id),
        (Some(id), Some(_)) => Err(GenesysRefusal::Inactive(id)),
        _ => Err(GenesysRefusal::Unreadable("id or state of the user is missing".to_owned())),
    }
}

impl From<Open> for GenesysRefusal {
    fn from(open: Open) -> Self {
        Self::Unavailable("left alone for now".to_owned(), open.retry_in)
    }
}

impl From<GenesysFailure> for GenesysRefusal {
    fn from(failure: GenesysFailure) -> Self {
        match failure {
            GenesysFailure::Unauthorized => Self::Invalid,
            GenesysFailure::Forbidden => Self::NotPermitted("Genesys forbids the token to ask"),
            GenesysFailure::Busy(wait) => Self::Busy(wait),
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
