use serde::Deserialize;

use super::jws::{json_object, present};

/// The two forms of Entra's access tokens. The API's own registration decides which one callers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenVersion {
    V1,
    V2,
}

impl TokenVersion {
    /// The word for it in the log and in labels.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// The form that a payload says it has; the keys of that form then prove it or not.
    pub(super) fn of(payload: &[u8]) -> Result<Self, &'static str> {
        let version: Version = json_object(payload).ok_or("no readable version")?;
        match version.ver.as_str() {
            "1.0" => Ok(Self::V1),
            "2.0" => Ok(Self::V2),
            _ => Err("unknown token version"),
        }
    }
}

#[derive(Deserialize)]
struct Version {
    ver: String,
}

/// The claims of an Entra access token that decide something. Typed, so that an array, a repeated member or a number
/// where a string should be is an error and not an opening.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) tid: String,
    /// Times are whole seconds since 1970.
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    // Nothing is decided by it, but Entra never leaves it out.
    #[serde(rename = "sub")]
    _sub: String,
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
    pub(super) fn read(payload: &[u8]) -> Result<Self, &'static str> {
        json_object(payload).ok_or("a claim is missing, repeated or malformed")
    }

    /// The calling application, by the claim that this version of the token has.
    pub(super) fn client(&self, profile: TokenVersion) -> Option<&str> {
        match profile {
            TokenVersion::V1 => self.appid.as_deref(),
            TokenVersion::V2 => self.azp.as_deref(),
        }
    }

    /// Whether the client proved itself neither by secret nor by certificate.
    pub(super) fn client_is_public(&self, profile: TokenVersion) -> bool {
        let method = match profile {
            TokenVersion::V1 => &self.appidacr,
            TokenVersion::V2 => &self.azpacr,
        };
        method.as_deref() == Some("0")
    }
}
