//! The machine that the tests run on.

use std::io::Write;

/// Says out loud what this machine has not got, and what the tests are going without because of it. On CI that is a
/// failure.
pub fn lacks(reason: &str, missed: &str) {
    let on_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!on_ci, "{reason}: {missed}");
    // Not by `eprintln!`: its text is only shown for tests that fail.
    let _ = writeln!(std::io::stderr(), "\n{reason}: {missed}\n");
}
