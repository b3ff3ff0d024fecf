//! Sets the git commit, and the version with it, for the build: for answers, the log and `--version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=MAXCONF_COMMIT");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    // A build outside a checkout gets its commit from the variable.
    #[expect(clippy::disallowed_methods, reason = "runs at build time")]
    let commit = std::env::var("MAXCONF_COMMIT").ok().or_else(commit_of_checkout);
    println!("cargo::rustc-env=MAXCONF_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=MAXCONF_VERSION={}", version(commit.as_deref()));
}

/// Cargo's version, with the commit as its build metadata (semver.org, 10): two builds of one version differ.
fn version(commit: Option<&str>) -> String {
    let cargo = env!("CARGO_PKG_VERSION");
    let start = commit.and_then(|commit| commit.get(..12)).filter(|start| start.bytes().all(|b| b.is_ascii_hexdigit()));
    start.map_or_else(|| cargo.to_owned(), |start| format!("{cargo}+{start}"))
}

fn commit_of_checkout() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !commit.trim().is_empty()).then(|| commit.trim().to_owned())
}
