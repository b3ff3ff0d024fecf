//! Signed tokens (RFC 7515) and their signatures.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::key_set::SigningKey;
use super::refusal::TokenFault;
use crate::outbound::parse_json;

/// A signed token (RFC 7515, compact form) with a header like those of Entra. Its signature has not been verified.
pub struct UnverifiedJws<'a> {
    kid: String,
    payload: Vec<u8>,
    /// Header and payload, encoded: what the signature is over.
    message: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedJws<'a> {
    /// Decodes a token and checks its header.
    pub fn read(token: &'a str) -> Result<Self, TokenFault> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Segments)?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Segments)?;
        if payload.contains('.') {
            return Err(TokenFault::Segments);
        }
        let header = URL_SAFE_NO_PAD.decode(header).ok();
        let header: Header = header.and_then(|json| json_object(&json)).ok_or(TokenFault::Header)?;
        header.check()?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenFault::Payload)?;
        Ok(Self { kid: header.kid, payload, message, signature })
    }

    /// Id of the key that the token claims to be signed with.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The payload before verification. It may only be used to choose a key.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, if this key has signed it.
    pub fn verified_payload(self, key: &SigningKey) -> Result<Vec<u8>, TokenFault> {
        let verified =
            jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key.decoding(), Algorithm::RS256);
        // An error means a signature that is not base64url, or a key of another type.
        if verified.unwrap_or(false) { Ok(self.payload) } else { Err(TokenFault::Signature) }
    }
}

impl UnverifiedJws<'_> {
    /// The payload of a token whose signature was verified in an earlier request.
    pub(super) fn payload_verified_before(self) -> Vec<u8> {
        self.payload
    }
}

impl std::fmt::Debug for UnverifiedJws<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("UnverifiedJws").finish_non_exhaustive()
    }
}

/// The value of a JSON object. Other JSON is refused, because serde reads an array into a struct by position.
pub(super) fn json_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if json.first() != Some(&b'{') {
        return None;
    }
    parse_json(json)
}

/// True if the member exists, with any value including `null`.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one for each member that must be absent")]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
    // RFC 7515 §4.1: each of these changes what is verified or with which key. Tokens of Entra have none of them.
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
    fn check(&self) -> Result<(), TokenFault> {
        if self.alg != "RS256" {
            return Err(TokenFault::Algorithm);
        }
        if self.typ.as_deref().is_some_and(|typ| typ != "JWT") {
            return Err(TokenFault::TokenType);
        }
        if !(1..=128).contains(&self.kid.len()) {
            return Err(TokenFault::KeyId);
        }
        if self.crit || self.jwk || self.jku || self.x5u || self.x5c || self.zip || self.enc || self.b64 {
            return Err(TokenFault::HeaderMember);
        }
        Ok(())
    }
}
