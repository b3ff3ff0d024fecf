//! The settings, the audit events and the metrics in the README are those of the program.

use std::fmt::Write;
use std::path::Path;

use maxconf::config::{Config, WhenUnset};
use maxconf::telemetry::audit::{Decision, FIELDS};
use maxconf::telemetry::metrics::{ALL, About};

#[test]
fn the_readme_lists_every_setting_with_its_default_and_meaning() {
    let mut table = "| Variable | Default | Meaning |\n| --- | --- | --- |\n".to_owned();
    for setting in Config::settings() {
        let default = match setting.default {
            WhenUnset::Value(value) => format!("`{value}`"),
            WhenUnset::LocalOnly(_) | WhenUnset::Required | WhenUnset::Described(_) => {
                plain(&setting.default.to_string())
            }
        };
        writeln!(table, "| `{}` | {default} | {} |", setting.name, plain(setting.meaning)).expect("text in memory");
    }
    assert_listed("settings", &table);
}

#[test]
fn the_readme_lists_every_audit_event_with_its_fields() {
    let mut table = "| Event | Recorded when | Fields |\n| --- | --- | --- |\n".to_owned();
    for decision in Decision::ALL {
        let fields = decision.fields().iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(" ");
        let (event, meaning) = (decision.as_str(), plain(decision.meaning()));
        writeln!(table, "| `{event}` | {meaning} | {fields} |").expect("text in memory");
    }
    table += "\n| Field | Holds |\n| --- | --- |\n";
    for (field, meaning) in FIELDS {
        writeln!(table, "| `{field}` | {} |", plain(meaning)).expect("text in memory");
    }
    assert_listed("audit", &table);
}

#[test]
fn the_readme_lists_every_metric_with_its_labels_and_meaning() {
    let mut table = "| Metric | Kind | Unit | Labels | Meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for About { name, kind, unit, labels, meaning } in ALL {
        let labels = labels.iter().map(|label| match label.values {
            [] => format!("`{}`", label.name),
            values => format!("`{}`: {}", label.name, values.join(", ")),
        });
        let labels = labels.collect::<Vec<_>>().join("; ");
        writeln!(table, "| `{name}` | {} | `{unit}` | {labels} | {} |", kind.as_str(), plain(meaning))
            .expect("text in memory");
    }
    assert_listed("metrics", &table);
}

/// Asserts that this stands in the README between the marks of this name.
#[track_caller]
fn assert_listed(name: &str, expected: &str) {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap_or_default();

    let listed = readme.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).map(|(listed, _)| listed.trim());

    assert!(
        listed == Some(expected.trim()),
        "README.md does not list the {name} as they are. Put there:\n\n{begin}\n{expected}{end}\n"
    );
}

/// Text in which Markdown sees nothing of its own.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|character| "\\`*<>|".contains(character).then_some('\\').into_iter().chain([character]))
        .collect()
}
