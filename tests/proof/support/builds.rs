use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use maxconf::telemetry::COMMIT;
use tempfile::TempDir;

use super::dice::variable;

/// The program under test.
pub(crate) const THIS_BUILD: &str = env!("CARGO_BIN_EXE_maxconf");

/// Another build of the service: the program that `MAXCONF_LAST_RELEASE` names, or else this build with another commit
/// written into it.
pub(crate) struct OtherBuild {
    program: PathBuf,
    _folder: Option<TempDir>,
}

impl OtherBuild {
    pub(crate) fn find() -> Self {
        if let Some(release) = variable("MAXCONF_LAST_RELEASE") {
            return Self { program: release.into(), _folder: None };
        }
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("maxconf");
        fs::write(&program, renamed(fs::read(THIS_BUILD).expect("it was built"))).expect("a writable file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a writable file");
        Self { program, _folder: Some(folder) }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }
}

fn renamed(mut program: Vec<u8>) -> Vec<u8> {
    // Any other text could occur in the program with another meaning.
    let is_commit = COMMIT.len() >= 12 && COMMIT.bytes().all(|digit| digit.is_ascii_hexdigit());
    assert!(is_commit, "built without its commit; name another build by MAXCONF_LAST_RELEASE");
    let (commit, other) = (COMMIT.as_bytes(), "0".repeat(COMMIT.len()));
    let offsets: Vec<_> = program.windows(commit.len()).enumerate().filter(|(_, bytes)| *bytes == commit).collect();
    let offsets: Vec<_> = offsets.into_iter().map(|(offset, _)| offset).collect();
    assert!(!offsets.is_empty(), "{COMMIT} is not in the program");
    for offset in offsets {
        program[offset..offset + commit.len()].copy_from_slice(other.as_bytes());
    }
    program
}
