use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

/// The two forms of Entra's access tokens. The API's own registration decides which one callers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    V1,
    V2,
}

/// The parts of a token that are read before its signature is checked: enough to choose the key, and no more.
pub(super) struct UnverifiedToken {
    pub(super) kid: String,
    pub(super) profile: Profile,
}

impl UnverifiedToken {
    /// Reads header and version; refuses what no Entra token has in its header.
    pub(super) fn read(token: &str) -> Result<Self, &'static str> {
        let mut segments = token.split('.');
        let (Some(header), Some(payload), Some(_), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err("not three segments");
        };
        let header: UnverifiedHeader = object(header).ok_or("header unreadable")?;
        header.check()?;
        let version: UnverifiedVersion = object(payload).ok_or("payload unreadable")?;
        let profile = match version.ver.as_str() {
            "1.0" => Profile::V1,
            "2.0" => Profile::V2,
            _ => return Err("unknown token version"),
        };
        Ok(Self { kid: header.kid, profile })
    }
}

/// A JSON object in base64url. Anything else is refused: serde reads an array into a struct by position.
fn object<T: DeserializeOwned>(segment: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(segment).ok()?;
    if json.first() != Some(&b'{') {
        return None;
    }
    // By way of text: of a member that it skips, the parser would not see that it is not UTF-8.
    serde_json::from_str(std::str::from_utf8(&json).ok()?).ok()
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one for each member that must not be there")]
struct UnverifiedHeader {
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

impl UnverifiedHeader {
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

#[derive(Deserialize)]
struct UnverifiedVersion {
    ver: String,
}

/// The claims of an Entra access token that decide something. Typed, so that an array, a repeated member or a number
/// where a string should be is an error and not an opening.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) tid: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
    // Deserialised so that a wrong type is refused; the library checks the values.
    #[serde(rename = "aud")]
    _aud: String,
    #[serde(rename = "iss")]
    _iss: String,
    #[serde(rename = "nbf")]
    _nbf: u64,
    #[serde(rename = "sub")]
    _sub: String,
    #[serde(default)]
    pub(super) azp: Option<String>,
    #[serde(default)]
    pub(super) appid: Option<String>,
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
    /// The calling application, by the claim that this version of the token has.
    pub(super) fn client(&self, profile: Profile) -> Option<&str> {
        match profile {
            Profile::V1 => self.appid.as_deref(),
            Profile::V2 => self.azp.as_deref(),
        }
    }

    /// Whether the client proved itself neither by secret nor by certificate.
    pub(super) fn client_is_public(&self, profile: Profile) -> bool {
        let method = match profile {
            Profile::V1 => &self.appidacr,
            Profile::V2 => &self.azpacr,
        };
        method.as_deref() == Some("0")
    }
}

/// True if the member is there, whatever its value, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
