//! What the program is made of: one of each, nothing that was decided against, nothing under a licence that binds us.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Packages that must not be in any build, each with the reason. A `*` at the end stands for any rest.
const UNWANTED: &[(&str, &str)] = &[
    ("openssl", "the one TLS library is rustls"),
    ("openssl-sys", "the one TLS library is rustls"),
    ("native-tls", "the one TLS library is rustls"),
    ("hyper-tls", "the one TLS library is rustls"),
    ("ring", "the one cryptography library is aws-lc-rs"),
    ("azure_storage_queues", "abandoned, writes credentials into its log; azure_storage_queue is the one"),
    ("azure_storage", "abandoned, as azure_storage_queues"),
    ("chrono", "time and httpdate are there"),
    ("dotenv*", "settings come from the environment alone"),
    ("maxconf-simulators", "for tests and the sandbox only"),
    ("rcgen", "for tests only"),
    ("tempfile", "for tests only"),
];

/// Libraries whose second version would be a second stack: more to patch, and types that do not fit.
const ONE_OF_EACH: &[&str] = &[
    "aws-lc-rs",
    "axum",
    "azure_core",
    "http",
    "hyper",
    "jsonwebtoken",
    "reqwest",
    "rustls",
    "serde",
    "tokio",
    "tower",
];

/// Licences that ask for no more than that they are named.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// What cargo builds for these arguments, as the lock file has it and without the network.
fn packages(arguments: &[&str]) -> BTreeSet<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}|{l}"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let packages: BTreeSet<_> = text.lines().filter(|line| !line.is_empty()).map(package).collect();
    assert!(packages.len() > 100, "the packages were found: {packages:?}");
    packages
}

/// A line such as `serde v1.0.228 (proc-macro)|MIT OR Apache-2.0 (*)`.
fn package(line: &str) -> Package {
    let (package, licence) = line.split_once('|').unwrap_or_else(|| panic!("not as asked for: {line}"));
    let mut words = package.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("not as asked for: {line}")).to_owned();
    Package { name: word(), version: word(), licence: licence.trim_end_matches(" (*)").to_owned() }
}

fn production() -> BTreeSet<Package> {
    packages(&["--package", "maxconf", "--edges", "normal"])
}

#[test]
fn nothing_unwanted_is_in_the_program() {
    let unwanted = |name: &str| {
        UNWANTED.iter().find(|(unwanted, _)| match unwanted.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *unwanted,
        })
    };
    for Package { name, version, .. } in production() {
        assert_eq!(unwanted(&name), None, "{name} {version}");
    }
}

#[test]
fn tests_and_build_bring_no_second_tls_or_cryptography_either() {
    for Package { name, version, .. } in packages(&["--workspace", "--edges", "normal,build,dev"]) {
        let second = ["openssl", "openssl-sys", "native-tls", "ring", "azure_storage_queues"].contains(&name.as_str());
        assert!(!second, "{name} {version}");
    }
}

#[test]
fn there_is_one_version_of_what_the_program_stands_on() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Package { name, version, .. } in packages(&["--workspace", "--edges", "normal,build,dev"]) {
        versions.entry(name).or_default().insert(version);
    }
    for name in ONE_OF_EACH {
        let versions = versions.get(*name).unwrap_or_else(|| panic!("{name} is not used any more"));
        assert_eq!(versions.len(), 1, "{name} {versions:?}");
    }
}

#[test]
fn every_licence_in_the_program_is_one_that_asks_for_no_more_than_to_be_named() {
    for Package { name, version, licence } in production() {
        let ours = name == "maxconf" && licence == "LicenseRef-Proprietary";
        assert!(ours || is_allowed(&licence), "{name} {version}: {licence:?}");
    }
}

/// Whether an SPDX expression leaves us a choice that is allowed. `/` is how older packages write `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words) == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// `None` if the expression breaks off.
fn any_of(words: &mut Words<'_>) -> Option<bool> {
    let mut allowed = all_of(words)?;
    while words.next_if_eq(&"OR").is_some() {
        allowed |= all_of(words)?;
    }
    Some(allowed)
}

fn all_of(words: &mut Words<'_>) -> Option<bool> {
    let mut allowed = licence(words)?;
    while words.next_if_eq(&"AND").is_some() {
        allowed &= licence(words)?;
    }
    Some(allowed)
}

fn licence(words: &mut Words<'_>) -> Option<bool> {
    if words.next_if_eq(&"(").is_some() {
        let allowed = any_of(words);
        return words.next_if_eq(&")").and(allowed);
    }
    let allowed = LICENCES.contains(&words.next()?);
    if words.next_if_eq(&"WITH").is_some() {
        // An exception gives more rights, never fewer.
        words.next()?;
    }
    Some(allowed)
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    for allowed in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "ISC AND (GPL-2.0 OR MIT)", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT OR", "(MIT", "MIT MIT", "GPL-3.0 OR MIT AND LGPL-3.0"] {
        assert!(!is_allowed(refused), "{refused}");
    }
}
