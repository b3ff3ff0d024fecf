//! Traces and metrics on their way to a collector and to Application Insights.
//!
//! Threads of their own collect and send; a request never waits for them. What a destination does not take in time is
//! dropped, and the log is told once a minute. What the libraries would read from the environment by themselves is set
//! here, so that it comes from the settings or not at all.

use std::thread;
use std::time::Duration;

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_application_insights::Exporter;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanLimits};
use secrecy::ExposeSecret;
use tokio::sync::oneshot;
use tracing::warn;

use super::VERSION;
use super::destination::Destination;
use super::waiting::Waiting;
use crate::config::TelemetryConfig;
use crate::outbound::client_builder;
use crate::telemetry::metrics;

/// How often metrics are sent. The alerts look at minutes.
const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

/// Attributes of a span; ours have fewer.
const MOST_ATTRIBUTES: u32 = 16;

/// Longest time for one call to a destination.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time that a stop waits for what has not been sent yet.
const LONGEST_FLUSH: Duration = Duration::from_secs(3);

/// What the libraries send in their bodies.
const PROTOBUF: &[(HeaderName, &str)] = &[(CONTENT_TYPE, "application/x-protobuf")];
const PACKED_JSON: &[(HeaderName, &str)] = &[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")];

/// What sends traces and metrics until the process ends.
#[derive(Debug)]
#[must_use = "what has not been sent when the process ends is lost"]
pub struct Export {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    destinations: Vec<Destination>,
}

/// Why nothing can be sent to a destination. Holds no address or key.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("an HTTP client could not be made")]
    HttpClient,
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used")]
    Otlp,
    #[error("APPLICATIONINSIGHTS_CONNECTION_STRING cannot be used")]
    ApplicationInsights,
}

impl From<ExporterBuildError> for ExportError {
    fn from(_: ExporterBuildError) -> Self {
        Self::Otlp
    }
}

impl Export {
    /// Begins to send where the settings name a destination. Makes no call that is waited for.
    pub(super) fn begin(config: &TelemetryConfig) -> Result<Option<Self>, ExportError> {
        if config.otlp_endpoint.is_none() && config.application_insights.is_none() {
            return Ok(None);
        }
        let resource = resource(config);
        let traces = SdkTracerProvider::builder().with_resource(resource.clone());
        // A caller that traces decides whether its trace is kept.
        let traces = traces.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        let mut traces = traces.with_span_limits(SpanLimits {
            max_attributes_per_span: MOST_ATTRIBUTES,
            // Lines of the log are for the log.
            max_events_per_span: 0,
            ..SpanLimits::default()
        });
        let mut metrics = SdkMeterProvider::builder().with_resource(resource);
        let mut destinations = Vec::new();
        let http = client_builder(Duration::from_secs(2)).timeout(CALL_TIMEOUT).build();
        let http = http.map_err(|_| ExportError::HttpClient)?;
        if let Some(endpoint) = &config.otlp_endpoint {
            let collector = Destination::new("OTLP", &http, with_body(&config.otlp_headers, PROTOBUF));
            let url = |signal: &str| format!("{endpoint}v1/{signal}");
            let spans = SpanExporter::builder().with_http().with_http_client(collector.clone());
            let spans = spans.with_endpoint(url("traces")).with_protocol(Protocol::HttpBinary);
            traces =
                traces.with_span_processor(Waiting::new(spans.with_timeout(CALL_TIMEOUT).build()?, collector.clone()));
            let numbers = MetricExporter::builder().with_http().with_http_client(collector.clone());
            let numbers = numbers.with_endpoint(url("metrics")).with_protocol(Protocol::HttpBinary);
            // What alerts add up is what happened since the last report.
            let numbers = numbers.with_timeout(CALL_TIMEOUT).with_temporality(Temporality::Delta).build()?;
            metrics = send_metrics(metrics, numbers);
            destinations.push(collector);
        }
        if let Some(connection) = &config.application_insights {
            let resource = Destination::new("Application Insights", &http, with_body(&HeaderMap::new(), PACKED_JSON));
            let exporter = || {
                Exporter::new_from_connection_string(connection.expose_secret(), resource.clone())
                    .map_err(|_| ExportError::ApplicationInsights)
            };
            traces = traces.with_span_processor(Waiting::new(exporter()?, resource.clone()));
            metrics = send_metrics(metrics, exporter()?);
            destinations.push(resource);
        }
        let export = Self { traces: traces.build(), metrics: metrics.build(), destinations };
        metrics::start(&config.slot);
        global::set_meter_provider(export.metrics.clone());
        Ok(Some(export))
    }

    /// What makes spans of the program's own.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.traces.tracer("maxconf")
    }

    /// Sends what has not been sent yet, as far as that works in time.
    pub async fn finish(self) {
        let Self { traces, metrics, destinations } = self;
        let (done, is_done) = oneshot::channel();
        // Not on the runtime, whose end would wait for it.
        thread::spawn(move || {
            let numbers = thread::spawn(move || metrics.shutdown_with_timeout(LONGEST_FLUSH));
            let _ = traces.shutdown_with_timeout(LONGEST_FLUSH);
            let _ = numbers.join();
            let _ = done.send(());
        });
        if tokio::time::timeout(LONGEST_FLUSH, is_done).await.is_err() {
            warn!("the last traces and metrics could not be sent in time");
        }
        destinations.iter().for_each(Destination::settle);
    }
}

/// Where it all comes from.
fn resource(config: &TelemetryConfig) -> Resource {
    let attributes = [
        ("service.version", VERSION.to_owned()),
        ("deployment.environment.name", config.environment.as_str().to_owned()),
        ("maxconf.slot", config.slot.clone()),
    ];
    let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
    Resource::builder_empty().with_service_name("maxconf").with_attributes(attributes).build()
}

/// What a destination is called with: what is set for it, and what its body is.
fn with_body(set: &HeaderMap, body: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = set.clone();
    for of_the_body in [CONTENT_TYPE, CONTENT_ENCODING] {
        headers.remove(of_the_body);
    }
    headers.extend(body.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))));
    headers
}

fn send_metrics(metrics: MeterProviderBuilder, exporter: impl PushMetricExporter) -> MeterProviderBuilder {
    metrics.with_reader(PeriodicReader::builder(exporter).with_interval(BETWEEN_REPORTS).build())
}
