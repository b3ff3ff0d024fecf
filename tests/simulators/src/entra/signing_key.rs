//! RSA keys, generated once for the whole process: generating one takes longer than most tests.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

static PUBLISHED: Mutex<Vec<SigningKey>> = Mutex::new(Vec::new());
static UNPUBLISHED: OnceLock<SigningKey> = OnceLock::new();
static GITHUB: OnceLock<SigningKey> = OnceLock::new();

/// `RSAPublicKey` of 2048 bits in DER (RFC 8017, A.1.1): two headers and a zero, the modulus, the exponent 65537.
const MODULUS: std::ops::Range<usize> = 9..265;

/// An RSA-2048 key of the tenant; clones share it.
#[derive(Clone)]
pub struct SigningKey {
    /// Id of the key, as Entra forms it: a SHA-1 thumbprint.
    pub kid: String,
    pair: Arc<KeyPair>,
}

impl SigningKey {
    /// A key that no simulator ever publishes.
    pub fn unpublished() -> Self {
        UNPUBLISHED.get_or_init(Self::generate).clone()
    }

    /// The key that signs GitHub's ID tokens for jobs.
    pub(crate) fn of_github() -> Self {
        GITHUB.get_or_init(Self::generate).clone()
    }

    /// An RS256 signature.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("a key of 2048 bits can sign with SHA-256");
        signature
    }

    /// Verifies an RS256 signature.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        public.verify(message, signature).is_ok()
    }

    /// The public key in DER, as `RSAPublicKey` (RFC 8017).
    pub fn public_der(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// The key with this number, generated when first needed.
    pub(super) fn published(number: usize) -> Self {
        let mut keys = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
        while keys.len() <= number {
            keys.push(Self::generate());
        }
        keys[number].clone()
    }

    /// The documented form: no `alg`, and an issuer only in the v2.0 set.
    pub(super) fn jwk(&self, issuer: Option<&str>) -> Value {
        let der = self.public_der();
        let mut jwk = json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": BASE64_URL_SAFE_NO_PAD.encode(&der[MODULUS]),
            "e": "AQAB",
            // Entra publishes a certificate here; clients that read only `n` and `e` do not use it.
            "x5c": [BASE64_STANDARD.encode(&der)],
        });
        if let Some(issuer) = issuer {
            jwk["issuer"] = json!(issuer);
        }
        jwk
    }

    fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("the system can make an RSA key");
        let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, pair.public_key().as_ref());
        Self { kid: BASE64_URL_SAFE_NO_PAD.encode(thumbprint), pair: Arc::new(pair) }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}
