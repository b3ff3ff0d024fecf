//! OAuth2 of the management API: clients with a private key, and tokens in exchange for an assertion (RFC 7523).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use time::OffsetDateTime;
use url::form_urlencoded;

use super::platform::Platform;
use crate::identifier::guid;

/// Path of the token endpoint; the whole address is the audience of an assertion.
pub(super) const TOKEN_PATH: &str = "/oauth/token/";

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Longest lifetime of an assertion; longer ones are refused.
const MAX_ASSERTION_LIFETIME: Duration = Duration::from_secs(3600);

/// Registered clients and valid tokens.
#[derive(Debug)]
pub(super) struct OAuth2 {
    clients: BTreeMap<String, Client>,
    /// Expiry of each token.
    tokens: BTreeMap<String, OffsetDateTime>,
    /// `jti` of used assertions: each is accepted once.
    used: BTreeSet<String>,
    pub(super) token_lifetime: Duration,
    /// All tokens that were issued, in order.
    pub(super) issued: Vec<String>,
}

/// The keys of a client.
#[derive(Debug)]
struct Client {
    public_key: Vec<u8>,
    private_key: String,
}

impl Client {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .expect("the machine has a random source");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref())
            .expect("the key was generated for this algorithm");
        let encoded = BASE64_STANDARD.encode(key.as_ref());
        let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        let private_key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Self { public_key: pair.public_key().as_ref().to_vec(), private_key }
    }
}

impl Default for OAuth2 {
    fn default() -> Self {
        Self {
            clients: BTreeMap::new(),
            tokens: BTreeMap::new(),
            used: BTreeSet::new(),
            token_lifetime: Duration::from_secs(3600),
            issued: Vec::new(),
        }
    }
}

impl OAuth2 {
    /// The private key of this client as PEM (PKCS #8). Registers the client if there is none of this id.
    pub(super) fn add_client(&mut self, client_id: &str) -> String {
        let client = self.clients.entry(client_id.to_owned()).or_insert_with(Client::new);
        client.private_key.clone()
    }

    /// Ids of the registered clients.
    pub(super) fn client_ids(&self) -> impl Iterator<Item = &str> {
        self.clients.keys().map(String::as_str)
    }

    /// Removes a client: its assertions are refused from now on. Its tokens stay valid until they expire.
    pub(super) fn remove_client(&mut self, client_id: &str) {
        self.clients.remove(client_id);
    }

    /// Removes all tokens; their holders get 401.
    pub(super) fn revoke_tokens(&mut self) {
        self.tokens.clear();
    }

    /// A new token.
    pub(super) fn issue(&mut self, expires: OffsetDateTime) -> String {
        let token = guid();
        self.tokens.insert(token.clone(), expires);
        token
    }

    /// Whether the token is known and has not expired.
    pub(super) fn accepts(&self, token: &str, now: OffsetDateTime) -> bool {
        self.tokens.get(token).is_some_and(|expires| now < *expires)
    }

    fn grant(&mut self, form: &str, audiences: &[String], now: OffsetDateTime) -> Result<Value, &'static str> {
        let field = |wanted: &str| {
            form_urlencoded::parse(form.as_bytes())
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        if field("grant_type").as_deref() != Some("client_credentials") {
            return Err("unsupported_grant_type");
        }
        if field("client_assertion_type").as_deref() != Some(ASSERTION_TYPE) {
            return Err("invalid_request");
        }
        let assertion = field("client_assertion").ok_or("invalid_request")?;
        self.check(&assertion, audiences, now).ok_or("invalid_client")?;
        let token = self.issue(now + self.token_lifetime);
        self.issued.push(token.clone());
        Ok(json!({"access_token": token, "expires_in": self.token_lifetime.as_secs(), "token_type": "Bearer"}))
    }

    /// Verifies an assertion: ES256 by a registered client, for this endpoint, in its time, used once.
    fn check(&mut self, assertion: &str, audiences: &[String], now: OffsetDateTime) -> Option<()> {
        let (signed, signature) = assertion.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let (header, claims) = (decoded(header)?, decoded(claims)?);
        let client = claims["iss"].as_str().filter(|issuer| claims["sub"] == **issuer)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.clients.get(client)?.public_key);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        key.verify(signed.as_bytes(), &signature).ok()?;
        let now = now.unix_timestamp();
        let (issued, expires) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?);
        let lifetime = i64::try_from(MAX_ASSERTION_LIFETIME.as_secs()).ok()?;
        let in_time = issued <= now && now < expires && expires - issued <= lifetime;
        let unused = self.used.insert(claims["jti"].as_str()?.to_owned());
        (header["alg"] == "ES256" && audiences.iter().any(|audience| claims["aud"] == **audience) && in_time && unused)
            .then_some(())
    }
}

pub(super) fn router() -> Router<Arc<Platform>> {
    Router::new().route(TOKEN_PATH, post(token))
}

async fn token(State(platform): State<Arc<Platform>>, form: String) -> Response {
    let mut state = platform.state();
    let now = state.clock.now();
    match state.oauth2.grant(&form, &platform.token_endpoints(), now) {
        Ok(token) => Json(token).into_response(),
        Err("invalid_client") => (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    }
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
