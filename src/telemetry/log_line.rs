//! A line of the log: one JSON object per event. At its end are environment, slot and version, for queries over all
//! slots and builds.
//!
//! Own code, because tracing-subscriber's JSON copies a line in pieces of a few bytes and parses the span's fields
//! again for each: a seventh of the instructions of a read.

use std::fmt;

use serde::Serialize;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::VERSION;
use crate::config::Environment;

/// Longer than most lines.
const USUAL_LENGTH: usize = 1024;

/// Formats events: time, level, fields, target, span, labels.
pub(super) struct LogLine {
    /// `,"environment":…}`: the labels as the end of an object.
    end: String,
}

impl LogLine {
    pub(super) fn new(environment: Environment, slot: &str) -> Self {
        let labels = json!({ "environment": environment.as_str(), "slot": slot, "version": VERSION }).to_string();
        Self { end: labels.replacen('{', ",", 1) }
    }
}

impl<S> FormatEvent<S, JsonFields> for LogLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Line(Vec::with_capacity(USUAL_LENGTH));
        line.0.extend_from_slice(b"{\"timestamp\":");
        line.value(&time);
        line.member("level", event.metadata().level().as_str());
        event.record(&mut line);
        line.member("target", event.metadata().target());
        if let Some(span) = context.lookup_current() {
            let extensions = span.extensions();
            // An object, closed again behind the span's name.
            let fields = extensions.get::<FormattedFields<JsonFields>>().map_or("{}", |fields| fields.fields.as_str());
            line.0.extend_from_slice(b",\"span\":{\"name\":");
            line.value(span.name());
            let fields = fields.trim_start_matches('{').trim_end_matches('}');
            if !fields.is_empty() {
                line.0.push(b',');
                line.0.extend_from_slice(fields.as_bytes());
            }
            line.0.push(b'}');
        }
        to.write_str(str::from_utf8(&line.0).map_err(|_| fmt::Error)?)?;
        writeln!(to, "{}", self.end)
    }
}

/// A JSON object without its end.
struct Line(Vec<u8>);

impl Line {
    fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.0, value).expect("text, numbers and bools are JSON, and memory takes them");
    }

    fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.0.push(b',');
        self.value(name);
        self.0.push(b':');
        self.value(value);
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field.name(), &format!("{value:?}"));
    }
}
