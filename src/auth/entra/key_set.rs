//! The keys that Entra publishes (RFC 7517).

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

/// A published key and the issuer of the tokens that it signs.
#[derive(Debug)]
pub struct SigningKey {
    key: DecodingKey,
    issuer: String,
}

impl SigningKey {
    /// The `iss` of every token that it signs.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

/// The entries of a published key set that may verify tokens of this issuer, by `kid`. A `kid` with two different keys
/// is left out.
pub fn usable_keys(entries: Vec<Value>, issuer: &str, tenant_id: &str) -> HashMap<String, Arc<SigningKey>> {
    let mut usable: HashMap<String, PublishedKey> = HashMap::new();
    let mut ambiguous = Vec::new();
    for entry in entries {
        let Ok(key) = serde_json::from_value::<PublishedKey>(entry) else { continue };
        if !key.is_usable(issuer, tenant_id) {
            continue;
        }
        match usable.get(&key.kid) {
            Some(other) if other.n != key.n => ambiguous.push(key.kid),
            _ => drop(usable.insert(key.kid.clone(), key)),
        }
    }
    for kid in ambiguous {
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

/// A JSON Web Key as Entra publishes it. The member `issuer` is Entra's own.
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
    fn a_key_as_entra_documents_it_is_usable() {
        assert_eq!(kids(vec![key("a", 2048), key("b", 4096)]), ["a", "b"]);
    }

    #[test]
    fn an_unusable_entry_does_not_affect_the_others() {
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
    fn a_kid_with_two_different_keys_is_left_out() {
        let other = with(key("a", 2048), "n", json!(URL_SAFE_NO_PAD.encode([0x81_u8; 256])));
        assert_eq!(kids(vec![key("a", 2048), other, key("b", 2048)]), ["b"]);
        assert_eq!(kids(vec![key("a", 2048), key("a", 2048)]), ["a"]);
    }
}
