//! `maxconf reference`: the tables of settings, audit events and metrics in `infra/docs`, and `infra/metrics.json`,
//! written from the code that they describe.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use serde_json::{Map, Value, json};

use super::output;
use crate::config::{Config, WhenUnset};
use crate::telemetry::audit::{Decision, FIELDS};
use crate::telemetry::metrics::{ALL, About, SLOT};

/// Options of `maxconf reference`.
#[derive(Debug, Args)]
pub struct ReferenceCommand {
    /// Write the tables into the files below this folder (`infra`) instead of printing them.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} has no lines `<!-- {section}:begin -->` and `<!-- {section}:end -->`", path.display())]
    NoSection { path: PathBuf, section: &'static str },
    #[error(transparent)]
    Unwritten(#[from] output::Unwritten),
}

/// A part of a page that is generated: what stands between its begin and end marker.
struct Section {
    page: &'static str,
    name: &'static str,
    text: String,
}

/// Prints the tables, or writes them where `--write` says.
pub fn run(command: &ReferenceCommand) -> Result<u8, ReferenceError> {
    match &command.write {
        Some(folder) => {
            for (path, text) in files(folder)? {
                fs::write(&path, text).map_err(|error| ReferenceError::File { path, error })?;
            }
        }
        None => output::write(&sections().map(|section| section.text).join("\n"))?,
    }
    Ok(0)
}

/// Every file with generated parts, and the text that it should have. `folder` is `infra`.
pub fn files(folder: &Path) -> Result<Vec<(PathBuf, String)>, ReferenceError> {
    let pages = sections().into_iter().map(|section| section.page_in(folder));
    pages.chain([Ok((folder.join("metrics.json"), metrics_json()))]).collect()
}

fn sections() -> [Section; 3] {
    [
        Section { page: "docs/settings.md", name: "settings", text: settings() },
        Section { page: "docs/audit.md", name: "audit", text: audit() },
        Section { page: "docs/telemetry.md", name: "metrics", text: metrics() },
    ]
}

impl Section {
    /// The page below `folder` with this section brought up to date.
    fn page_in(&self, folder: &Path) -> Result<(PathBuf, String), ReferenceError> {
        let path = folder.join(self.page);
        let page = fs::read_to_string(&path).map_err(|error| ReferenceError::File { path: path.clone(), error })?;
        let (begin, end) = (format!("<!-- {}:begin -->\n", self.name), format!("<!-- {}:end -->", self.name));
        let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        let (before, after) =
            parts.ok_or_else(|| ReferenceError::NoSection { path: path.clone(), section: self.name })?;
        Ok((path, format!("{before}{begin}{}{end}{after}", self.text)))
    }
}

fn settings() -> String {
    let rows = Config::settings().map(|setting| {
        let default = match setting.default {
            WhenUnset::Value(value) => format!("`{value}`"),
            other => plain(&other.to_string()),
        };
        let secret = if setting.secret { "yes" } else { "" };
        [format!("`{}`", setting.name), default, secret.to_owned(), plain(setting.meaning)]
    });
    table(["Variable", "Default", "Secret", "Meaning"], rows)
}

fn audit() -> String {
    let events = Decision::ALL.map(|decision| {
        let fields = decision.fields().iter().map(|field| format!("`{field}`")).collect::<Vec<_>>();
        [format!("`{}`", decision.as_str()), plain(decision.meaning()), fields.join(" ")]
    });
    let fields = FIELDS.map(|(field, meaning)| [format!("`{field}`"), plain(meaning)]);
    format!("{}\n{}", table(["Event", "Recorded when", "Fields"], events), table(["Field", "Holds"], fields))
}

fn metrics() -> String {
    let rows = ALL.iter().map(|About { name, kind, unit, labels, meaning }| {
        let labels = labels.iter().map(|label| match label.values {
            [] => format!("`{}`", label.name),
            values => format!("`{}`: {}", label.name, values.join(", ")),
        });
        let labels = labels.collect::<Vec<_>>().join("; ");
        [format!("`{name}`"), kind.as_str().to_owned(), format!("`{unit}`"), labels, plain(meaning)]
    });
    table(["Metric", "Kind", "Unit", "Labels", "Meaning"], rows)
}

/// What the checks of alerts and dashboard need to know of each metric, one a line.
fn metrics_json() -> String {
    let lines = ALL.iter().map(|About { name, kind, labels, .. }| {
        let names = [SLOT].into_iter().chain(labels.iter().map(|label| label.name)).collect::<Vec<_>>();
        let mut metric = json!({ "kind": kind.as_str(), "labels": names });
        let values = labels.iter().filter(|label| !label.values.is_empty());
        let values: Map<_, Value> = values.map(|label| (label.name.to_owned(), json!(label.values))).collect();
        if !values.is_empty() {
            metric["values"] = values.into();
        }
        format!("  \"{name}\": {metric}")
    });
    format!("{{\n{}\n}}\n", lines.collect::<Vec<_>>().join(",\n"))
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: [&str; N]| format!("| {} |\n", cells.join(" | "));
    let rows = rows.into_iter().map(|row| line(row.each_ref().map(String::as_str)));
    [line(head), line(["---"; N])].into_iter().chain(rows).collect()
}

/// Escapes what Markdown would interpret.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|character| "\\`*<>|".contains(character).then_some('\\').into_iter().chain([character]))
        .collect()
}
