//! An OpenTelemetry collector: accepts and stores traces and metrics (OTLP over HTTP with Protobuf).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{Span, status};
use prost::Message;
use url::Url;

use crate::simulator::{Simulator, System};

/// Attributes or labels, as text.
pub type Words = BTreeMap<String, String>;

/// A collector on loopback that stores what it receives.
pub type CollectorSimulator = Simulator<Kept>;

/// What a collector has received.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Received>);

#[derive(Debug, Default)]
struct Received {
    spans: Vec<ReceivedSpan>,
    points: Vec<ReceivedPoint>,
    /// All bodies in the order of their arrival.
    bytes: Vec<u8>,
}

/// A received span.
#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    pub name: String,
    /// `server`, `client` or, for other kinds, the protocol's number.
    pub kind: String,
    /// In hexadecimal, as in W3C Trace Context.
    pub trace: String,
    pub id: String,
    /// Empty for a root span.
    pub parent: String,
    pub attributes: Words,
    pub failed: bool,
    pub events: usize,
}

/// A received point of a metric. Sums and histograms cover the time since the last report.
#[derive(Clone, Debug)]
pub struct ReceivedPoint {
    pub metric: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub unit: String,
    pub labels: Words,
    /// The value; for a histogram its sum.
    pub value: f64,
    /// Number of measurements; 1 for gauges and counters.
    pub count: u64,
    /// Attributes of the sending process.
    pub resource: Words,
}

impl CollectorSimulator {
    /// Address of the collector: the value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> Url {
        self.server.url()
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.system.received().spans.clone()
    }

    /// The points of all metrics so far.
    pub fn points(&self) -> Vec<ReceivedPoint> {
        self.system.received().points.clone()
    }

    /// All received bodies as text: Protobuf contains strings unencoded.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.system.received().bytes).into_owned()
    }
}

impl System for Kept {
    fn router(self: &Arc<Self>) -> Router {
        let router = Router::new().route("/v1/traces", post(take_traces)).route("/v1/metrics", post(take_metrics));
        router.with_state(Arc::clone(self))
    }
}

impl Kept {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take_traces(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(sent) = read::<ExportTraceServiceRequest>(&headers, &body) else { return refusal() };
    let mut received = kept.received();
    received.bytes.extend_from_slice(&body);
    let spans = sent.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    received.spans.extend(spans.flat_map(|scope| scope.spans).map(ReceivedSpan::from));
    taken()
}

async fn take_metrics(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(sent) = read::<ExportMetricsServiceRequest>(&headers, &body) else { return refusal() };
    let mut received = kept.received();
    received.bytes.extend_from_slice(&body);
    for resource in sent.resource_metrics {
        let source = resource.resource.map(|resource| words(resource.attributes)).unwrap_or_default();
        for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            received.points.extend(points(metric, &source));
        }
    }
    taken()
}

/// Refuses everything but Protobuf of the right message, as collectors do.
fn read<T: Message + Default>(headers: &HeaderMap, body: &[u8]) -> Option<T> {
    let kind = headers.get(header::CONTENT_TYPE)?;
    (kind == "application/x-protobuf").then(|| T::decode(body).ok())?
}

fn refusal() -> Response {
    StatusCode::BAD_REQUEST.into_response()
}

/// The empty message: everything was accepted.
fn taken() -> Response {
    ([(header::CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response()
}

impl From<Span> for ReceivedSpan {
    fn from(span: Span) -> Self {
        let kind = match span.kind {
            2 => "server".to_owned(),
            3 => "client".to_owned(),
            other => other.to_string(),
        };
        let failed = span.status.as_ref().is_some_and(|status| status.code() == status::StatusCode::Error);
        Self {
            name: span.name,
            kind,
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            attributes: words(span.attributes),
            failed,
            events: span.events.len(),
        }
    }
}

fn points(metric: Metric, resource: &Words) -> Vec<ReceivedPoint> {
    let Metric { name, unit, data, .. } = metric;
    let point = |kind, labels, value, count| ReceivedPoint {
        metric: name.clone(),
        kind,
        unit: unit.clone(),
        labels: words(labels),
        value,
        count,
        resource: resource.clone(),
    };
    let is_delta = |temporality: i32| temporality == AggregationTemporality::Delta as i32;
    let number = |kind| move |it: NumberDataPoint| (kind, value(it.value), it.attributes);
    match data {
        Some(metric::Data::Gauge(gauge)) => {
            let points = gauge.data_points.into_iter().map(number("gauge"));
            points.map(|(kind, value, labels)| point(kind, labels, value, 1)).collect()
        }
        Some(metric::Data::Sum(sum)) if is_delta(sum.aggregation_temporality) && sum.is_monotonic => {
            let points = sum.data_points.into_iter().map(number("counter"));
            points.map(|(kind, value, labels)| point(kind, labels, value, 1)).collect()
        }
        Some(metric::Data::Histogram(histogram)) if is_delta(histogram.aggregation_temporality) => {
            let points = histogram.data_points.into_iter();
            points
                .map(|HistogramDataPoint { attributes, sum, count, .. }| {
                    point("histogram", attributes, sum.unwrap_or_default(), count)
                })
                .collect()
        }
        other => panic!("{name} has an unexpected type: {other:?}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "tests count to less than 2^52")]
fn value(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(number)) => number,
        Some(number_data_point::Value::AsInt(number)) => number as f64,
        None => 0.0,
    }
}

fn words(attributes: Vec<KeyValue>) -> Words {
    attributes.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
