//! Spans that wait for a destination: as many as fit, the rest is counted and dropped.
//!
//! The library drops by itself, but keeps the number of it to itself.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use super::destination::{Destination, NotTaken};

/// How long spans wait for others to be sent with.
const BETWEEN_BATCHES: Duration = Duration::from_secs(5);

/// Spans that wait, those on their way with them; more are dropped. Each has a kilobyte or two.
const MOST_WAITING: usize = 2048;

/// Spans that are sent at a time.
const LARGEST_BATCH: usize = 512;

/// What the requests leave their spans with; never waits for anything.
#[derive(Debug)]
pub(super) struct Waiting {
    batches: BatchSpanProcessor,
    destination: Destination,
}

impl Waiting {
    pub(super) fn new(exporter: impl SpanExporter + 'static, destination: Destination) -> Self {
        // All of it is said here: what is not, the library reads from the environment.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MOST_WAITING)
            .with_max_export_batch_size(LARGEST_BATCH)
            .with_scheduled_delay(BETWEEN_BATCHES)
            .build();
        let leaving = Leaving { exporter, destination: destination.clone() };
        let batches = BatchSpanProcessor::builder(leaving).with_batch_config(config).build();
        Self { batches, destination }
    }
}

impl SpanProcessor for Waiting {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.destination.may_wait(MOST_WAITING) {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// What takes spans out and sends them.
#[derive(Debug)]
struct Leaving<E> {
    exporter: E,
    destination: Destination,
}

impl<E: SpanExporter> SpanExporter for Leaving<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (spans, lost_before) = (batch.len(), self.destination.lost());
        let sent = self.exporter.export(batch).await;
        self.destination.left(spans, sent.is_ok());
        // Where the call failed, that was said.
        if sent.is_ok() && self.destination.lost() > lost_before {
            self.destination.complain(&NotTaken::TooSlow);
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
