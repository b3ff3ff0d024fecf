//! Third-party programs that run on Node.js, installed by `npm ci` in folders below `tests`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine;

/// The program `path` in the package folder `tests/<folder>`, if Node.js and the folder's packages are there.
///
/// Otherwise `missed` is reported: the tests that are skipped. On CI that is a failure.
pub fn program(folder: &str, path: &str, missed: &str) -> Option<PathBuf> {
    match find(folder, path) {
        Ok(program) => Some(program),
        Err(reason) => {
            machine::report_missing(&reason, missed);
            None
        }
    }
}

fn find(folder: &str, path: &str) -> Result<PathBuf, String> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    if !packages.join("node_modules/.package-lock.json").is_file() {
        return Err(format!("`npm ci` has not been run in tests/{folder}"));
    }
    let version = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    version.map_err(|error| format!("node cannot be run ({})", error.kind()))?;
    Ok(packages.join(path))
}
