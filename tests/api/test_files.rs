//! A test file that no module declares is not compiled, so its tests would be missing unnoticed.

use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files that may hold the `mod` of what lies in this folder.
fn owners(folder: &Path) -> [PathBuf; 3] {
    [folder.join("main.rs"), folder.join("lib.rs"), folder.with_extension("rs")]
}

fn check(folder: &Path, orphans: &mut Vec<PathBuf>) {
    let modules: String =
        owners(folder).iter().filter(|owner| owner.exists()).map(|owner| read(owner)).collect::<Vec<_>>().join("\n");
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            check(&path, orphans);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !["main", "lib"].contains(&name.as_str())
            && !modules.lines().any(|line| line.ends_with(&format!("mod {name};")))
        {
            orphans.push(path);
        }
    }
}

/// Whether the simulators' package makes a program of this file.
fn manifest_names(path: &Path) -> bool {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulators");
    let manifest = read(&package.join("Cargo.toml"));
    path.strip_prefix(&package).is_ok_and(|file| manifest.contains(&format!("path = \"{}\"", file.display())))
}

#[test]
fn every_file_is_part_of_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = read(&root.join("Cargo.toml"));
    let mut orphans = Vec::new();
    assert!(read(&root.join("tests/model/Cargo.toml")).contains("path = \"main.rs\""), "tests/model is no target");
    for target in ["api", "bench", "cost", "model", "proof", "sandbox"] {
        let path = format!("path = \"tests/{target}/main.rs\"");
        assert!(target == "model" || manifest.contains(&path), "tests/{target} is no target");
        check(&root.join("tests").join(target), &mut orphans);
    }
    for folder in ["src", "tests/simulators/src", "tests/simulators/tests/wire"] {
        check(&root.join(folder), &mut orphans);
    }
    // A build script, and a program of its own.
    let others = |path: &PathBuf| path.ends_with("src/build.rs") || manifest_names(path);
    orphans.retain(|path| !others(path));
    assert!(orphans.is_empty(), "named by no `mod`: {orphans:?}");
}
