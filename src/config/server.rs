//! Settings of the listener and of every request.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::SecretString;

use super::parser::{base_url, list, optional, seconds, whole_number};
use super::setting::WhenUnset::{Described, Value};
use super::setting::{Faulty, Reader, Setting, settings};

/// The longest deadline that a request may be given.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(200);

const MOST_PER_MINUTE: NonZeroU32 = NonZeroU32::new(1_000_000).expect("not zero");

settings! {
    /// The listener, and the limits of every request.
    ServerConfig, ServerDraft {
        /// 0: the system chooses one, for tests.
        port: u16 = "FUNCTIONS_CUSTOMHANDLER_PORT", Value("7071"), whole_number(0, u16::MAX),
            "Port to listen on; the Functions host sets it.";
        address: IpAddr = "LISTEN_ADDRESS", Value("127.0.0.1"),
            |text| text.trim().parse().map_err(|_| "must be an IP address".to_owned()),
            "Address to listen on; to be changed for a container only.";
        request_deadline: Duration =
            "REQUEST_DEADLINE_SECONDS", Value("25"), seconds(1, LONGEST_REQUEST.as_secs()),
            "Longest duration of one API request, in seconds; greater than PEXIP_REQUEST_TIMEOUT_SECONDS.";
        max_concurrent_requests: usize = "MAX_CONCURRENT_REQUESTS", Value("512"), whole_number(1, 100_000),
            "Concurrent requests per instance; further requests get 503.";
        rate_limit_per_minute: NonZeroU32 =
            "RATE_LIMIT_PER_MINUTE", Value("600"), whole_number(NonZeroU32::MIN, MOST_PER_MINUTE),
            "Authenticated requests per minute and instance of one caller (client id or Genesys user).";
        /// As a browser writes them.
        cors_allowed_origins: Vec<String> = "CORS_ALLOWED_ORIGINS", Described("none"), optional(origins),
            "Origins of the agent's widget, comma-separated, exact: https://host[:port].";
        /// `None`: a random one per process.
        audit_hash_key: Option<SecretString> =
            secret "AUDIT_HASH_KEY", Described("random per process"), optional(audit_hash_key),
            "Key of the hash of uuiData in audit events, at least 16 characters; the same on all instances links \
             their events.";
    }
}

fn origins(text: &str) -> Result<Vec<String>, String> {
    let origin = |entry: String| {
        // `*` and `null` would open the widget's route to every page; a URL's own origin is what a browser sends.
        let url = base_url(&entry).ok().filter(|url| url.path() == "/");
        url.map(|url| url.origin().ascii_serialization()).ok_or_else(|| {
            "must be a comma-separated list of origins such as https://agent.example.org, without a path".to_owned()
        })
    };
    list(text)?.into_iter().map(origin).collect()
}

fn audit_hash_key(text: &str) -> Result<SecretString, String> {
    if text.len() < 16 { Err("must have at least 16 characters".to_owned()) } else { Ok(text.into()) }
}
