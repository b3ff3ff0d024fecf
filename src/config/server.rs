use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::SecretString;

use super::reader::{Default, Reader, Setting, base_url, list, seconds, whole_number};

static PORT: Setting = Setting {
    name: "FUNCTIONS_CUSTOMHANDLER_PORT",
    default: Default::Value("7071"),
    meaning: "Port to listen on; the Functions host sets it.",
};
static LISTEN_ADDRESS: Setting = Setting {
    name: "LISTEN_ADDRESS",
    default: Default::Value("127.0.0.1"),
    meaning: "Address to listen on; to be changed for a container only.",
};
static ENVIRONMENT: Setting = Setting {
    name: "MAXCONF_ENVIRONMENT",
    default: Default::Value("local"),
    meaning: "local, test or production: label on logs, metrics and health. Outside local some settings must be given explicitly.",
};
static SLOT: Setting = Setting {
    name: "MAXCONF_SLOT",
    default: Default::Value("production"),
    meaning: "Name of the deployment slot: label on logs, metrics and health.",
};
static REQUEST_DEADLINE: Setting = Setting {
    name: "REQUEST_DEADLINE_SECONDS",
    default: Default::Value("25"),
    meaning: "Longest time for one API request with everything in it, in seconds; above PEXIP_REQUEST_TIMEOUT_SECONDS.",
};
static CORS_ORIGINS: Setting = Setting {
    name: "CORS_ALLOWED_ORIGINS",
    default: Default::Described("none"),
    meaning: "Origins of the agent's widget, comma-separated, exact: https://host[:port].",
};
static RATE_LIMIT: Setting = Setting {
    name: "RATE_LIMIT_PER_MINUTE",
    default: Default::Value("600"),
    meaning: "Requests that one caller (client id, or Genesys user) may make per minute and instance, after authentication.",
};
static MAX_CONCURRENT: Setting = Setting {
    name: "MAX_CONCURRENT_REQUESTS",
    default: Default::Value("512"),
    meaning: "Requests worked on at a time, per instance; more get 503.",
};
static AUDIT_HASH_KEY: Setting = Setting {
    name: "AUDIT_HASH_KEY",
    default: Default::Described("random per process"),
    meaning: "Key of the hash of uuiData in audit events; the same on all instances links their events. At least 16 characters.",
};

pub(super) static SETTINGS: &[&Setting] = &[&PORT, &LISTEN_ADDRESS, &ENVIRONMENT, &SLOT];
pub(super) static PROTECTION_SETTINGS: &[&Setting] =
    &[&CORS_ORIGINS, &REQUEST_DEADLINE, &RATE_LIMIT, &MAX_CONCURRENT, &AUDIT_HASH_KEY];

/// The longest deadline that a request may be given.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(200);

/// Beyond this nothing is limited any more.
const MOST_PER_MINUTE: NonZeroU32 = NonZeroU32::new(1_000_000).expect("not zero");

/// Where the service runs. From `MAXCONF_ENVIRONMENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    Local,
    Test,
    Production,
}

impl Environment {
    /// The word that stands in the setting, the logs and the health answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Test => "test",
            Self::Production => "production",
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.value(&ENVIRONMENT, Self::parse)
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "local" => Ok(Self::Local),
            "test" => Ok(Self::Test),
            "production" => Ok(Self::Production),
            _ => Err("must be local, test or production".to_owned()),
        }
    }
}

/// The listener, and what holds for every request.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// From `LISTEN_ADDRESS`.
    pub address: IpAddr,
    /// From `FUNCTIONS_CUSTOMHANDLER_PORT`; 0 lets the system choose, for tests.
    pub port: u16,
    /// From `MAXCONF_ENVIRONMENT`.
    pub environment: Environment,
    /// From `MAXCONF_SLOT`.
    pub slot: String,
    /// From `REQUEST_DEADLINE_SECONDS`.
    pub request_deadline: Duration,
    /// From `MAX_CONCURRENT_REQUESTS`.
    pub max_concurrent_requests: usize,
    /// From `RATE_LIMIT_PER_MINUTE`.
    pub rate_limit_per_minute: NonZeroU32,
    /// From `CORS_ALLOWED_ORIGINS`, as a browser writes them.
    pub cors_allowed_origins: Vec<String>,
    /// From `AUDIT_HASH_KEY`; `None` = a random one per process.
    pub audit_hash_key: Option<SecretString>,
}

pub(super) fn read_request_deadline(reader: &mut Reader<'_>) -> Option<Duration> {
    reader.value(&REQUEST_DEADLINE, seconds(1, LONGEST_REQUEST.as_secs()))
}

impl ServerConfig {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        environment: Option<Environment>,
        request_deadline: Option<Duration>,
    ) -> Option<Self> {
        let address =
            reader.value(&LISTEN_ADDRESS, |text| text.trim().parse().map_err(|_| "must be an IP address".to_owned()));
        let port = reader.value(&PORT, whole_number(0, u16::MAX));
        let slot = reader.value(&SLOT, slot);
        let max_concurrent_requests = reader.value(&MAX_CONCURRENT, whole_number(1, 100_000));
        let rate_limit_per_minute = reader.value(&RATE_LIMIT, whole_number(NonZeroU32::MIN, MOST_PER_MINUTE));
        let cors_allowed_origins = reader.optional(&CORS_ORIGINS, origins);
        let audit_hash_key = reader.optional(&AUDIT_HASH_KEY, |text| {
            if text.len() < 16 {
                return Err("must have at least 16 characters".to_owned());
            }
            Ok(SecretString::from(text))
        });
        Some(Self {
            address: address?,
            port: port?,
            environment: environment?,
            slot: slot?,
            request_deadline: request_deadline?,
            max_concurrent_requests: max_concurrent_requests?,
            rate_limit_per_minute: rate_limit_per_minute?,
            cors_allowed_origins: cors_allowed_origins?.unwrap_or_default(),
            audit_hash_key: audit_hash_key?,
        })
    }
}

fn slot(text: &str) -> Result<String, String> {
    let text = text.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits and -".to_owned())
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
