//! The ingestion endpoint of an Application Insights resource: accepts and stores telemetry.
//!
//! Source: Azure Monitor, the schema of `v2/track`. Requests are gzipped JSON; answers count the accepted items.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::collector::Words;
use crate::simulator::{Simulator, System};

/// Largest accepted body; batches are smaller.
const LARGEST_BATCH: u64 = 16 * 1024 * 1024;

/// Instrumentation key: identifies the resource and authorises sending.
const INSTRUMENTATION_KEY: &str = "5ca1ab1e-feed-4bad-8bee-decafc0ffee0";

/// A resource's endpoint on loopback that stores what it receives. The real one uses https.
pub type ApplicationInsightsSimulator = Simulator<Resource>;

/// State of a resource.
#[derive(Debug, Default)]
pub struct Resource {
    received: Mutex<Received>,
}

#[derive(Debug, Default)]
struct Received {
    items: Vec<TrackedItem>,
    /// All bodies, decompressed, in the order of their arrival.
    text: String,
}

/// One envelope.
#[derive(Clone, Debug)]
pub struct TrackedItem {
    /// `RequestData`, `RemoteDependencyData` or `MetricData`.
    pub kind: String,
    /// Sender and operation.
    pub tags: Words,
    /// The column `Properties` of the resource's tables.
    pub properties: Words,
    /// All of its data.
    pub data: Value,
}

impl ApplicationInsightsSimulator {
    /// Connection string: the value of `APPLICATIONINSIGHTS_CONNECTION_STRING`.
    pub fn connection_string(&self) -> String {
        let url = self.server.url();
        let application = "8d1c9b53-2f6e-4a70-b1a4-6f0a5f2d3c4e";
        format!(
            "InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={url};LiveEndpoint={url};ApplicationId={application}"
        )
    }

    /// Instrumentation key: identifies the resource and authorises sending.
    pub fn instrumentation_key(&self) -> &'static str {
        INSTRUMENTATION_KEY
    }

    /// The items so far.
    pub fn items(&self) -> Vec<TrackedItem> {
        self.system.received().items.clone()
    }

    /// All received bodies as text.
    pub fn text(&self) -> String {
        self.system.received().text.clone()
    }
}

impl System for Resource {
    fn router(self: &Arc<Self>) -> Router {
        Router::new().route("/v2/track", post(track)).with_state(Arc::clone(self))
    }
}

impl Resource {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts the whole batch, or nothing if one envelope is for another resource.
async fn track(State(resource): State<Arc<Resource>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(text) = unpacked(&headers, &body) else { return answer(StatusCode::BAD_REQUEST, 0, 0) };
    let envelopes: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let items: Option<Vec<_>> = envelopes.iter().map(item).collect();
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return answer(StatusCode::BAD_REQUEST, envelopes.len(), 0);
    };
    let count = items.len();
    let mut received = resource.received();
    received.items.extend(items);
    received.text += &text;
    answer(StatusCode::OK, count, count)
}

fn answer(status: StatusCode, received: usize, accepted: usize) -> Response {
    let refused = json!({ "index": 0, "statusCode": status.as_u16(), "message": "Invalid instrumentation key" });
    let errors = if accepted < received { vec![refused] } else { vec![] };
    (status, Json(json!({ "itemsReceived": received, "itemsAccepted": accepted, "errors": errors }))).into_response()
}

/// Refuses everything but gzipped JSON.
fn unpacked(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let is = |name, value| headers.get(name).is_some_and(|given| given == value);
    if !is(header::CONTENT_TYPE, "application/json") || !is(header::CONTENT_ENCODING, "gzip") {
        return None;
    }
    let mut text = String::new();
    GzDecoder::new(body).take(LARGEST_BATCH).read_to_string(&mut text).ok()?;
    Some(text)
}

/// An envelope for this resource with all required members.
fn item(envelope: &Value) -> Option<TrackedItem> {
    let data = &envelope["data"];
    let is_whole = envelope["iKey"] == INSTRUMENTATION_KEY
        && envelope["name"].as_str()?.starts_with("Microsoft.ApplicationInsights.")
        && envelope["time"].as_str()?.ends_with('Z')
        && data["baseData"]["ver"] == 2;
    is_whole.then(|| TrackedItem {
        kind: data["baseType"].as_str().unwrap_or_default().to_owned(),
        tags: words(&envelope["tags"]),
        properties: words(&data["baseData"]["properties"]),
        data: data["baseData"].clone(),
    })
}

fn words(object: &Value) -> Words {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let entries = object.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), text(value))).collect::<BTreeMap<_, _>>()
}
