//! Compares the inventory with the list embedded in the binary.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::path;

#[test]
#[ignore = "of a package that was made: infra/package runs it"]
fn the_inventory_names_all_that_is_in_the_binary() {
    let binary = path("MAXCONF_PACKAGE").join("maxconf");
    let embedded = auditable_info::audit_info_from_file(&binary, auditable_info::Limits::default());
    let embedded = embedded.expect("a binary with a list of what is in it");
    let text = fs::read_to_string(path("MAXCONF_INVENTORY")).expect("the inventory");
    let inventory: Value = serde_json::from_str(&text).expect("JSON");

    assert_eq!(inventory["bomFormat"], "CycloneDX");
    assert_eq!(inventory["metadata"]["component"]["name"], "maxconf");
    let listed: BTreeSet<_> = inventory["components"]
        .as_array()
        .expect("components")
        .iter()
        .map(|part| format!("{} {}", part["name"].as_str().expect("a name"), part["version"].as_str().expect("one")))
        .collect();
    let inside: Vec<_> = embedded.packages.iter().filter(|package| !package.root).collect();
    assert!(inside.len() > 100, "{} packages", inside.len());
    let missing: Vec<_> = inside
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .filter(|package| !listed.contains(package))
        .collect();
    assert!(missing.is_empty(), "not in the inventory: {missing:?}");
}
