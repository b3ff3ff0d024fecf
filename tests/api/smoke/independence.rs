//! `maxconf smoke` uses none of the service's code, so that a mistake there cannot hide from it.

use std::fs;
use std::path::Path;

/// What smoke may import: what is common to the commands, the parsers of URLs and the type of an account, and the HTTP
/// client.
const ALLOWED: [&str; 3] = ["crate::cli::", "crate::config::", "crate::outbound::"];

#[test]
fn smoke_imports_nothing_of_the_service() {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let files =
        fs::read_dir(cli.join("smoke")).expect("the module's folder").map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = files.chain([cli.join("smoke.rs")]).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let code = fs::read_to_string(&file).expect("source code");
        for path in code.match_indices("crate::").map(|(at, _)| &code[at..]) {
            let line = path.lines().next().expect("a line");
            assert!(ALLOWED.iter().any(|allowed| path.starts_with(allowed)), "{}: {line}", file.display());
        }
        let above = code.matches("super::super::super").count();
        assert_eq!(above, 0, "{} leaves the module", file.display());
    }
}
