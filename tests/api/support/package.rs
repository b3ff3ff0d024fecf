use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

/// A folder as the Functions host would unpack the package, with this program as the handler. Everything in it is a
/// link: a copy could still be open for writing in a process that another test is about to start.
pub(crate) fn unpacked(program: &Path) -> TempDir {
    let package = tempfile::tempdir().expect("a folder");
    let link = |from: &Path, name: &str| symlink(from, package.path().join(name)).expect("a link");
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("the repository") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a plain name");
        if name == "host.json" || name.starts_with("function_") {
            link(&entry.path(), &name);
        }
    }
    link(program, "maxconf");
    package
}
