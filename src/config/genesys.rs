use std::time::Duration;

use url::Url;

use super::reader::{Default, Reader, Setting, base_url, guid, seconds};
use super::{AllowedClients, Environment};

static API_URL: Setting = Setting {
    name: "GENESYS_API_URL",
    default: Default::Required,
    meaning: "Genesys Cloud's API, e.g. https://api.cac1.pure.cloud.",
};
static ORGANIZATION_ID: Setting = Setting {
    name: "GENESYS_ORGANIZATION_ID",
    default: Default::Required,
    meaning: "The only Genesys organisation whose users are accepted (GUID).",
};
static OAUTH_CLIENTS: Setting = Setting {
    name: "GENESYS_OAUTH_CLIENT_IDS",
    default: Default::Described("required outside local, there *"),
    meaning: "Accepted OAuth client ids of the widget, comma-separated, or *.",
};
static CACHE: Setting = Setting {
    name: "GENESYS_CACHE_SECONDS",
    default: Default::Value("60"),
    meaning: "How long a good answer about a token is believed, in seconds.",
};

pub(super) static SETTINGS: &[&Setting] = &[&API_URL, &ORGANIZATION_ID, &OAUTH_CLIENTS, &CACHE];

/// Which Genesys Cloud tokens are accepted.
#[derive(Clone, Debug)]
pub struct GenesysConfig {
    /// Ends in `/`. From `GENESYS_API_URL`.
    pub api_url: Url,
    /// Lower case. From `GENESYS_ORGANIZATION_ID`.
    pub organization_id: String,
    /// From `GENESYS_OAUTH_CLIENT_IDS`.
    pub oauth_clients: AllowedClients,
    /// From `GENESYS_CACHE_SECONDS`.
    pub cache: Duration,
}

impl GenesysConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Option<Self> {
        let api_url = reader.value(&API_URL, base_url);
        let organization_id = reader.value(&ORGANIZATION_ID, guid);
        let oauth_clients = AllowedClients::read(reader, &OAUTH_CLIENTS, environment);
        let cache = reader.value(&CACHE, seconds(0, 3_600));
        Some(Self {
            api_url: api_url?,
            organization_id: organization_id?,
            oauth_clients: oauth_clients?,
            cache: cache?,
        })
    }
}
