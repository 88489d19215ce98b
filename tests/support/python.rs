//! The Python that runs `scripts/read-repo.py`, installed by `scripts/reader-python`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use super::required::or_skip;

/// The interpreter; `None` where it cannot be had.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(|| or_skip("read-repo.py", install())).as_deref()
}

/// Runs the reader: restores `revision` of the repository in the folder `repository` into the new folder `out`.
pub fn read_repo(python: &Path, repository: &Path, revision: &str, out: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/read-repo.py");
    Command::new(python).arg(script).arg(repository).arg(revision).arg(out).output().unwrap()
}

fn install() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/reader-python");
    let output = Command::new(&script)
        .arg("path")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("{}: {e}", script.display()))?;
    if !output.status.success() {
        return Err(format!("{} ended with {} (its output says why)", script.display(), output.status));
    }
    Ok(OsString::from_vec(output.stdout.trim_ascii_end().to_vec()).into())
}
