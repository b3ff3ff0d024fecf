//! Settings of Pexip's management node, and of the accounts of its Conferencing Nodes.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use url::Url;

use super::parser::{base_url, optional, seconds, text, whole_number};
use super::setting::WhenUnset::{Described, Required, Value};
use super::setting::{Faulty, Reader, Setting, settings};

settings! {
    /// The management node: address, trust, limits.
    PexipConfig, PexipDraft {
        /// Ends in `/`.
        management_url: Url = "PEXIP_MANAGEMENT_URL", Required, base_url,
            "https address of the Pexip management node.";
        /// The certificates in the file.
        trusted_certificates: Vec<CertificateDer<'static>> =
            "PEXIP_CA_FILE", Described("none"), optional(certificates),
            "PEM file of further certificates to trust, for a management node with a self-signed one.";
        /// The vendor's clients wait 30 s, longer than a whole request of IDIM's may take. A create that is cut off
        /// costs at most one room, which is destroyed or swept; waiting costs a citizen, and one of the few concurrent
        /// calls.
        request_timeout: Duration = "PEXIP_REQUEST_TIMEOUT_SECONDS", Value("10"), seconds(1, 120),
            "Longest duration of one call to the management node, in seconds; less than REQUEST_DEADLINE_SECONDS.";
        requests_per_minute: u32 = "PEXIP_REQUESTS_PER_MINUTE", Value("300"), whole_number(1, 100_000),
            "Calls per minute and instance to the management node, which allows about 1,000 for all instances.";
        max_in_flight: usize = "PEXIP_MAX_IN_FLIGHT", Value("5"), whole_number(1, 100),
            "Concurrent calls per instance to the management node.";
    }
}

/// Reads the certificates at start, so that a missing or broken file is a faulty setting and not an outage later.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("names a file that cannot be read ({})", error.kind()))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("names a file without a PEM certificate in it".to_owned()),
    }
}

settings! {
    POLICY_USERNAME = "PEXIP_POLICY_USERNAME", Described("none = policy off (404)"),
        "Basic account that the Conferencing Nodes use at /policy/v1/service/configuration; required for instant rooms.";
    POLICY_PASSWORD = secret "PEXIP_POLICY_PASSWORD", Described("none = policy off (404)"),
        "Password of the account for /policy/v1/service/configuration.";
    EVENT_USERNAME = "PEXIP_EVENT_USERNAME", Described("none = receiver off (404)"),
        "Basic account that the Conferencing Nodes use at /public/event_sink.";
    EVENT_PASSWORD = secret "PEXIP_EVENT_PASSWORD", Described("none = receiver off (404)"),
        "Password of the account for /public/event_sink.";
}

/// A Basic account that Conferencing Nodes use.
#[derive(Clone, Debug)]
pub struct BasicAccount {
    pub username: String,
    pub password: SecretString,
}

impl BasicAccount {
    /// The account for external policy. `None` if neither setting is set: policy is off.
    pub(super) fn read_policy(reader: &mut Reader<'_>) -> Result<Option<Self>, Faulty> {
        Self::read(reader, &POLICY_USERNAME, &POLICY_PASSWORD)
    }

    /// The account for events. `None` if neither setting is set: events are off.
    pub(super) fn read_events(reader: &mut Reader<'_>) -> Result<Option<Self>, Faulty> {
        Self::read(reader, &EVENT_USERNAME, &EVENT_PASSWORD)
    }

    fn read(reader: &mut Reader<'_>, username: &Setting, password: &Setting) -> Result<Option<Self>, Faulty> {
        let account = reader.pair(username, text, password, text)?;
        Ok(account.map(|(username, password)| Self { username, password }))
    }
}
