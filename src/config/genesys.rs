//! Settings of the Genesys Cloud tokens.

use std::time::Duration;

use url::Url;

use super::AllowedIds;
use super::parser::{base_url, guid, seconds};
use super::setting::WhenUnset::{LocalOnly, Required, Value};
use super::setting::{Faulty, Reader, Setting, settings};

settings! {
    /// Which Genesys Cloud tokens are accepted.
    GenesysConfig, GenesysDraft {
        /// Ends in `/`.
        api_url: Url = "GENESYS_API_URL", Required, base_url,
            "Base URL of the Genesys Cloud API, e.g. https://api.cac1.pure.cloud.";
        /// Lower case.
        organization_id: String = "GENESYS_ORGANIZATION_ID", Required, guid,
            "The only Genesys organisation whose users are accepted (GUID).";
        oauth_clients: AllowedIds = "GENESYS_OAUTH_CLIENT_IDS", LocalOnly("*"), AllowedIds::parse,
            "OAuth client ids of the widget that are accepted, comma-separated, or * for any.";
        divisions: AllowedIds = "GENESYS_DIVISION_IDS", LocalOnly("*"), AllowedIds::parse,
            "Ids of the divisions whose users are accepted, comma-separated, or * for any.";
        cache: Duration = "GENESYS_CACHE_SECONDS", Value("60"), seconds(0, 3_600),
            "Seconds for which a valid token's verdict is fresh: Genesys is not asked about the token again.";
    }
}
