use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use rand::RngExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::entra_claims::Profile;
use crate::config::EntraConfig;
use crate::outbound::{CallFailure, json};

/// Microsoft publishes no interval for key rollover and refreshes its own caches hourly; ± 10 % keeps instances apart.
const SCHEDULED_REFRESH: Duration = Duration::from_secs(3600);

/// Keys that could not be confirmed for this long are not believed any more.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST_DOCUMENT: usize = 256 * 1024;
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Requests that wait for one refresh; the next ones wait for a place.
const MOST_WAITING: usize = 64;

/// A key that Entra published, and the issuer of the tokens that it signs.
pub(super) struct SigningKey {
    pub(super) key: DecodingKey,
    pub(super) issuer: String,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// Keys are there, this one is not among them.
    Unknown,
    /// None could be read, or none recently enough.
    NoneUsable,
}

/// Entra's signing keys, per profile: read at start, hourly, and on a `kid` that is not known.
pub(super) struct EntraKeys {
    v1: ProfileKeys,
    v2: ProfileKeys,
}

impl EntraKeys {
    pub(super) fn start(config: &EntraConfig, http: &reqwest::Client, stop: CancellationToken) -> Self {
        let tenant = &config.tenant_id;
        let start = |path: String, stop| {
            let metadata = config.authority_url.join(&path).expect("a tenant GUID and fixed words make a path");
            ProfileKeys::start(metadata, config, http.clone(), stop)
        };
        Self {
            v1: start(format!("{tenant}/.well-known/openid-configuration"), stop.clone()),
            v2: start(format!("{tenant}/v2.0/.well-known/openid-configuration"), stop),
        }
    }

    pub(super) fn any_usable(&self) -> bool {
        self.v1.snapshot().is_usable() || self.v2.snapshot().is_usable()
    }

    pub(super) async fn key(&self, profile: Profile, kid: &str) -> Result<Arc<SigningKey>, NoKey> {
        match profile {
            Profile::V1 => self.v1.key(kid).await,
            Profile::V2 => self.v2.key(kid).await,
        }
    }
}

/// The keys of one profile. Readers never wait for a refresh of keys they have.
struct ProfileKeys {
    current: Arc<RwLock<Arc<Snapshot>>>,
    unknown_kid: mpsc::Sender<UnknownKid>,
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
    fn start(metadata: Url, config: &EntraConfig, http: reqwest::Client, stop: CancellationToken) -> Self {
        let current = Arc::new(RwLock::new(Arc::new(Snapshot::default())));
        let (unknown_kid, requests) = mpsc::channel(MOST_WAITING);
        let refresher = Refresher {
            source: KeySource { metadata, tenant_id: config.tenant_id.clone(), http },
            current: Arc::clone(&current),
            min_refresh: config.keys_min_refresh,
            scheduled: Instant::now(),
            on_demand_from: Instant::now(),
            failures: 0,
        };
        tokio::spawn(refresher.run(requests, stop));
        Self { current, unknown_kid }
    }

    async fn key(&self, kid: &str) -> Result<Arc<SigningKey>, NoKey> {
        if let Some(key) = self.snapshot().key(kid) {
            return Ok(key);
        }
        let (settled, waiting) = oneshot::channel();
        if self.unknown_kid.send(UnknownKid { kid: kid.to_owned(), settled }).await.is_ok() {
            // Settled without a word means that the refresher is stopping.
            let _ = waiting.await;
        }
        let snapshot = self.snapshot();
        snapshot.key(kid).ok_or(if snapshot.is_usable() { NoKey::Unknown } else { NoKey::NoneUsable })
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The one task that fetches a profile's keys, so that a fetch is on its way at most once and nobody holds a lock
/// while it is.
struct Refresher {
    source: KeySource,
    current: Arc<RwLock<Arc<Snapshot>>>,
    min_refresh: Duration,
    /// When the next scheduled refresh is due; after a failure, when the next try is.
    scheduled: Instant,
    /// From when on an unknown `kid` may cause a refresh.
    on_demand_from: Instant,
    failures: u32,
}

impl Refresher {
    async fn run(mut self, mut requests: mpsc::Receiver<UnknownKid>, stop: CancellationToken) {
        loop {
            // In this order: the fetch at start goes before the requests that wait for it.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(self.scheduled) => self.refresh().await,
                request = requests.recv() => match request {
                    Some(request) => self.answer(request).await,
                    None => return,
                },
            }
        }
    }

    /// At most one fetch per gate, whatever `kid`s are made up.
    async fn answer(&mut self, request: UnknownKid) {
        let known = self.current().key(&request.kid).is_some();
        if !known && Instant::now() >= self.on_demand_from {
            self.refresh().await;
            if self.failures == 0 {
                self.on_demand_from = Instant::now() + self.min_refresh;
            }
        }
        let _ = request.settled.send(());
    }

    async fn refresh(&mut self) {
        match self.source.fetch().await {
            Ok(keys) => {
                info!(keys = keys.len(), "Entra keys read");
                // The set is replaced, so a key that Entra has withdrawn is gone at once.
                let snapshot = Arc::new(Snapshot { keys, read_at: Some(Instant::now()) });
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
                self.failures = 0;
                self.scheduled = Instant::now() + SCHEDULED_REFRESH.mul_f64(rand::rng().random_range(0.9..1.1));
            }
            Err(error) => {
                let back_off = FIRST_BACK_OFF.saturating_mul(1 << self.failures.min(6)).min(LONGEST_BACK_OFF);
                let back_off = back_off.mul_f64(rand::rng().random_range(0.8..1.2));
                warn!(%error, retry_in_ms = back_off.as_millis(), "Entra keys could not be read; the known ones stay");
                self.failures = self.failures.saturating_add(1);
                self.scheduled = Instant::now() + back_off;
                // Without a gate of its own, a failing endpoint would be asked for every made-up kid.
                self.on_demand_from = self.on_demand_from.max(self.scheduled);
            }
        }
    }

    fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the keys of one profile are published.
struct KeySource {
    metadata: Url,
    tenant_id: String,
    http: reqwest::Client,
}

/// Why the published keys cannot be used.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("Entra {0}")]
    Call(#[from] CallFailure),
    #[error("Entra answered {0}")]
    Status(u16),
    #[error("the discovery document names another tenant's issuer")]
    Issuer,
    #[error("the discovery document names a key address that is not https")]
    KeyAddress,
    #[error("no usable key was published")]
    NoKey,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct KeySet {
    /// Read one by one: a single malformed entry must not cost the others.
    keys: Vec<Value>,
}

impl KeySource {
    async fn fetch(&self) -> Result<HashMap<String, Arc<SigningKey>>, FetchError> {
        let metadata: Metadata = self.get(self.metadata.clone()).await?;
        if !self.is_our_tenants(&metadata.issuer) {
            return Err(FetchError::Issuer);
        }
        // Keys that come in the clear could be anybody's; the authority itself may be a simulator on loopback.
        if metadata.jwks_uri.scheme() != "https" && self.metadata.scheme() == "https" {
            return Err(FetchError::KeyAddress);
        }
        let set: KeySet = self.get(metadata.jwks_uri).await?;
        let keys = usable_keys(set.keys, &metadata.issuer, &self.tenant_id);
        if keys.is_empty() { Err(FetchError::NoKey) } else { Ok(keys) }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: Url) -> Result<T, FetchError> {
        let response = self.http.get(url).timeout(CALL_TIMEOUT).send().await.map_err(CallFailure::from)?;
        match response.status().as_u16() {
            200 => Ok(json(response, LARGEST_DOCUMENT).await?),
            status => Err(FetchError::Status(status)),
        }
    }

    /// The first segment of an issuer's path is the tenant; `{tenantid}`, as `common` has it, is none.
    fn is_our_tenants(&self, issuer: &str) -> bool {
        let url = Url::parse(issuer).ok();
        let tenant = url.as_ref().and_then(|url| url.path_segments()?.next());
        tenant.is_some_and(|tenant| tenant.eq_ignore_ascii_case(&self.tenant_id))
    }
}

/// The keys that may verify tokens of this issuer. A `kid` that stands for two different keys stands for none.
fn usable_keys(entries: Vec<Value>, issuer: &str, tenant_id: &str) -> HashMap<String, Arc<SigningKey>> {
    let mut usable: HashMap<String, PublishedKey> = HashMap::new();
    let mut contradicted = Vec::new();
    for entry in entries {
        let Ok(key) = serde_json::from_value::<PublishedKey>(entry) else { continue };
        if !key.is_usable(issuer, tenant_id) {
            continue;
        }
        match usable.get(&key.kid) {
            Some(other) if other.n != key.n => contradicted.push(key.kid),
            _ => drop(usable.insert(key.kid.clone(), key)),
        }
    }
    for kid in contradicted {
        usable.remove(&kid);
    }
    usable
        .into_values()
        .filter_map(|published| {
            let key = DecodingKey::from_rsa_components(&published.n, &published.e).ok()?;
            Some((published.kid, Arc::new(SigningKey { key, issuer: issuer.to_owned() })))
        })
        .collect()
}

/// A JSON Web Key as Entra publishes it, with the member `issuer` that others do not have.
#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    issuer: Option<String>,
}

impl PublishedKey {
    fn is_usable(&self, issuer: &str, tenant_id: &str) -> bool {
        self.kty == "RSA"
            && (1..=128).contains(&self.kid.len())
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"))
            && self.alg.as_deref().is_none_or(|alg| alg == "RS256")
            && self.e == "AQAB"
            && self.modulus_bits().is_some_and(|bits| (2048..=4096).contains(&bits))
            && self.issuer.as_ref().is_none_or(|template| template.replace("{tenantid}", tenant_id) == issuer)
    }

    fn modulus_bits(&self) -> Option<u32> {
        let modulus = URL_SAFE_NO_PAD.decode(&self.n).ok()?;
        let start = modulus.iter().position(|&byte| byte != 0)?;
        let bytes = u32::try_from(modulus.len() - start).ok()?;
        Some(bytes * 8 - modulus[start].leading_zeros())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
    const ISSUER: &str = "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0";

    fn key(kid: &str, bits: usize) -> Value {
        let mut modulus = vec![0x5a_u8; bits / 8];
        modulus[0] = 0x80;
        json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB",
                "x5c": ["MIID"], "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0" })
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    fn kids(entries: Vec<Value>) -> Vec<String> {
        let mut kids: Vec<_> = usable_keys(entries, ISSUER, TENANT).into_keys().collect();
        kids.sort();
        kids
    }

    #[test]
    fn entras_documented_key_is_usable() {
        assert_eq!(kids(vec![key("a", 2048), key("b", 4096)]), ["a", "b"]);
    }

    #[test]
    fn a_bad_entry_costs_only_itself() {
        let bad = vec![
            json!("text"),
            json!({}),
            with(key("kid-number", 2048), "kid", json!(7)),
            with(key("oct", 2048), "kty", json!("oct")),
            with(key("enc", 2048), "use", json!("enc")),
            with(key("ops", 2048), "key_ops", json!(["encrypt"])),
            with(key("alg", 2048), "alg", json!("PS256")),
            with(key("e", 2048), "e", json!("AQ")),
            with(key("issuer", 2048), "issuer", json!(ISSUER.replace("aaaa", "ffff"))),
            key("small", 1024),
            key("large", 8192),
            key("", 2048),
        ];
        for entry in bad {
            assert_eq!(kids(vec![entry.clone(), key("good", 2048)]), ["good"], "{entry}");
        }
    }

    #[test]
    fn a_kid_with_two_keys_stands_for_none() {
        let other = with(key("a", 2048), "n", json!(URL_SAFE_NO_PAD.encode([0x81_u8; 256])));
        assert_eq!(kids(vec![key("a", 2048), other, key("b", 2048)]), ["b"]);
        assert_eq!(kids(vec![key("a", 2048), key("a", 2048)]), ["a"]);
    }
}
