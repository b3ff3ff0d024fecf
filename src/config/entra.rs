//! Settings of the Entra tokens.

use std::time::Duration;

use url::Url;

use super::AllowedClients;
use super::parser::{base_url, guid, list, seconds};
use super::setting::WhenUnset::{LocalOnly, Required, Value};
use super::setting::{Faulty, Reader, Setting, settings};

settings! {
    /// Which Entra tokens are accepted.
    EntraConfig, EntraDraft {
        /// Lower case.
        tenant_id: String = "ENTRA_TENANT_ID", Required, guid,
            "The only Entra tenant whose tokens are accepted (GUID).";
        audiences: Vec<String> = "ENTRA_AUDIENCE", Required, list,
            "Accepted aud values, comma-separated, exact: the API's client id and its App ID URI.";
        create_role: String = "ENTRA_CREATE_ROLE", Value("Room.Create"), role,
            "App role that POST /room/create requires.";
        delete_role: String = "ENTRA_DELETE_ROLE", Value("Room.Delete"), role,
            "App role that DELETE /room/{name} requires; may be the same.";
        allowed_clients: AllowedClients = "ENTRA_ALLOWED_CLIENT_IDS", LocalOnly("*"), AllowedClients::parse,
            "Client ids (azp or appid of the token) that are accepted, comma-separated, or * for any.";
        /// Ends in `/`.
        authority_url: Url = "ENTRA_AUTHORITY_URL", Value("https://login.microsoftonline.com"), base_url,
            "Base URL of Entra's discovery documents and keys.";
        keys_min_refresh: Duration = "ENTRA_KEYS_MIN_REFRESH_SECONDS", Value("300"), seconds(1, 86_400),
            "Least seconds between two key refreshes that an unknown kid causes; other refreshes do not count.";
    }
}

/// A role is written into the `scope` of a challenge, so it keeps to the characters of RFC 6749 §3.3.
fn role(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if (1..=120).contains(&text.len()) && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("must be the value of an app role, without blanks and quotes".to_owned())
    }
}
