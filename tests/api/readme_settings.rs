//! The settings in the README are those of the program.

use std::fmt::Write;
use std::path::Path;

use maxconf::config::{Config, Default};

const BEGIN: &str = "<!-- settings:begin -->";
const END: &str = "<!-- settings:end -->";

#[test]
fn the_readme_lists_every_setting_with_its_default_and_meaning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap_or_default();

    let listed = readme.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(listed, _)| listed.trim());

    let expected = table();
    assert!(
        listed == Some(expected.trim()),
        "README.md does not list the settings as they are. Put there:\n\n{BEGIN}\n{expected}{END}\n"
    );
}

fn table() -> String {
    let mut table = "| Variable | Default | Meaning |\n| --- | --- | --- |\n".to_owned();
    for setting in Config::settings() {
        let default = match setting.default {
            Default::Value(value) => format!("`{value}`"),
            Default::Required | Default::Described(_) => plain(&setting.default.to_string()),
        };
        writeln!(table, "| `{}` | {default} | {} |", setting.name, plain(setting.meaning)).expect("text in memory");
    }
    table
}

/// Text in which Markdown sees nothing of its own.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|character| "\\`*<>|".contains(character).then_some('\\').into_iter().chain([character]))
        .collect()
}
