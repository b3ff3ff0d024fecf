//! Traces and metrics on their way to a collector and to Application Insights.
//!
//! Threads of their own collect and send; a request never waits for them. What a destination does not take in time is
//! dropped, and the log is told once a minute.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_application_insights::Exporter;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanLimits, TracerProviderBuilder,
};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::warn;

use super::VERSION;
use crate::config::TelemetryConfig;
use crate::metrics;
use crate::outbound::{CallFailure, body, client_builder};

/// How often metrics are sent. The alerts look at minutes.
const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

/// How long spans wait for others to be sent with.
const BETWEEN_BATCHES: Duration = Duration::from_secs(5);

/// Spans that wait; more are dropped. Each has a kilobyte or two.
const MOST_SPANS_WAITING: usize = 2048;

/// Attributes of a span; ours have fewer.
const MOST_ATTRIBUTES: u32 = 16;

/// Longest time for one call to a destination.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time that a stop waits for what has not been sent yet.
const LONGEST_FLUSH: Duration = Duration::from_secs(3);

const LARGEST_ANSWER: usize = 64 * 1024;
const MOST_COMPLAINTS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN;

/// What sends traces and metrics until the process ends.
#[derive(Debug)]
#[must_use = "what has not been sent when the process ends is lost"]
pub struct Export {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
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
        let mut traces = SdkTracerProvider::builder().with_resource(resource.clone()).with_span_limits(SpanLimits {
            max_attributes_per_span: MOST_ATTRIBUTES,
            // Lines of the log are for the log.
            max_events_per_span: 0,
            ..SpanLimits::default()
        });
        let mut metrics = SdkMeterProvider::builder().with_resource(resource);
        let http = client_builder(Duration::from_secs(2)).timeout(CALL_TIMEOUT).build();
        let http = http.map_err(|_| ExportError::HttpClient)?;
        if let Some(endpoint) = &config.otlp_endpoint {
            let client = Client::new("OTLP", &http);
            let url = |signal: &str| format!("{endpoint}v1/{signal}");
            let spans = SpanExporter::builder().with_http().with_http_client(client.clone());
            let spans = spans.with_endpoint(url("traces")).with_protocol(Protocol::HttpBinary).build()?;
            traces = send_spans(traces, spans);
            // What alerts add up is what happened since the last report.
            let numbers = MetricExporter::builder().with_http().with_http_client(client);
            let numbers = numbers.with_endpoint(url("metrics")).with_protocol(Protocol::HttpBinary);
            metrics = send_metrics(metrics, numbers.with_temporality(Temporality::Delta).build()?);
        }
        if let Some(connection) = &config.application_insights {
            let client = Client::new("Application Insights", &http);
            let exporter = || {
                Exporter::new_from_connection_string(connection.expose_secret(), client.clone())
                    .map_err(|_| ExportError::ApplicationInsights)
            };
            traces = send_spans(traces, exporter()?);
            metrics = send_metrics(metrics, exporter()?);
        }
        let export = Self { traces: traces.build(), metrics: metrics.build() };
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
        let Self { traces, metrics } = self;
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

fn send_spans(
    traces: TracerProviderBuilder,
    exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static,
) -> TracerProviderBuilder {
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(MOST_SPANS_WAITING)
        .with_scheduled_delay(BETWEEN_BATCHES)
        .build();
    traces.with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
}

fn send_metrics(metrics: MeterProviderBuilder, exporter: impl PushMetricExporter) -> MeterProviderBuilder {
    metrics.with_reader(PeriodicReader::builder(exporter).with_interval(BETWEEN_REPORTS).build())
}

/// The way to one destination. The threads that collect are no runtime's, so the calls are made on the service's.
#[derive(Clone, Debug)]
struct Client {
    destination: &'static str,
    http: reqwest::Client,
    runtime: Handle,
    complaints: Arc<DefaultDirectRateLimiter>,
}

/// Why a destination did not take something.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("it {0}")]
    Call(#[from] CallFailure),
    #[error("it answered {0}")]
    Answered(u16),
}

impl Client {
    fn new(destination: &'static str, http: &reqwest::Client) -> Self {
        let complaints = Arc::new(RateLimiter::direct(Quota::per_minute(MOST_COMPLAINTS_PER_MINUTE)));
        Self { destination, http: http.clone(), runtime: Handle::current(), complaints }
    }

    fn complain(&self, cause: &Undelivered) {
        if self.complaints.check().is_ok() {
            warn!(destination = self.destination, error = %cause, "traces or metrics could not be sent and may be lost");
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, request) = (self.http.clone(), reqwest::Request::try_from(request)?);
        let call = self.runtime.spawn(async move {
            let response = http.execute(request).await?;
            let status = response.status();
            Ok::<_, CallFailure>((status, body(response, LARGEST_ANSWER).await?))
        });
        let (status, body) = call.await?.map_err(|failure| {
            let cause = Undelivered::Call(failure);
            self.complain(&cause);
            cause
        })?;
        if !status.is_success() {
            self.complain(&Undelivered::Answered(status.as_u16()));
        }
        Ok(Response::builder().status(status).body(body.into())?)
    }
}
