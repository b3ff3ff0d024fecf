//! Export of traces and metrics to an OTLP collector and to Application Insights.
//!
//! Threads of the exporters collect and send; no request waits for them. What a destination does not accept in time is
//! dropped and logged once a minute. Every option that the libraries would read from the environment is set here.

use std::thread;
use std::time::Duration;

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
use reqwest::ClientBuilder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::oneshot;
use tracing::warn;

use super::destination::Destination;
use super::dropped_spans::CountingProcessor;
use super::{VERSION, metrics};
use crate::config::TelemetryConfig;

/// How often metrics are sent. The alerts evaluate minutes.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Most attributes of a span; ours have fewer.
const MOST_ATTRIBUTES: u32 = 16;

/// Longest duration of one call to a destination.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time that the process waits at its end for the last export.
const LONGEST_FLUSH: Duration = Duration::from_secs(3);

/// Headers of the libraries' bodies.
const PROTOBUF: &[(HeaderName, &str)] = &[(CONTENT_TYPE, "application/x-protobuf")];
const GZIP_JSON: &[(HeaderName, &str)] = &[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")];

/// The running export.
#[derive(Debug)]
#[must_use = "traces and metrics that are not flushed are lost"]
pub struct Export {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    destinations: Vec<Destination>,
}

/// Why the export cannot be built. Holds no address or key.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("the HTTP client could not be built")]
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
    /// Starts the export to the destinations in the settings, if there are any. Waits for no call.
    pub(super) fn start(
        config: &TelemetryConfig,
        http: impl FnOnce() -> ClientBuilder,
    ) -> Result<Option<Self>, ExportError> {
        if config.otlp_endpoint.is_none() && config.application_insights.is_none() {
            return Ok(None);
        }
        let resource = resource(config);
        let traces = SdkTracerProvider::builder().with_resource(resource.clone());
        // A caller's `traceparent` decides whether its trace is sampled.
        let traces = traces.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        let mut traces = traces.with_span_limits(SpanLimits {
            max_attributes_per_span: MOST_ATTRIBUTES,
            // Events are for the log.
            max_events_per_span: 0,
            ..SpanLimits::default()
        });
        let mut metrics = SdkMeterProvider::builder().with_resource(resource);
        let mut destinations = Vec::new();
        let http = http().timeout(CALL_TIMEOUT).build().map_err(|_| ExportError::HttpClient)?;
        if let Some(endpoint) = &config.otlp_endpoint {
            let collector = Destination::new("OTLP", &http, with_body(&config.otlp_headers, PROTOBUF));
            let url = |signal: &str| format!("{endpoint}v1/{signal}");
            let spans = SpanExporter::builder().with_http().with_http_client(collector.clone());
            let spans = spans.with_endpoint(url("traces")).with_protocol(Protocol::HttpBinary);
            traces = traces.with_span_processor(CountingProcessor::new(
                spans.with_timeout(CALL_TIMEOUT).build()?,
                collector.clone(),
            ));
            let numbers = MetricExporter::builder().with_http().with_http_client(collector.clone());
            let numbers = numbers.with_endpoint(url("metrics")).with_protocol(Protocol::HttpBinary);
            // Alerts add up the differences between reports.
            let numbers = numbers.with_timeout(CALL_TIMEOUT).with_temporality(Temporality::Delta).build()?;
            metrics = send_metrics(metrics, numbers);
            destinations.push(collector);
        }
        if let Some(connection) = &config.application_insights {
            let resource = Destination::new("Application Insights", &http, with_body(&HeaderMap::new(), GZIP_JSON));
            let exporter = || {
                Exporter::new_from_connection_string(connection.expose_secret(), resource.clone())
                    .map_err(|_| ExportError::ApplicationInsights)
            };
            traces = traces.with_span_processor(CountingProcessor::new(exporter()?, resource.clone()));
            metrics = send_metrics(metrics, exporter()?);
            destinations.push(resource);
        }
        let export = Self { traces: traces.build(), metrics: metrics.build(), destinations };
        metrics::set_slot(&config.slot);
        global::set_meter_provider(export.metrics.clone());
        Ok(Some(export))
    }

    /// Creates the spans of the service.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.traces.tracer("maxconf")
    }

    /// Sends the remaining traces and metrics, as far as time permits.
    pub async fn finish(self) {
        let Self { traces, metrics, destinations } = self;
        let (done, finished) = oneshot::channel();
        // A thread of the runtime would keep the runtime from ending.
        thread::spawn(move || {
            let numbers = thread::spawn(move || metrics.shutdown_with_timeout(LONGEST_FLUSH));
            let _ = traces.shutdown_with_timeout(LONGEST_FLUSH);
            let _ = numbers.join();
            let _ = done.send(());
        });
        if tokio::time::timeout(LONGEST_FLUSH, finished).await.is_err() {
            warn!("the last traces and metrics could not be sent in time");
        }
        destinations.iter().for_each(Destination::log_losses);
    }
}

/// Identifies this instance to the destinations.
fn resource(config: &TelemetryConfig) -> Resource {
    let attributes = [
        ("service.version", VERSION.to_owned()),
        ("deployment.environment.name", config.environment.as_str().to_owned()),
        ("maxconf.slot", config.slot.clone()),
    ];
    let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
    Resource::builder_empty().with_service_name("maxconf").with_attributes(attributes).build()
}

/// The headers of the settings, with those of the body in place of any others.
fn with_body(configured: &HeaderMap, body: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = configured.clone();
    headers.remove(CONTENT_TYPE);
    headers.remove(CONTENT_ENCODING);
    headers.extend(body.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))));
    headers
}

fn send_metrics(metrics: MeterProviderBuilder, exporter: impl PushMetricExporter) -> MeterProviderBuilder {
    metrics.with_reader(PeriodicReader::builder(exporter).with_interval(REPORT_INTERVAL).build())
}
