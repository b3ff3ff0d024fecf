use maxconf_simulators::entra::{SigningKey, TENANT_ID, TokenBuilder, Version};
use maxconf_simulators::{EntraSimulator, Fault, Matching, Times};
use serde_json::{Value, json};

use crate::support::{v1_key_fetches, v2_key_fetches};

/// Entra, as far as one version of its tokens goes.
pub(super) struct Tenant {
    pub(super) entra: EntraSimulator,
    pub(super) version: Version,
    pub(super) good: SigningKey,
    pub(super) other: SigningKey,
}

impl Tenant {
    pub(super) async fn start(version: Version) -> Self {
        let entra = EntraSimulator::start().await;
        let (good, other) = (entra.keys()[0].clone(), entra.rotate_key());
        entra.remove_key(&other.kid);
        Self { entra, version, good, other }
    }

    pub(super) fn token(&self) -> TokenBuilder {
        match self.version {
            Version::V1 => self.entra.token().v1(),
            Version::V2 => self.entra.token(),
        }
    }

    /// A token that this key has signed and that names it by this id.
    pub(super) fn signed(&self, key: &SigningKey, kid: &str) -> String {
        self.token().signed_by(key).header("kid", kid).build()
    }

    pub(super) fn good_token(&self) -> String {
        self.signed(&self.good, &self.good.kid)
    }

    pub(super) fn other_token(&self) -> String {
        self.signed(&self.other, &self.other.kid)
    }

    /// The key as the key set of this version shows it.
    pub(super) fn jwk(&self, key: &SigningKey) -> Value {
        let mut jwk = self.entra.jwk_json(key);
        if self.version == Version::V1 {
            jwk.as_object_mut().expect("an object").remove("issuer");
        }
        jwk
    }

    pub(super) fn publishes(&self, keys: &[Value]) {
        self.entra.publish_raw_jwks(Some(json!({ "keys": keys }).to_string()));
    }

    pub(super) fn shows(&self, path: &str, fault: Fault) {
        self.entra.traffic().inject(Matching::any().path_contains(path), Times::Always, fault);
    }

    pub(super) fn keys_path(&self) -> &'static str {
        match self.version {
            Version::V1 => "/discovery/keys",
            Version::V2 => "/discovery/v2.0/keys",
        }
    }

    pub(super) fn metadata_path(&self) -> String {
        match self.version {
            Version::V1 => format!("{TENANT_ID}/.well-known"),
            Version::V2 => "/v2.0/.well-known".to_owned(),
        }
    }

    pub(super) fn issuer(&self) -> String {
        match self.version {
            Version::V1 => format!("https://sts.windows.net/{TENANT_ID}/"),
            Version::V2 => format!("{}{TENANT_ID}/v2.0", self.entra.authority_url()),
        }
    }

    pub(super) fn fetches(&self) -> usize {
        match self.version {
            Version::V1 => v1_key_fetches(&self.entra),
            Version::V2 => v2_key_fetches(&self.entra),
        }
    }
}
