use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::Reason;
use super::entra_claims::{Claims, TokenVersion};
use super::entra_keys::{EntraKeys, NoKey};
use super::jws::UnverifiedJws;
use crate::config::EntraConfig;
use crate::domain::Clock;
use crate::telemetry::audit;

/// Clocks may differ by this much.
const LEEWAY_SECONDS: u64 = 60;

/// The longest life of a token that Entra issues (continuous access evaluation), in seconds.
const LONGEST_LIFE_SECONDS: u64 = 28 * 3600;

/// How far in the future a token may say it was issued, in seconds.
const LATEST_ISSUE_SECONDS: u64 = 300;

/// An authenticated Entra client, by claims of its token. Authentication says nothing about what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraClient {
    tid: String,
    /// In a v1.0 token, `appid`.
    azp: String,
    oid: Option<String>,
    uti: Option<String>,
}

impl EntraClient {
    /// The client that a verified token was issued to; `None` if the token names none.
    fn of(claims: Claims, profile: TokenVersion) -> Option<Self> {
        let azp = claims.client(profile)?.to_owned();
        Some(Self { tid: claims.tid, azp, oid: claims.oid, uti: claims.uti })
    }

    /// The client's tenant.
    pub fn tenant_id(&self) -> &str {
        &self.tid
    }
}

impl From<EntraClient> for audit::Caller {
    fn from(EntraClient { tid, azp, oid, uti }: EntraClient) -> Self {
        Self::Entra { tid, azp, oid, uti }
    }
}

/// A client that holds the route's role.
#[derive(Clone, Debug)]
pub struct EntraCaller(EntraClient);

impl From<EntraCaller> for EntraClient {
    fn from(caller: EntraCaller) -> Self {
        caller.0
    }
}

impl From<EntraCaller> for audit::Caller {
    fn from(caller: EntraCaller) -> Self {
        caller.0.into()
    }
}

/// Why a token does not open the route. The reason is for the log; callers are told the kind only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntraRefusal {
    /// Not proven: 401.
    #[error("{0}")]
    Invalid(&'static str),
    /// Proven, but its time is over: 401, the one cause that callers are told.
    #[error("expired")]
    Expired,
    /// Proven, but not allowed here: 403. With the client, if the token names one.
    #[error("{0}")]
    NotPermitted(&'static str, Option<EntraClient>),
    /// Cannot be told now: 503.
    #[error("no usable Entra key")]
    NoKeys,
}

impl EntraRefusal {
    /// Who is refused, if it is proven.
    pub fn client(&self) -> Option<&EntraClient> {
        match self {
            Self::NotPermitted(_, client) => client.as_ref(),
            Self::Invalid(_) | Self::Expired | Self::NoKeys => None,
        }
    }
}

impl Reason for EntraRefusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(reason) | Self::NotPermitted(reason, _) => reason,
            Self::Expired => "expired",
            Self::NoKeys => "no keys",
        }
    }
}

/// Verifies Entra access tokens. Cheap to clone.
#[derive(Clone)]
pub struct EntraVerifier(Arc<Inner>);

struct Inner {
    config: EntraConfig,
    keys: EntraKeys,
    clock: Clock,
}

impl EntraVerifier {
    /// Starts to read Entra's keys, in the background and until `stop`. `http` follows no redirects.
    pub fn start(config: EntraConfig, http: &reqwest::Client, clock: Clock, stop: &CancellationToken) -> Self {
        let keys = EntraKeys::start(&config, http, stop);
        Self(Arc::new(Inner { config, keys, clock }))
    }

    /// Role that a caller of the create route must have.
    pub fn create_role(&self) -> &str {
        &self.0.config.create_role
    }

    /// Role that a caller of the delete route must have.
    pub fn delete_role(&self) -> &str {
        &self.0.config.delete_role
    }

    /// Whether at least one key can verify tokens now.
    pub fn has_usable_key(&self) -> bool {
        self.0.keys.any_usable()
    }

    /// How long ago the keys of each profile were read, by its name; those that never were are left out.
    pub fn key_ages(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.0.keys.ages()
    }

    /// Whether keys could not be read at the last try.
    pub fn is_failing(&self) -> bool {
        self.0.keys.any_failing()
    }

    /// Verifies a token and its right to a route. Authentication first, then authorisation.
    pub async fn verify(&self, token: &SecretString, role: &str) -> Result<EntraCaller, EntraRefusal> {
        let token = UnverifiedJws::read(token.expose_secret()).map_err(EntraRefusal::Invalid)?;
        let profile = TokenVersion::of(token.unverified_payload()).map_err(EntraRefusal::Invalid)?;
        let key = self.0.keys.key(profile, token.kid()).await.map_err(|error| match error {
            NoKey::Unknown => EntraRefusal::Invalid("unknown kid"),
            NoKey::CannotTell => EntraRefusal::NoKeys,
        })?;
        let payload = token.verified_payload(&key).map_err(EntraRefusal::Invalid)?;
        let claims = Claims::read(&payload).map_err(EntraRefusal::Invalid)?;
        self.check_issue(&claims, key.issuer())?;
        self.check_times(&claims)?;
        let objection = self.objection(&claims, profile, role);
        match (EntraClient::of(claims, profile), objection) {
            (Some(client), None) => Ok(EntraCaller(client)),
            (client, objection) => Err(EntraRefusal::NotPermitted(objection.unwrap_or("no client id"), client)),
        }
    }

    /// Whether our tenant issued it, for us.
    fn check_issue(&self, claims: &Claims, issuer: &str) -> Result<(), EntraRefusal> {
        if claims.iss != issuer {
            return Err(EntraRefusal::Invalid("issuer"));
        }
        if !claims.tid.eq_ignore_ascii_case(&self.0.config.tenant_id) {
            return Err(EntraRefusal::Invalid("another tenant"));
        }
        if !self.0.config.audiences.contains(&claims.aud) {
            return Err(EntraRefusal::Invalid("audience"));
        }
        Ok(())
    }

    fn check_times(&self, claims: &Claims) -> Result<(), EntraRefusal> {
        // A clock before 1970 is a broken one; by it, no token is valid yet.
        let now = self.0.clock.now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        if claims.exp.saturating_add(LEEWAY_SECONDS) < now {
            return Err(EntraRefusal::Expired);
        }
        if claims.nbf > now + LEEWAY_SECONDS {
            return Err(EntraRefusal::Invalid("not valid yet"));
        }
        if claims.iat > now + LATEST_ISSUE_SECONDS {
            return Err(EntraRefusal::Invalid("issued in the future"));
        }
        // Without this, a token that never ends would be as good as one that lives an hour.
        if claims.exp.saturating_sub(claims.iat) > LONGEST_LIFE_SECONDS {
            return Err(EntraRefusal::Invalid("lives longer than Entra's tokens do"));
        }
        Ok(())
    }

    /// What speaks against letting this client do what the role permits.
    fn objection(&self, claims: &Claims, profile: TokenVersion, role: &str) -> Option<&'static str> {
        if claims.scp || claims.idtyp.as_deref().is_some_and(|kind| kind != "app") {
            return Some("a delegated token");
        }
        if claims.client_is_public(profile) {
            return Some("a public client");
        }
        if claims.client(profile).is_some_and(|client| !self.0.config.allowed_clients.allows(client)) {
            return Some("client not on the list");
        }
        if !claims.roles.iter().any(|held| held == role) {
            return Some("role missing");
        }
        None
    }
}

impl std::fmt::Debug for EntraVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EntraVerifier").finish_non_exhaustive()
    }
}
