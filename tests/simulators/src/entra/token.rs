//! A builder of access tokens, valid and invalid.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{API_CLIENT_ID, APP_ID_URI, Client, SigningKey, TENANT_ID};
use crate::identifier::{guid, random};

/// Lifetime; Entra chooses 60 to 90 minutes.
pub(super) const LIFETIME_SECONDS: i64 = 3_900;

/// A builder of an app-only access token.
#[derive(Clone, Debug)]
#[must_use]
pub struct TokenBuilder {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<Vec<u8>>,
    raw_payload: Option<Vec<u8>>,
    key: SigningKey,
}

impl TokenBuilder {
    pub(super) fn new(authority: &str, client: &Client, key: SigningKey) -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let object_id = guid();
        let unique_id = BASE64_URL_SAFE_NO_PAD.encode(random::<16>());
        let header = [("typ", json!("JWT")), ("alg", json!("RS256")), ("kid", json!(key.kid))];
        let claims = [
            ("aud", json!(API_CLIENT_ID)),
            ("iss", json!(format!("{authority}/{TENANT_ID}/v2.0"))),
            ("iat", json!(now)),
            ("nbf", json!(now)),
            ("exp", json!(now + LIFETIME_SECONDS)),
            ("aio", json!("k2RgYJD1y1Vp")),
            ("azp", json!(client.id)),
            ("azpacr", json!("1")),
            ("idtyp", json!("app")),
            ("oid", json!(object_id)),
            ("rh", json!("1.AW4AeyJ.")),
            ("roles", json!(client.roles)),
            ("sub", json!(object_id)),
            ("tid", json!(TENANT_ID)),
            ("uti", json!(unique_id)),
            ("ver", json!("2.0")),
        ];
        let mut token =
            Self { header: members(header), claims: members(claims), raw_header: None, raw_payload: None, key };
        // A client without app roles gets a token without the claim.
        if client.roles.is_empty() {
            token.claims.remove("roles");
        }
        token
    }

    /// Turns it into a token for the client's own registration, which has no app roles: those are the room API's.
    pub(super) fn own(self, client_id: &str) -> Self {
        self.without("roles").audience(client_id)
    }

    /// Turns it into a v1.0 token for the App ID URI.
    pub fn v1(mut self) -> Self {
        for (v2, v1) in [("azp", "appid"), ("azpacr", "appidacr")] {
            if let Some(value) = self.claims.remove(v2) {
                self.claims.insert(v1.to_owned(), value);
            }
        }
        let kid = self.key.kid.clone();
        self.claim("ver", "1.0")
            .claim("iss", format!("https://sts.windows.net/{TENANT_ID}/"))
            .audience(APP_ID_URI)
            .header("x5t", kid)
    }

    /// Sets a claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a header parameter.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a header parameter.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Sets the app roles.
    pub fn roles<'a>(self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        let roles: Vec<&str> = roles.into_iter().collect();
        self.claim("roles", roles)
    }

    /// Sets the audience.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Sets the expiry to this many seconds from now; negative for the past.
    pub fn expires_in(self, seconds: i64) -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.claim("exp", now + seconds)
    }

    /// Signs with another key and sets its id in the header.
    pub fn signed_by(mut self, key: &SigningKey) -> Self {
        self.key = key.clone();
        let kid = key.kid.clone();
        if self.header.contains_key("x5t") {
            self = self.header("x5t", kid.clone());
        }
        self.header("kid", kid)
    }

    /// Replaces the claims with these bytes.
    pub fn raw_payload(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.raw_payload = Some(bytes.into());
        self
    }

    /// Replaces the header with these bytes.
    pub fn raw_header(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.raw_header = Some(bytes.into());
        self
    }

    /// The claims, without a signature.
    #[must_use]
    pub fn build_claims(self) -> Value {
        Value::Object(self.claims)
    }

    /// The signed token.
    #[must_use]
    pub fn build(self) -> String {
        let key = self.key.clone();
        self.build_with(|message| key.sign(message))
    }

    /// The token with a signature that the test computes.
    #[must_use]
    pub fn build_with(self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let header = self.raw_header.unwrap_or_else(|| text(self.header));
        let payload = self.raw_payload.unwrap_or_else(|| text(self.claims));
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(&header), encode(&payload));
        let signature = encode(&sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(members: Map<String, Value>) -> Vec<u8> {
    Value::Object(members).to_string().into_bytes()
}
