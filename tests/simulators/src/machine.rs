//! The machine that the tests run on.

use std::io::Write;

/// Reports what this machine lacks and which tests are skipped because of it. On CI that is a failure.
pub fn report_missing(reason: &str, missed: &str) {
    let on_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!on_ci, "{reason}: {missed}");
    // Not by `eprintln!`: its output is only shown for failing tests.
    let _ = writeln!(std::io::stderr(), "\n{reason}: {missed}\n");
}
