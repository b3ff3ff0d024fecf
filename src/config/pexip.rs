use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use url::Url;

use super::reader::{Default, Reader, Setting, base_url, seconds, whole_number};

static MANAGEMENT_URL: Setting = Setting {
    name: "PEXIP_MANAGEMENT_URL",
    default: Default::Required,
    meaning: "https address of the Pexip management node.",
};
static USERNAME: Setting =
    Setting { name: "PEXIP_USERNAME", default: Default::Required, meaning: "Account for the management API." };
static PASSWORD: Setting =
    Setting { name: "PEXIP_PASSWORD", default: Default::Required, meaning: "Password of that account." };
static CA_FILE: Setting = Setting {
    name: "PEXIP_CA_FILE",
    default: Default::Described("none"),
    meaning: "File with PEM certificates to trust as well, for a management node with a self-signed one.",
};
static REQUEST_TIMEOUT: Setting = Setting {
    name: "PEXIP_REQUEST_TIMEOUT_SECONDS",
    default: Default::Value("10"),
    meaning: "Longest time for one call to the management node, in seconds.",
};
static REQUESTS_PER_MINUTE: Setting = Setting {
    name: "PEXIP_REQUESTS_PER_MINUTE",
    default: Default::Value("300"),
    meaning: "This instance's budget of calls; the node allows about 1,000 for the whole fleet.",
};
static MAX_IN_FLIGHT: Setting = Setting {
    name: "PEXIP_MAX_IN_FLIGHT",
    default: Default::Value("5"),
    meaning: "This instance's calls to the node at a time.",
};
static EVENT_USERNAME: Setting = Setting {
    name: "PEXIP_EVENT_USERNAME",
    default: Default::Described("none = receiver off (404)"),
    meaning: "Basic account of the Conferencing Nodes for /pexip/events.",
};
static EVENT_PASSWORD: Setting = Setting {
    name: "PEXIP_EVENT_PASSWORD",
    default: Default::Described("none = receiver off (404)"),
    meaning: "Password of that account.",
};

pub(super) static SETTINGS: &[&Setting] = &[
    &MANAGEMENT_URL,
    &USERNAME,
    &PASSWORD,
    &CA_FILE,
    &REQUEST_TIMEOUT,
    &REQUESTS_PER_MINUTE,
    &MAX_IN_FLIGHT,
    &EVENT_USERNAME,
    &EVENT_PASSWORD,
];

/// The management node: address, account, limits.
#[derive(Clone, Debug)]
pub struct PexipConfig {
    /// Ends in `/`. From `PEXIP_MANAGEMENT_URL`.
    pub management_url: Url,
    /// From `PEXIP_USERNAME`.
    pub username: String,
    /// From `PEXIP_PASSWORD`.
    pub password: SecretString,
    /// What `PEXIP_CA_FILE` holds.
    pub trusted_certificates: Vec<CertificateDer<'static>>,
    /// From `PEXIP_REQUEST_TIMEOUT_SECONDS`.
    pub request_timeout: Duration,
    /// From `PEXIP_REQUESTS_PER_MINUTE`.
    pub requests_per_minute: u32,
    /// From `PEXIP_MAX_IN_FLIGHT`.
    pub max_in_flight: usize,
}

impl PexipConfig {
    pub(super) fn read(reader: &mut Reader<'_>, request_deadline: Option<Duration>) -> Option<Self> {
        let management_url = reader.value(&MANAGEMENT_URL, base_url);
        let username = reader.value(&USERNAME, |text| Ok(text.to_owned()));
        let password = reader.secret(&PASSWORD);
        let trusted_certificates = reader.optional(&CA_FILE, certificates);
        let request_timeout = reader.value(&REQUEST_TIMEOUT, seconds(1, 120));
        if let (Some(timeout), Some(deadline)) = (request_timeout, request_deadline)
            && timeout >= deadline
        {
            reader.fault(&REQUEST_TIMEOUT, "must be less than REQUEST_DEADLINE_SECONDS");
        }
        let requests_per_minute = reader.value(&REQUESTS_PER_MINUTE, whole_number(1, 100_000));
        let max_in_flight = reader.value(&MAX_IN_FLIGHT, whole_number(1, 100));
        Some(Self {
            management_url: management_url?,
            username: username?,
            password: password?,
            trusted_certificates: trusted_certificates?.unwrap_or_default(),
            request_timeout: request_timeout?,
            requests_per_minute: requests_per_minute?,
            max_in_flight: max_in_flight?,
        })
    }
}

/// Read here, at start, so that a missing or broken file is a faulty setting and not an outage later.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("names a file that cannot be read ({})", error.kind()))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("names a file without a PEM certificate in it".to_owned()),
    }
}

/// The account that Conferencing Nodes use to report events.
#[derive(Clone, Debug)]
pub struct PexipEventConfig {
    /// From `PEXIP_EVENT_USERNAME`.
    pub username: String,
    /// From `PEXIP_EVENT_PASSWORD`.
    pub password: SecretString,
}

impl PexipEventConfig {
    #[expect(clippy::option_option, reason = "faulty and switched off are two answers")]
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Option<Self>> {
        let username = reader.optional(&EVENT_USERNAME, |text| Ok(text.to_owned()));
        let password = reader.optional(&EVENT_PASSWORD, |text| Ok(SecretString::from(text)));
        match (username?, password?) {
            (Some(username), Some(password)) => Some(Some(Self { username, password })),
            (None, None) => Some(None),
            (Some(_), None) => {
                reader.fault(&EVENT_PASSWORD, "is not set, but PEXIP_EVENT_USERNAME is");
                None
            }
            (None, Some(_)) => {
                reader.fault(&EVENT_USERNAME, "is not set, but PEXIP_EVENT_PASSWORD is");
                None
            }
        }
    }
}
