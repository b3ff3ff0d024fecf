//! Sets the git commit, and the version with it, for the build: for answers, the log and `--version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=MAXCONF_COMMIT");
    // In a linked worktree they are not in `.git`. A path that does not exist would build the crate each time.
    for path in ["HEAD", "refs/heads"].into_iter().filter_map(|path| git(&["rev-parse", "--git-path", path])) {
        println!("cargo::rerun-if-changed={path}");
    }
    // A build outside a checkout gets its commit from the variable.
    #[expect(clippy::disallowed_methods, reason = "runs at build time")]
    let commit = std::env::var("MAXCONF_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=MAXCONF_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=MAXCONF_VERSION={}", version(commit.as_deref()));
}

/// Cargo's version, with the commit as its build metadata (semver.org, 10): two builds of one version differ.
fn version(commit: Option<&str>) -> String {
    let cargo = env!("CARGO_PKG_VERSION");
    let start = commit.and_then(|commit| commit.get(..12)).filter(|start| start.bytes().all(|b| b.is_ascii_hexdigit()));
    start.map_or_else(|| cargo.to_owned(), |start| format!("{cargo}+{start}"))
}

/// What git prints about this checkout. `None` outside a checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !printed.trim().is_empty()).then(|| printed.trim().to_owned())
}
