//! Verifies Genesys Cloud user tokens by asking Genesys.

mod api;
mod look_up_line;
mod verdict;
mod verdict_cache;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::SecretString;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;
use tracing::warn;

use self::api::{GenesysApi, TokenInfo, UserMe};
use self::look_up_line::LookUpLine;
use self::verdict::Verdict;
use self::verdict_cache::{TokenHash, VerdictCache};
use crate::config::{AllowedIds, GenesysConfig};
use crate::domain::Clock;
use crate::outbound::breaker::Breaker;
use crate::tasks::SingleFlight;
use crate::telemetry::metrics::GENESYS_LOOKUPS;

pub use self::api::{GenesysFailure, find_genesys};
pub use self::verdict::{GenesysCaller, GenesysRefusal, UserFault};

/// Verifies Genesys Cloud user tokens. Cheap to clone.
#[derive(Clone)]
pub struct GenesysVerifier(Arc<Inner>);

struct Inner {
    config: GenesysConfig,
    api: GenesysApi,
    clock: Clock,
    verdicts: VerdictCache,
    look_ups: SingleFlight<TokenHash, Verdict>,
    line: LookUpLine,
    breaker: Arc<Breaker>,
    /// The tokens that Genesys has answered 429 since its last verdict. Each opens the breaker or brings it nearer to
    /// that, so there are few. Never locked across an await.
    limited: Mutex<HashSet<TokenHash>>,
}

/// A user that Genesys has just accepted.
struct Accepted {
    caller: GenesysCaller,
    /// Time until the token idles out, if Genesys names it.
    idles_in: Option<Duration>,
}

impl GenesysVerifier {
    /// A verifier. Makes no call yet. `http` follows no redirects. `widgets_share`: concurrent requests of the widget,
    /// of which some may wait for a look-up.
    pub fn new(config: GenesysConfig, http: reqwest::Client, clock: Clock, widgets_share: usize) -> Self {
        Self(Arc::new(Inner {
            api: GenesysApi::new(config.api_url.clone(), http, clock.clone()),
            config,
            clock,
            verdicts: VerdictCache::new(),
            look_ups: SingleFlight::default(),
            line: LookUpLine::new(widgets_share),
            breaker: Breaker::new(),
            limited: Mutex::default(),
        }))
    }

    /// The user of this token, which came from `address`. While Genesys is unavailable, a stale verdict is served if
    /// there is one. An outage is never cached as a verdict.
    pub async fn verify(&self, token: &SecretString, address: Option<IpAddr>) -> Verdict {
        let hash = self.0.verdicts.hash(token);
        if let Some(verdict) = self.0.verdicts.fresh(&hash).await {
            GENESYS_LOOKUPS.count(["cache".into()]);
            return verdict;
        }
        let verdict = self.shared_look_up(hash, token.clone(), address).await;
        if let Err(refusal @ (GenesysRefusal::Unavailable(..) | GenesysRefusal::Busy(_))) = &verdict
            && let Some(caller) = self.0.verdicts.stale(&hash).await
        {
            GENESYS_LOOKUPS.count(["stale".into()]);
            warn!(genesys_user = caller.user_id, error = %refusal, "Genesys unavailable, serving stale verdict");
            return Ok(caller);
        }
        verdict
    }

    /// A look-up shared by concurrent requests with this token.
    async fn shared_look_up(&self, hash: TokenHash, token: SecretString, address: Option<IpAddr>) -> Verdict {
        let verifier = self.clone();
        let look_up = async move { verifier.look_up(hash, &token, address).await };
        self.0.look_ups.run(hash, look_up).await
    }

    /// Whether the circuit breaker refuses calls to Genesys.
    pub fn is_circuit_open(&self) -> bool {
        self.0.breaker.is_open()
    }

    async fn look_up(&self, hash: TokenHash, token: &SecretString, address: Option<IpAddr>) -> Verdict {
        // The previous look-up may have ended after the caller's check.
        if let Some(verdict) = self.0.verdicts.fresh(&hash).await {
            return verdict;
        }
        if let Some(wait) = self.0.verdicts.pause(&hash).await {
            return Err(GenesysRefusal::Busy(wait));
        }
        self.0.breaker.check()?;
        // A flood of made-up tokens must not lock out tokens that Genesys has accepted before.
        let _slot = if self.0.verdicts.was_accepted(&hash) {
            self.0.line.admit_known().await?
        } else {
            self.0.line.admit_unknown(address).await?
        };
        let call = self.0.breaker.admit()?;
        GENESYS_LOOKUPS.count(["genesys".into()]);
        let asked_at = Instant::now();
        let answer = self.ask_genesys(token).await;
        match &answer {
            Err(GenesysRefusal::Busy(wait)) => {
                self.0.verdicts.pause_for(hash, *wait).await;
                // A 429 is about one token. Only 429s for token after token say something about Genesys.
                if self.0.limited.lock().insert(hash) { call.failed(None) } else { drop(call) }
            }
            Err(GenesysRefusal::Unavailable(..)) => call.failed(None),
            Ok(_) | Err(_) => {
                self.0.limited.lock().clear();
                call.succeeded();
            }
        }
        match answer {
            Ok(Accepted { caller, idles_in }) => {
                self.0.verdicts.accept(hash, caller.clone(), asked_at, self.0.config.cache, idles_in).await;
                Ok(caller)
            }
            Err(
                refusal @ (GenesysRefusal::Invalid
                | GenesysRefusal::NotPermitted(_)
                | GenesysRefusal::Inactive(_)
                | GenesysRefusal::OtherDivision(_)),
            ) => {
                self.0.verdicts.refuse(hash, refusal.clone()).await;
                Err(refusal)
            }
            Err(not_a_verdict) => Err(not_a_verdict),
        }
    }

    async fn ask_genesys(&self, token: &SecretString) -> Result<Accepted, GenesysRefusal> {
        let info = self.0.api.token_info(token).await?;
        self.check_token(&info)?;
        let user = self.0.api.user(token).await?;
        let user_id = self.check_user(user)?;
        Ok(Accepted { caller: GenesysCaller { user_id }, idles_in: self.idles_in(&info) })
    }

    /// Checks the organisation first: the development and the production organisation share one API host, where a token
    /// of either is valid.
    fn check_token(&self, info: &TokenInfo) -> Result<(), GenesysRefusal> {
        let organization = info.organization.as_ref().and_then(|organization| organization.id.as_deref());
        let organization = organization.ok_or_else(|| missing("organization.id"))?;
        if !organization.eq_ignore_ascii_case(&self.0.config.organization_id) {
            return Err(GenesysRefusal::NotPermitted(UserFault::OtherOrganization));
        }
        // An opaque token has no audience. The client that it was issued to takes its place.
        if self.0.config.oauth_clients != AllowedIds::Any {
            let client = info.oauth_client.as_ref().and_then(|client| client.id.as_deref());
            if !self.0.config.oauth_clients.allows(client.ok_or_else(|| missing("OAuthClient.id"))?) {
                return Err(GenesysRefusal::NotPermitted(UserFault::ClientNotAllowed));
            }
        }
        let home = info.home_organization.as_ref().and_then(|home| home.id.as_deref());
        let home = home.ok_or_else(|| missing("homeOrganization.id"))?;
        if info.cloned_user.is_some() || !home.eq_ignore_ascii_case(organization) {
            return Err(GenesysRefusal::NotPermitted(UserFault::PartnerUser));
        }
        Ok(())
    }

    /// The id of an active user of an accepted division.
    fn check_user(&self, user: UserMe) -> Result<String, GenesysRefusal> {
        let id = user.id.ok_or_else(|| missing("the user's id"))?;
        let state = user.state.ok_or_else(|| missing("the user's state"))?;
        if state != "active" {
            return Err(GenesysRefusal::Inactive(id));
        }
        if self.0.config.divisions != AllowedIds::Any {
            let division = user.division.and_then(|division| division.id).ok_or_else(|| missing("division.id"))?;
            if !self.0.config.divisions.allows(&division) {
                return Err(GenesysRefusal::OtherDivision(id));
            }
        }
        Ok(id)
    }

    fn idles_in(&self, info: &TokenInfo) -> Option<Duration> {
        let idles_at = OffsetDateTime::parse(info.date_token_idles.as_deref()?, &Rfc3339).ok()?;
        Some(Duration::try_from(idles_at - self.0.clock.now_utc()).unwrap_or_default())
    }
}

fn missing(member: &str) -> GenesysRefusal {
    GenesysRefusal::Unreadable(format!("{member} is missing"))
}

impl std::fmt::Debug for GenesysVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GenesysVerifier").finish_non_exhaustive()
    }
}
