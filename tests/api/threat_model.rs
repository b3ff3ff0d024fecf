//! The threat model names tests; each of them exists.

use std::path::Path;

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = std::fs::read_to_string(root.join("infra/threat-model.md")).expect("the threat model");
    let named: Vec<_> = model.split('`').skip(1).step_by(2).filter(|code| code.contains(".rs")).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let (file, test) = name.split_once("::").unwrap_or((name, ""));
        let source = std::fs::read_to_string(root.join("tests").join(file)).unwrap_or_else(|_| panic!("no {file}"));
        assert!(test.is_empty() || source.contains(&format!("fn {test}(")), "{file} has no {test}");
    }
}
