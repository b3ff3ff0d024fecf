use std::path::PathBuf;

use tempfile::TempDir;

/// Certificates in a file, for a setting that names one; it lasts as long as this.
pub(crate) struct PemFile {
    path: PathBuf,
    _folder: TempDir,
}

impl PemFile {
    pub(crate) fn of(certificates: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Self { path: folder.path().join("ca.pem"), _folder: folder };
        file.replace(certificates);
        file
    }

    pub(crate) fn replace(&self, certificates: &str) {
        std::fs::write(&self.path, certificates).expect("a file");
    }

    /// As the setting has it.
    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }
}
