//! Counts the spans that a destination loses: `BatchSpanProcessor` drops spans when its queue is full, but does not
//! expose how many.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use super::destination::{Destination, ExportFailure};

/// Longest time that a span waits for others of its batch.
const BATCH_DELAY: Duration = Duration::from_secs(5);

/// Spans in the queue and in export; further spans are dropped. A span has one or two kilobytes.
const MOST_QUEUED: usize = 2048;

const LARGEST_BATCH: usize = 512;

/// A `BatchSpanProcessor` that counts. It never blocks a request.
#[derive(Debug)]
pub(super) struct CountingProcessor {
    batches: BatchSpanProcessor,
    destination: Destination,
}

impl CountingProcessor {
    pub(super) fn new(exporter: impl SpanExporter + 'static, destination: Destination) -> Self {
        // Every option is set: the library reads the others from the environment.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MOST_QUEUED)
            .with_max_export_batch_size(LARGEST_BATCH)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let exporter = CountingExporter { exporter, destination: destination.clone() };
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Self { batches, destination }
    }
}

impl SpanProcessor for CountingProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.destination.admit_span(MOST_QUEUED) {
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

/// The exporter of the batches.
#[derive(Debug)]
struct CountingExporter<E> {
    exporter: E,
    destination: Destination,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (spans, lost_before) = (batch.len(), self.destination.lost_spans());
        let sent = self.exporter.export(batch).await;
        self.destination.release_spans(spans, sent.is_ok());
        // A failed call has been logged already.
        if sent.is_ok() && self.destination.lost_spans() > lost_before {
            self.destination.log_failure(&ExportFailure::TooSlow);
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
