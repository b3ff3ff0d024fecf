use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::entra_key_set::SigningKey;

/// A signed token (RFC 7515, compact form) whose header keeps to what Entra's have in it. Nothing in it is proven yet.
pub struct UnverifiedJws<'a> {
    kid: String,
    payload: Vec<u8>,
    /// Header and payload as they were signed.
    message: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedJws<'a> {
    /// Reads a token; the error says for the log why it is none of Entra's.
    pub fn read(token: &'a str) -> Result<Self, &'static str> {
        let not_three = "not three segments";
        let (message, signature) = token.rsplit_once('.').ok_or(not_three)?;
        let (header, payload) = message.split_once('.').ok_or(not_three)?;
        if payload.contains('.') {
            return Err(not_three);
        }
        let header = URL_SAFE_NO_PAD.decode(header).ok();
        let header: Header = header.and_then(|json| json_object(&json)).ok_or("header unreadable")?;
        header.check()?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| "payload unreadable")?;
        Ok(Self { kid: header.kid, payload, message, signature })
    }

    /// The key that the token says it is signed by.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Anybody's words: good for choosing a key, and for no more.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, if this key has signed it.
    pub fn verified_payload(self, key: &SigningKey) -> Result<Vec<u8>, &'static str> {
        let verified =
            jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key.decoding(), Algorithm::RS256);
        // An error is a signature that is not base64url, or a key of another kind; none of them proves anything.
        if verified.unwrap_or(false) { Ok(self.payload) } else { Err("signature") }
    }
}

impl std::fmt::Debug for UnverifiedJws<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("UnverifiedJws").finish_non_exhaustive()
    }
}

/// The value of a JSON object. Anything else is refused: serde reads an array into a struct by position.
pub(super) fn json_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if json.first() != Some(&b'{') {
        return None;
    }
    // By way of text: of a member that it skips, the parser would not see that it is not UTF-8.
    serde_json::from_str(std::str::from_utf8(json).ok()?).ok()
}

/// True if the member is there, whatever its value, `null` included.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one for each member that must not be there")]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
    // RFC 7515 §4.1: each of these would change what is verified, or by which key. None is Entra's.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
    #[serde(default, deserialize_with = "present")]
    zip: bool,
    #[serde(default, deserialize_with = "present")]
    enc: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
}

impl Header {
    fn check(&self) -> Result<(), &'static str> {
        if self.alg != "RS256" {
            return Err("alg is not RS256");
        }
        if self.typ.as_deref().is_some_and(|typ| typ != "JWT") {
            return Err("typ is not JWT");
        }
        if !(1..=128).contains(&self.kid.len()) {
            return Err("kid is empty or too long");
        }
        if self.crit || self.jwk || self.jku || self.x5u || self.x5c || self.zip || self.enc || self.b64 {
            return Err("a header member that is not accepted");
        }
        Ok(())
    }
}
