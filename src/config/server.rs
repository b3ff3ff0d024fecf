use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::reader::{Default, Reader, Setting, base_url, list, seconds, whole_number};
use crate::audit;

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
static LOG_LEVEL: Setting = Setting {
    name: "LOG_LEVEL",
    default: Default::Value("info"),
    meaning: "Log level of the service's own targets, or directives such as maxconf::auth=debug; libraries stay at info or above whatever it says.",
};
static OTLP_ENDPOINT: Setting = Setting {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    default: Default::Described("none"),
    meaning: "OTLP collector to send traces and metrics to, by HTTP with Protobuf: https://host[:port].",
};
static OTLP_HEADERS: Setting = Setting {
    name: "OTEL_EXPORTER_OTLP_HEADERS",
    default: Default::Described("none"),
    meaning: "Headers for that collector, its key among them: name=value, comma-separated, values percent-encoded.",
};
static APPLICATION_INSIGHTS: Setting = Setting {
    name: "APPLICATIONINSIGHTS_CONNECTION_STRING",
    default: Default::Described("none"),
    meaning: "Application Insights resource to send traces and metrics to, as Azure shows its connection string.",
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
pub(super) static PROTECTION_SETTINGS: &[&Setting] = &[
    &CORS_ORIGINS,
    &REQUEST_DEADLINE,
    &RATE_LIMIT,
    &MAX_CONCURRENT,
    &AUDIT_HASH_KEY,
    &LOG_LEVEL,
    &OTLP_ENDPOINT,
    &OTLP_HEADERS,
    &APPLICATION_INSIGHTS,
];

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
    reader.value(&REQUEST_DEADLINE, seconds(1, 200))
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

/// What is logged, and where traces and metrics go.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Levels of our own targets. From `LOG_LEVEL`.
    pub log_level: Targets,
    /// From `MAXCONF_ENVIRONMENT`.
    pub environment: Environment,
    /// From `MAXCONF_SLOT`.
    pub slot: String,
    /// From `OTEL_EXPORTER_OTLP_ENDPOINT`, with a slash at its end.
    pub otlp_endpoint: Option<url::Url>,
    /// From `OTEL_EXPORTER_OTLP_HEADERS`; each is marked as sensitive, so none is printed.
    pub otlp_headers: HeaderMap,
    /// From `APPLICATIONINSIGHTS_CONNECTION_STRING`. Holds an instrumentation key.
    pub application_insights: Option<SecretString>,
}

impl TelemetryConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment, slot: Option<String>) -> Option<Self> {
        let log_level = reader.value(&LOG_LEVEL, log_level);
        let otlp_endpoint = reader.optional(&OTLP_ENDPOINT, base_url);
        let otlp_headers = reader.optional(&OTLP_HEADERS, headers);
        let application_insights = reader.optional(&APPLICATION_INSIGHTS, connection_string);
        Some(Self {
            log_level: log_level?,
            environment,
            slot: slot?,
            otlp_endpoint: otlp_endpoint?,
            otlp_headers: otlp_headers?.unwrap_or_default(),
            application_insights: application_insights?,
        })
    }
}

/// `name=value` pairs, as OpenTelemetry has them.
fn headers(text: &str) -> Result<HeaderMap, String> {
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(true);
        Some((HeaderName::from_str(name.trim()).ok()?, value))
    };
    let headers: Option<HeaderMap> = list(text)?.iter().map(|pair| header(pair)).collect();
    headers.ok_or_else(|| "must be name=value pairs, comma-separated, their values percent-encoded".to_owned())
}

/// What Azure shows as the resource's connection string: `Key=value` pairs, one of them the instrumentation key.
fn connection_string(text: &str) -> Result<SecretString, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        (!value.contains('=')).then(|| (key.to_ascii_lowercase(), value.to_owned()))
    };
    let pairs: Option<HashMap<String, String>> = text.trim_end_matches(';').split(';').map(pair).collect();
    let pairs = pairs.unwrap_or_default();
    if pairs.get("instrumentationkey").is_none_or(String::is_empty) {
        return Err("must be Key=value pairs with an InstrumentationKey, separated by ;".to_owned());
    }
    if let Some(Err(reason)) = pairs.get("ingestionendpoint").map(|endpoint| base_url(endpoint)) {
        return Err(format!("has an IngestionEndpoint that {reason}"));
    }
    if pairs.get("authorization").is_some_and(|way| !way.eq_ignore_ascii_case("ikey")) {
        return Err("asks for an Authorization other than ikey, which is the only one that there is".to_owned());
    }
    Ok(SecretString::from(text.trim_end_matches(';')))
}

/// A level for all of `maxconf`, or directives for its modules. Libraries get no say here: at `debug` some of them
/// write headers and bodies.
fn log_level(text: &str) -> Result<Targets, String> {
    // At info the queue's library writes the address of each call that failed, a message's receipt included.
    let libraries = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("typespec_client_core", LevelFilter::WARN)
        // What could not be sent is said once a minute, by us.
        .with_target("opentelemetry", LevelFilter::OFF);
    let text = text.trim();
    let expected =
        || "must be off, error, warn, info, debug or trace, or directives such as maxconf::auth=debug".to_owned();
    if let Ok(level) = text.parse::<LevelFilter>() {
        return Ok(with_audit(libraries.with_target("maxconf", level)));
    }
    let directives: Targets = text.parse().map_err(|_| expected())?;
    let ours = directives.iter().filter(|(target, _)| target.starts_with("maxconf"));
    let own_default = directives.default_level().unwrap_or(LevelFilter::INFO);
    Ok(with_audit(libraries.with_target("maxconf", own_default).with_targets(ours)))
}

/// Who turns the log down must not lose the audit trail by that.
fn with_audit(targets: Targets) -> Targets {
    targets.with_target(audit::TARGET, LevelFilter::INFO)
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

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn no_log_level_silences_the_audit_trail_and_none_lets_libraries_talk() {
        let levels =
            ["off", "error", "trace", "maxconf=off", "maxconf::audit=off", "off,maxconf::audit=error", "hyper=trace"];
        for text in levels {
            let targets = log_level(text).expect("a level");
            assert!(targets.would_enable(audit::TARGET, &Level::INFO), "{text}");
            assert!(!targets.would_enable("hyper::proto", &Level::DEBUG), "{text}");
        }
        assert!(!log_level("off").expect("a level").would_enable("maxconf::auth", &Level::ERROR));
    }
}
