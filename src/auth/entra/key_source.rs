//! Reads the published keys of one token version: the discovery document, then the key set that it names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::claims::TokenVersion;
use super::key_set::{SigningKey, usable_keys};
use crate::config::EntraConfig;
use crate::domain::Clock;
use crate::outbound::calls::{Outcome, System, observed};
use crate::outbound::{CallFailure, json, retry_after, send};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The address of the published keys of one token version.
pub(super) struct KeySource {
    pub(super) version: TokenVersion,
    metadata: Url,
    tenant_id: String,
    http: reqwest::Client,
    clock: Clock,
}

/// Why the published keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EntraKeysError {
    #[error("Entra {0}")]
    Call(#[from] CallFailure),
    #[error("Entra answered {status}")]
    Status {
        status: u16,
        /// The wait that it asks for.
        retry_after: Option<Duration>,
    },
    #[error("the discovery document names another tenant's issuer")]
    Issuer,
    #[error("the discovery document names a key address that is not https")]
    KeyAddress,
    #[error("Entra publishes no usable key")]
    NoKey,
    /// A bug.
    #[error("the read panicked")]
    Panicked,
}

impl EntraKeysError {
    /// The wait that Entra asks for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Call(_) | Self::Issuer | Self::KeyAddress | Self::NoKey | Self::Panicked => None,
        }
    }

    /// What an operator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Call(_) => "check ENTRA_AUTHORITY_URL and the network path to it",
            Self::Status { .. } | Self::Issuer => "check ENTRA_TENANT_ID and ENTRA_AUTHORITY_URL",
            Self::KeyAddress | Self::NoKey => "check that ENTRA_AUTHORITY_URL is Entra's own",
            Self::Panicked => "report the event `panic` of the log",
        }
    }
}

impl Outcome for EntraKeysError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Call(failure) => failure.outcome(),
            Self::Status { status: 429 | 500.., .. } => "busy",
            Self::Status { .. } => "rejected",
            Self::Issuer | Self::KeyAddress | Self::NoKey | Self::Panicked => "unreadable",
        }
    }
}

/// The number of usable keys for one token version, read now, for `doctor`. Two calls; `http` follows no redirects.
pub async fn published_keys(
    version: TokenVersion,
    config: &EntraConfig,
    http: &reqwest::Client,
    clock: &Clock,
) -> Result<usize, EntraKeysError> {
    Ok(KeySource::new(version, config, http.clone(), clock.clone()).fetch().await?.len())
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct KeySet {
    /// Parsed one by one, so that a malformed entry does not affect the others.
    keys: Vec<Value>,
}

impl KeySource {
    /// `http` follows no redirects.
    pub(super) fn new(version: TokenVersion, config: &EntraConfig, http: reqwest::Client, clock: Clock) -> Self {
        let folder = match version {
            TokenVersion::V1 => "",
            TokenVersion::V2 => "v2.0/",
        };
        let path = format!("{}/{folder}.well-known/openid-configuration", config.tenant_id);
        let metadata = config.authority_url.join(&path).expect("a tenant GUID and constants form a path");
        Self { version, metadata, tenant_id: config.tenant_id.clone(), http, clock }
    }

    #[cfg(test)]
    pub(super) fn at(metadata: Url, http: reqwest::Client) -> Self {
        Self { version: TokenVersion::V2, metadata, tenant_id: String::new(), http, clock: Clock::system() }
    }

    /// The usable keys, at least one. Two calls.
    pub(super) async fn fetch(&self) -> Result<HashMap<String, Arc<SigningKey>>, EntraKeysError> {
        let metadata: Metadata = self.get("discovery", self.metadata.clone()).await?;
        if !self.is_our_tenants(&metadata.issuer) {
            return Err(EntraKeysError::Issuer);
        }
        // Keys sent without TLS could be forged. Plain HTTP is allowed if the authority itself, a simulator, uses it.
        if metadata.jwks_uri.scheme() != "https" && self.metadata.scheme() == "https" {
            return Err(EntraKeysError::KeyAddress);
        }
        let set: KeySet = self.get("keys", metadata.jwks_uri).await?;
        let keys = usable_keys(set.keys, &metadata.issuer, &self.tenant_id);
        if keys.is_empty() { Err(EntraKeysError::NoKey) } else { Ok(keys) }
    }

    async fn get<T: DeserializeOwned>(&self, call: &'static str, url: Url) -> Result<T, EntraKeysError> {
        let work = async {
            let response = send(self.http.get(url).timeout(CALL_TIMEOUT)).await?;
            match response.status().as_u16() {
                200 => Ok(json(response, MAX_DOCUMENT_BYTES).await?),
                status => {
                    let retry_after = retry_after(response.headers(), self.clock.now());
                    Err(EntraKeysError::Status { status, retry_after })
                }
            }
        };
        observed(System::Entra, call, work).await
    }

    /// Whether the first segment of the issuer's path is our tenant. `{tenantid}`, from the document of `common`, is
    /// not. The issuer of v1.0 tokens has another host than the authority; the issuer of v2.0 tokens has the same.
    fn is_our_tenants(&self, issuer: &str) -> bool {
        let Ok(url) = Url::parse(issuer) else { return false };
        let tenant = url.path_segments().and_then(|mut segments| segments.next());
        tenant.is_some_and(|tenant| tenant.eq_ignore_ascii_case(&self.tenant_id))
            && (self.version == TokenVersion::V1 || url.origin() == self.metadata.origin())
    }
}
