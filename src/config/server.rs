//! Settings of the listener and of every request.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::header::HeaderName;
use secrecy::SecretString;

use super::parser::{base_url, hash_key, list, optional, seconds, whole_number};
use super::setting::WhenUnset::{Described, Value};
use super::setting::{Faulty, Reader, Setting, settings};

/// The longest deadline that a request may be given.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(200);

const MOST_PER_MINUTE: u32 = 1_000_000;

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
        /// `None`: no limit.
        rate_limit_per_minute: Option<NonZeroU32> = "RATE_LIMIT_PER_MINUTE", Value("600"), rate,
            "Authenticated requests per minute and instance of one client id; 0 for any number.";
        /// `None`: no limit.
        public_rate_limit_per_minute: Option<NonZeroU32> = "PUBLIC_RATE_LIMIT_PER_MINUTE", Value("120"), rate,
            "The same for one Genesys user on GET /public/room/{name}.";
        /// `None`: all callers share one address.
        client_address_header: Option<HeaderName> = "CLIENT_ADDRESS_HEADER", Described("none"), optional(header_name),
            "Header in which only the gateway writes the caller's address. Without it, or where it holds \
             not exactly one address, all callers share one.";
        /// As a browser writes them.
        cors_allowed_origins: Vec<String> = "CORS_ALLOWED_ORIGINS", Described("none"), optional(origins),
            "Origins of the agent's widget, comma-separated, exact: https://host[:port].";
        /// `None`: a random one per process.
        audit_hash_key: Option<SecretString> =
            secret "AUDIT_HASH_KEY", Described("random per process"), optional(hash_key),
            "Key of the hash of uuiData in audit events, at least 16 characters; the same on all instances links \
             their events.";
    }
}

impl ServerConfig {
    /// Concurrent requests of the widget; the rest is left to creates, however slow the node is.
    pub fn widgets_share(&self) -> usize {
        (self.max_concurrent_requests / 2).max(1)
    }

    /// Concurrent look-ups of Conferencing Nodes; the rest is left to creates, whatever names are dialled.
    pub fn look_ups_share(&self) -> usize {
        (self.max_concurrent_requests / 2).max(1)
    }
}

fn rate(text: &str) -> Result<Option<NonZeroU32>, String> {
    whole_number(0, MOST_PER_MINUTE)(text).map(NonZeroU32::new)
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.trim().parse().map_err(|_| "must be the name of a header".to_owned())
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
