//! Settings of log, traces and metrics, and of the labels on them.

use std::collections::HashMap;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use url::Url;

use super::parser::{base_url, list, one_of, optional};
use super::setting::WhenUnset::{Described, Value};
use super::setting::{Faulty, Reader, Setting, settings};
use crate::domain::named_enum;

settings! {
    /// The log, the destinations of traces and metrics, and the labels on all of them.
    TelemetryConfig, TelemetryDraft {
        environment: Environment = "MAXCONF_ENVIRONMENT", Value("local"),
            one_of(&[
                ("local", Environment::Local),
                ("test", Environment::Test),
                ("production", Environment::Production),
            ]),
            "local, test or production: label on logs, metrics and health. Outside local more settings are required.";
        slot: String = "MAXCONF_SLOT", Value("production"), slot,
            "Name of the deployment slot: label on logs, metrics and health.";
        /// Levels of our own targets, and of the libraries'.
        log_level: Targets = "LOG_LEVEL", Value("info"), log_level,
            "Log level of the service's own targets, or directives such as maxconf::auth=debug. Libraries never log \
             below info.";
        /// Ends in `/`.
        otlp_endpoint: Option<Url> = "OTEL_EXPORTER_OTLP_ENDPOINT", Described("none"), optional(base_url),
            "OTLP collector that gets traces and metrics, by HTTP with Protobuf: https://host[:port].";
        /// Each is marked as sensitive, so none is printed.
        otlp_headers: HeaderMap = secret "OTEL_EXPORTER_OTLP_HEADERS", Described("none"), optional(headers),
            "Headers for the OTLP collector, its key among them: name=value, comma-separated, values percent-encoded.";
        application_insights: Option<SecretString> =
            secret "APPLICATIONINSIGHTS_CONNECTION_STRING", Described("none"), optional(connection_string),
            "Connection string, as Azure shows it, of the Application Insights resource that gets traces and metrics.";
    }
}

named_enum! {
    /// Where the service runs, as the setting, the logs and the health answers name it.
    pub enum Environment {
        Local = "local",
        Test = "test",
        Production = "production",
    }
}

fn slot(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits and -".to_owned())
    }
}

/// `name=value` pairs, as the OpenTelemetry specification defines them.
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

/// `Key=value` pairs, as Azure shows them; one of them is the instrumentation key.
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
    if pairs.get("authorization").is_some_and(|method| !method.eq_ignore_ascii_case("ikey")) {
        return Err("has an Authorization other than ikey, which is not supported".to_owned());
    }
    Ok(SecretString::from(text.trim_end_matches(';')))
}

/// A level for all of `maxconf`, or directives for its modules. Directives for libraries have no effect: at `debug`
/// some of them write headers and bodies.
fn log_level(text: &str) -> Result<Targets, String> {
    let libraries = Targets::new()
        .with_default(LevelFilter::INFO)
        // At info the queue's library writes the address of each failed call, with the message's pop receipt.
        .with_target("typespec_client_core", LevelFilter::WARN)
        // Our own event reports lost traces and metrics, once a minute.
        .with_target("opentelemetry", LevelFilter::OFF);
    let text = text.trim();
    if let Ok(level) = text.parse::<LevelFilter>() {
        return Ok(libraries.with_target("maxconf", level));
    }
    let directives: Targets = text.parse().map_err(|_| {
        "must be off, error, warn, info, debug or trace, or directives such as maxconf::auth=debug".to_owned()
    })?;
    let ours = directives.iter().filter(|(target, _)| target.starts_with("maxconf"));
    let own_default = directives.default_level().unwrap_or(LevelFilter::INFO);
    Ok(libraries.with_target("maxconf", own_default).with_targets(ours))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_never_log_below_info() {
        for text in ["off", "error", "trace", "maxconf=off", "hyper=trace", "trace,hyper=trace"] {
            let targets = log_level(text).expect("a level");
            assert!(!targets.would_enable("hyper::proto", &Level::DEBUG), "{text}");
        }
        assert!(!log_level("off").expect("a level").would_enable("maxconf::auth", &Level::ERROR));
    }
}
