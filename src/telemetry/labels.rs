//! Labels on every line of the log: environment, slot and version, for queries over all slots and builds.

use std::fmt;

use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::VERSION;
use crate::config::Environment;

/// Adds the labels to each JSON object that `F` writes.
pub(super) struct Labelled<F> {
    json: F,
    /// `,"environment":…}`: the labels as the end of an object.
    end: String,
}

impl<F> Labelled<F> {
    pub(super) fn new(json: F, environment: Environment, slot: &str) -> Self {
        let labels = json!({ "environment": environment.as_str(), "slot": slot, "version": VERSION }).to_string();
        Self { json, end: labels.replacen('{', ",", 1) }
    }
}

impl<S, N, F> FormatEvent<S, N> for Labelled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.json.format_event(context, Writer::new(&mut line), event)?;
        let object = line.trim_end().strip_suffix('}').ok_or(fmt::Error)?;
        writeln!(to, "{object}{}", self.end)
    }
}
