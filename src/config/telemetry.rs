use std::collections::HashMap;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use url::Url;

use super::Environment;
use super::reader::{Default, Reader, Setting, base_url, list};

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

pub(super) static SETTINGS: &[&Setting] = &[&LOG_LEVEL, &OTLP_ENDPOINT, &OTLP_HEADERS, &APPLICATION_INSIGHTS];

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
    pub otlp_endpoint: Option<Url>,
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
        return Ok(libraries.with_target("maxconf", level));
    }
    let directives: Targets = text.parse().map_err(|_| expected())?;
    let ours = directives.iter().filter(|(target, _)| target.starts_with("maxconf"));
    let own_default = directives.default_level().unwrap_or(LevelFilter::INFO);
    Ok(libraries.with_target("maxconf", own_default).with_targets(ours))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn no_log_level_lets_libraries_talk() {
        for text in ["off", "error", "trace", "maxconf=off", "hyper=trace", "trace,hyper=trace"] {
            let targets = log_level(text).expect("a level");
            assert!(!targets.would_enable("hyper::proto", &Level::DEBUG), "{text}");
        }
        assert!(!log_level("off").expect("a level").would_enable("maxconf::auth", &Level::ERROR));
    }
}
