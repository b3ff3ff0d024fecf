use std::time::Duration;

use url::Url;

use super::reader::{Default, Reader, Setting, base_url, guid, list, seconds};
use super::{AllowedClients, Environment};

static TENANT_ID: Setting = Setting {
    name: "ENTRA_TENANT_ID",
    default: Default::Required,
    meaning: "The only Entra tenant whose tokens are accepted (GUID).",
};
static AUDIENCE: Setting = Setting {
    name: "ENTRA_AUDIENCE",
    default: Default::Required,
    meaning: "Accepted aud values of tokens, comma-separated, exact: the API's client id and its App ID URI.",
};
static CREATE_ROLE: Setting = Setting {
    name: "ENTRA_CREATE_ROLE",
    default: Default::Value("Room.Create"),
    meaning: "App role that a caller of POST /room/create must have.",
};
static DELETE_ROLE: Setting = Setting {
    name: "ENTRA_DELETE_ROLE",
    default: Default::Value("Room.Delete"),
    meaning: "App role that a caller of DELETE /room/{name} must have; may be the same.",
};
static ALLOWED_CLIENTS: Setting = Setting {
    name: "ENTRA_ALLOWED_CLIENT_IDS",
    default: Default::Described("required outside local, there *"),
    meaning: "Accepted azp / appid of tokens, comma-separated, or *.",
};
static AUTHORITY_URL: Setting = Setting {
    name: "ENTRA_AUTHORITY_URL",
    default: Default::Value("https://login.microsoftonline.com"),
    meaning: "Where Entra's discovery documents and keys are read.",
};
static MIN_REFRESH: Setting = Setting {
    name: "ENTRA_KEYS_MIN_REFRESH_SECONDS",
    default: Default::Value("300"),
    meaning: "Least time between two key refreshes caused by an unknown kid, in seconds; the scheduled one and the one at start do not count.",
};

pub(super) static SETTINGS: &[&Setting] =
    &[&TENANT_ID, &AUDIENCE, &CREATE_ROLE, &DELETE_ROLE, &ALLOWED_CLIENTS, &AUTHORITY_URL, &MIN_REFRESH];

/// Which Entra tokens are accepted.
#[derive(Clone, Debug)]
pub struct EntraConfig {
    /// Lower case. From `ENTRA_TENANT_ID`.
    pub tenant_id: String,
    /// From `ENTRA_AUDIENCE`.
    pub audiences: Vec<String>,
    /// From `ENTRA_CREATE_ROLE`.
    pub create_role: String,
    /// From `ENTRA_DELETE_ROLE`.
    pub delete_role: String,
    /// From `ENTRA_ALLOWED_CLIENT_IDS`.
    pub allowed_clients: AllowedClients,
    /// Ends in `/`. From `ENTRA_AUTHORITY_URL`.
    pub authority_url: Url,
    /// From `ENTRA_KEYS_MIN_REFRESH_SECONDS`.
    pub keys_min_refresh: Duration,
}

impl EntraConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Option<Self> {
        let tenant_id = reader.value(&TENANT_ID, guid);
        let audiences = reader.value(&AUDIENCE, list);
        let create_role = reader.value(&CREATE_ROLE, role);
        let delete_role = reader.value(&DELETE_ROLE, role);
        let allowed_clients = AllowedClients::read(reader, &ALLOWED_CLIENTS, environment);
        let authority_url = reader.value(&AUTHORITY_URL, base_url);
        let keys_min_refresh = reader.value(&MIN_REFRESH, seconds(1, 86_400));
        Some(Self {
            tenant_id: tenant_id?,
            audiences: audiences?,
            create_role: create_role?,
            delete_role: delete_role?,
            allowed_clients: allowed_clients?,
            authority_url: authority_url?,
            keys_min_refresh: keys_min_refresh?,
        })
    }
}

/// A role stands in the `scope` of a challenge, so it keeps to what RFC 6749 §3.3 allows there.
fn role(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !text.is_empty() && text.len() <= 120 && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("must be the value of an app role, without blanks and quotes".to_owned())
    }
}
