//! The claims of an Entra access token.

use serde::Deserialize;

use super::jws::{json_object, present};
use super::refusal::TokenFault;
use crate::domain::named_enum;

named_enum! {
    /// The two versions of Entra's access tokens. The registration of this API decides which one callers get.
    pub enum TokenVersion {
        V1 = "v1",
        V2 = "v2",
    }
}

impl TokenVersion {
    /// The version that an unverified payload claims. It selects the keys that must have signed the token.
    pub(super) fn of(payload: &[u8]) -> Result<Self, TokenFault> {
        let version: Version = json_object(payload).ok_or(TokenFault::TokenVersion)?;
        match version.ver.as_str() {
            "1.0" => Ok(Self::V1),
            "2.0" => Ok(Self::V2),
            _ => Err(TokenFault::TokenVersion),
        }
    }
}

#[derive(Deserialize)]
struct Version {
    ver: String,
}

/// The claims that the verifier reads. The types make an array, a repeated member, or a number in place of a string an
/// error.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) tid: String,
    /// Times are whole seconds since 1970.
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    sub: String,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    appid: Option<String>,
    #[serde(default)]
    azpacr: Option<String>,
    #[serde(default)]
    appidacr: Option<String>,
    #[serde(default)]
    pub(super) idtyp: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) scp: bool,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    #[serde(default)]
    pub(super) oid: Option<String>,
    #[serde(default)]
    pub(super) uti: Option<String>,
}

impl Claims {
    /// Reads a verified payload.
    pub(super) fn read(payload: &[u8]) -> Result<Self, TokenFault> {
        json_object(payload).ok_or(TokenFault::Claims)
    }

    /// The client id, in the claim that this version of the token has for it.
    pub(super) fn client(&self, version: TokenVersion) -> Option<&str> {
        match version {
            TokenVersion::V1 => self.appid.as_deref(),
            TokenVersion::V2 => self.azp.as_deref(),
        }
    }

    /// Whether the client authenticated itself at Entra with neither a secret nor a certificate.
    pub(super) fn client_is_public(&self, version: TokenVersion) -> bool {
        self.client_authentication(version) == Some("0")
    }

    /// Whether the token proves that it was issued to an application and not for a user. The claim `idtyp` says so if
    /// the registration asks for it. Without `idtyp` the client must have authenticated itself, which excludes ID
    /// tokens, and `oid` must equal `sub`, which excludes users' tokens.
    pub(super) fn is_proven_to_be_an_applications(&self, version: TokenVersion) -> bool {
        match self.idtyp.as_deref() {
            Some(kind) => kind == "app",
            None => {
                matches!(self.client_authentication(version), Some("1" | "2"))
                    && self.oid.as_deref() == Some(self.sub.as_str())
            }
        }
    }

    /// How the client authenticated itself at Entra: "0" not at all, "1" by a secret, "2" by a certificate.
    fn client_authentication(&self, version: TokenVersion) -> Option<&str> {
        match version {
            TokenVersion::V1 => self.appidacr.as_deref(),
            TokenVersion::V2 => self.azpacr.as_deref(),
        }
    }
}
