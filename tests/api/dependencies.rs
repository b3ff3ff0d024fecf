//! What the program is made of, where `.deny.toml` cannot tell it from its tests.

use std::process::Command;

/// What only tests and the sandbox may be made with.
const FOR_TESTS: [&str; 4] = ["maxconf-simulators", "rcgen", "stateright", "tempfile"];

/// The packages that cargo builds for these kinds of dependencies, by the lock file. Cargo downloads those of the
/// workspace that building these tests did not need.
fn packages(of: &[&str], edges: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}"])
        .args(of)
        .args(["--edges", edges])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect()
}

#[test]
fn nothing_that_is_for_tests_only_is_in_the_program() {
    let program = packages(&["--package", "maxconf"], "normal,build");
    let with_tests = packages(&["--workspace"], "normal,build,dev");
    for name in FOR_TESTS {
        assert!(with_tests.iter().any(|package| package == name), "{name} is not used any more");
        assert!(!program.iter().any(|package| package == name), "{name} is in the program");
    }
}
