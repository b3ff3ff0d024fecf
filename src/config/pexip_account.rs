//! How the service authenticates at the management node.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;

use super::parser::text;
use super::setting::WhenUnset::Described;
use super::setting::{Faulty, Reader, Setting, settings};

settings! {
    OAUTH_CLIENT_ID = "PEXIP_OAUTH_CLIENT_ID", Described("none; required without PEXIP_USERNAME"),
        "Id of the OAuth2 client of the management API. Excludes PEXIP_USERNAME and PEXIP_PASSWORD.";
    OAUTH_PRIVATE_KEY = secret "PEXIP_OAUTH_PRIVATE_KEY", Described("none; required with PEXIP_OAUTH_CLIENT_ID"),
        "The OAuth2 client's EC private key (P-256) as PEM, or that PEM in Base64.";
    USERNAME = "PEXIP_USERNAME", Described("none; required without PEXIP_OAUTH_CLIENT_ID"),
        "Account for Basic authentication at the management API, in place of OAuth2.";
    PASSWORD = secret "PEXIP_PASSWORD", Described("none; required with PEXIP_USERNAME"),
        "Password of PEXIP_USERNAME.";
}

/// What the service authenticates with at the management node.
#[derive(Clone, Debug)]
pub enum PexipAccount {
    /// A client that gets tokens for assertions signed with its key.
    OAuth2 { client_id: String, key: PrivateKey },
    /// An account of the web administration.
    Basic { username: String, password: SecretString },
}

impl PexipAccount {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Faulty> {
        let client = reader.pair(&OAUTH_CLIENT_ID, text, &OAUTH_PRIVATE_KEY, PrivateKey::parse);
        let account = reader.pair(&USERNAME, text, &PASSWORD, text);
        match (client?, account?) {
            (Some((client_id, key)), None) => Ok(Self::OAuth2 { client_id, key }),
            (None, Some((username, password))) => Ok(Self::Basic { username, password }),
            (Some(_), Some(_)) => Err(reader.fault(OAUTH_CLIENT_ID.name, "and PEXIP_USERNAME exclude each other")),
            (None, None) => Err(reader.fault(OAUTH_CLIENT_ID.name, "is not set, nor is PEXIP_USERNAME")),
        }
    }
}

/// An EC private key of the curve P-256. Never printed. Cheap to clone.
#[derive(Clone)]
pub struct PrivateKey(Arc<EncodingKey>);

impl PrivateKey {
    /// For `jsonwebtoken`, with ES256.
    pub(crate) fn signing(&self) -> &EncodingKey {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let reason = "must be an EC private key (P-256, without passphrase) as PEM, or that PEM in Base64";
        Self::read(text).ok_or_else(|| reason.to_owned())
    }

    fn read(text: &str) -> Option<Self> {
        let pem = if text.contains("-----BEGIN") {
            // A pipeline may write the ends of lines as `\n`.
            text.replace("\\n", "\n").into_bytes()
        } else {
            STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok()?
        };
        let key = PrivateKeyDer::from_pem_slice(&pem).ok()?;
        // Reads SEC 1 and PKCS #8, and refuses other curves. `jsonwebtoken` reads PKCS #8 only.
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der()).ok()?;
        Some(Self(Arc::new(EncodingKey::from_ec_der(key.to_pkcs8v1().ok()?.as_ref()))))
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}
