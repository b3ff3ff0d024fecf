//! Settings of the Entra tokens.

use std::time::Duration;

use url::Url;

use super::parser::{base_url, guid, seconds};
use super::setting::WhenUnset::{LocalOnly, Required, Value};
use super::setting::{Faulty, Reader, Setting, settings};
use super::{AllowedIds, Audiences};

settings! {
    /// Which Entra tokens are accepted.
    EntraConfig, EntraDraft {
        /// Lower case.
        tenant_id: String = "ENTRA_TENANT_ID", Required, guid,
            "The only Entra tenant whose tokens are accepted (GUID).";
        audiences: Audiences = "ENTRA_AUDIENCE", Required, Audiences::parse,
            "Accepted aud values, comma-separated, exact: the API's client id and its App ID URI. The word own accepts \
            the calling client's own id and api:// URI, for deployments where client and API are one registration.";
        /// `None`: no role is required.
        create_role: Option<String> = "ENTRA_CREATE_ROLE", Value("Room.Create"), role,
            "App role that POST /room/create requires, or none: every listed client may.";
        /// `None`: no role is required.
        delete_role: Option<String> = "ENTRA_DELETE_ROLE", Value("Room.Delete"), role,
            "App role that DELETE /room/{name} requires, or none; may be the same.";
        /// `None`: no role is required.
        read_role: Option<String> = "ENTRA_READ_ROLE", Value("Room.Read"), role,
            "App role that GET /room/{name} requires, or none; may be the same.";
        allowed_clients: AllowedIds = "ENTRA_ALLOWED_CLIENT_IDS", LocalOnly("*"), AllowedIds::parse,
            "Client ids (azp or appid of the token) that are accepted, comma-separated, or * for any. With own or role \
            none, a list is required.";
        /// Ends in `/`.
        authority_url: Url = "ENTRA_AUTHORITY_URL", Value("https://login.microsoftonline.com"), base_url,
            "Base URL of Entra's discovery documents and keys.";
        keys_min_refresh: Duration = "ENTRA_KEYS_MIN_REFRESH_SECONDS", Value("300"), seconds(1, 86_400),
            "Least seconds between two key refreshes that an unknown kid causes; other refreshes do not count.";
    }
}

/// A role is written into the `scope` of a challenge, so it keeps to the characters of RFC 6749 §3.3.
fn role(text: &str) -> Result<Option<String>, String> {
    if text == "none" {
        return Ok(None);
    }
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if (1..=120).contains(&text.len()) && text.bytes().all(is_allowed) {
        Ok(Some(text.to_owned()))
    } else {
        Err("must be the value of an app role, without blanks and quotes, or none".to_owned())
    }
}
