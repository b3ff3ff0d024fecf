//! Verifies Entra access tokens.

mod claims;
mod jws;
mod key_set;
mod key_source;
mod keys;
mod refusal;
mod signatures;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use self::claims::Claims;
use self::keys::{EntraKeys, NoKey};
use self::signatures::Signatures;
use crate::config::{AllowedIds, EntraConfig};
use crate::domain::Clock;
use crate::telemetry::audit;

pub use self::claims::TokenVersion;
pub use self::jws::UnverifiedJws;
pub use self::key_set::{SigningKey, usable_keys};
pub use self::key_source::{EntraKeysError, published_keys};
pub use self::refusal::{EntraRefusal, PermissionFault, TokenFault};

/// Tolerated difference between Entra's clock and ours.
const LEEWAY_SECONDS: u64 = 60;

/// The longest lifetime that Entra gives a token (continuous access evaluation), in seconds.
const MAX_LIFETIME_SECONDS: u64 = 28 * 3600;

/// How far in the future `iat` may be, in seconds.
const MAX_ISSUED_AHEAD_SECONDS: u64 = 300;

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
    fn of(claims: Claims, version: TokenVersion) -> Option<Self> {
        let azp = claims.client(version)?.to_owned();
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

/// Verifies Entra access tokens. Cheap to clone.
#[derive(Clone)]
pub struct EntraVerifier(Arc<Inner>);

struct Inner {
    config: EntraConfig,
    keys: EntraKeys,
    signatures: Signatures,
    clock: Clock,
}

impl EntraVerifier {
    /// Starts to read Entra's keys, in the background and until `stop`. `http` follows no redirects.
    pub fn start(config: EntraConfig, http: &reqwest::Client, clock: Clock, stop: &CancellationToken) -> Self {
        let keys = EntraKeys::start(&config, http, &clock, stop);
        Self(Arc::new(Inner { config, keys, signatures: Signatures::new(), clock }))
    }

    /// The role that creating a room requires, if any.
    pub fn create_role(&self) -> Option<&str> {
        self.0.config.create_role.as_deref()
    }

    /// The role that deleting a room requires, if any.
    pub fn delete_role(&self) -> Option<&str> {
        self.0.config.delete_role.as_deref()
    }

    /// The role that reading a room requires, if any.
    pub fn read_role(&self) -> Option<&str> {
        self.0.config.read_role.as_deref()
    }

    /// Whether at least one key can verify tokens now.
    pub fn has_usable_key(&self) -> bool {
        self.0.keys.any_usable()
    }

    /// Time since the last successful read of the keys, for each token version whose keys have been read.
    pub fn key_ages(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.0.keys.ages()
    }

    /// Whether the last read of the keys failed.
    pub fn is_failing(&self) -> bool {
        self.0.keys.any_failing()
    }

    /// The client of a valid token that has the role, if one is required. Checks authentication first, then
    /// authorisation.
    pub async fn verify(&self, token: &SecretString, role: Option<&str>) -> Result<EntraClient, EntraRefusal> {
        let text = token.expose_secret();
        let token = UnverifiedJws::read(text)?;
        let version = TokenVersion::of(token.unverified_payload())?;
        let key = self.0.keys.key(version, token.kid()).await.map_err(|error| match error {
            NoKey::Unknown => EntraRefusal::Invalid(TokenFault::UnknownKey),
            NoKey::NotYetListed(wait) => EntraRefusal::KeyToCome(wait),
            NoKey::Unavailable => EntraRefusal::NoKeys,
        })?;
        let claims = Claims::read(&self.0.signatures.verified_payload(text, token, &key).await?)?;
        self.check_issue(&claims, version, key.issuer())?;
        self.check_times(&claims)?;
        let fault = self.permission_fault(&claims, version, role);
        match (EntraClient::of(claims, version), fault) {
            (Some(client), None) => Ok(client),
            (client, fault) => Err(EntraRefusal::NotPermitted(fault.unwrap_or(PermissionFault::NoClientId), client)),
        }
    }

    /// Whether our tenant issued the token for this API.
    fn check_issue(&self, claims: &Claims, version: TokenVersion, issuer: &str) -> Result<(), TokenFault> {
        if claims.iss != issuer {
            return Err(TokenFault::Issuer);
        }
        if !claims.tid.eq_ignore_ascii_case(&self.0.config.tenant_id) {
            return Err(TokenFault::Tenant);
        }
        if !self.has_our_audience(claims, version) {
            return Err(TokenFault::Audience);
        }
        Ok(())
    }

    /// An ID token has its client's id as audience and names no client: with `own`, that of an allowed client passes
    /// here and is refused as not permitted.
    fn has_our_audience(&self, claims: &Claims, version: TokenVersion) -> bool {
        let EntraConfig { audiences, allowed_clients, .. } = &self.0.config;
        let is_own = |client: &str| audiences.is_own(&claims.aud, client);
        audiences.lists(&claims.aud)
            || match (claims.client(version), allowed_clients) {
                (Some(client), _) => is_own(client),
                (None, AllowedIds::Only(clients)) => clients.iter().any(|client| is_own(client)),
                (None, AllowedIds::Any) => false,
            }
    }

    fn check_times(&self, claims: &Claims) -> Result<(), TokenFault> {
        // With a clock before 1970, which is wrong, no token is valid yet.
        let now = self.0.clock.now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        if claims.exp.saturating_add(LEEWAY_SECONDS) < now {
            return Err(TokenFault::Expired);
        }
        if claims.nbf > now + LEEWAY_SECONDS {
            return Err(TokenFault::NotYetValid);
        }
        if claims.iat > now + MAX_ISSUED_AHEAD_SECONDS {
            return Err(TokenFault::IssuedInFuture);
        }
        // Otherwise a token that never expires would be accepted for ever.
        if claims.exp.saturating_sub(claims.iat) > MAX_LIFETIME_SECONDS {
            return Err(TokenFault::LifetimeTooLong);
        }
        Ok(())
    }

    /// Why a valid token does not permit what `role` permits.
    ///
    /// Elsewhere an audience and a role of this API keep users' tokens out. With `own` or without a role, the token
    /// itself must prove that it is an application's.
    fn permission_fault(&self, claims: &Claims, version: TokenVersion, role: Option<&str>) -> Option<PermissionFault> {
        if claims.scp || claims.idtyp.as_deref().is_some_and(|kind| kind != "app") {
            return Some(PermissionFault::DelegatedToken);
        }
        if claims.client_is_public(version) {
            return Some(PermissionFault::PublicClient);
        }
        let needs_proof = self.0.config.audiences.own || role.is_none();
        if needs_proof && !claims.is_proven_to_be_an_applications(version) {
            return Some(PermissionFault::NotAnApplication);
        }
        if claims.client(version).is_some_and(|client| !self.0.config.allowed_clients.allows(client)) {
            return Some(PermissionFault::ClientNotAllowed);
        }
        if role.is_some_and(|role| !claims.roles.iter().any(|held| held == role)) {
            return Some(PermissionFault::RoleMissing);
        }
        None
    }
}

impl std::fmt::Debug for EntraVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EntraVerifier").finish_non_exhaustive()
    }
}
