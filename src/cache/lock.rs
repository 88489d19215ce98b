//! The lock of a cache directory: one process serves it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::CacheError;
use super::files::open_read_only;

/// The lock is on a descriptor for reading, so that it does not keep an administrator from remounting the
/// disk read-only.
pub(super) fn take_lock(dir: &Path) -> Result<File, CacheError> {
    let path = dir.join("lock");
    let lock = match open_read_only(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .and_then(|_| open_read_only(&path))
        }
        other => other,
    };
    let mut lock = lock.map_err(|e| CacheError::dir("open", &path, e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            let pid = match pid.trim() {
                "" => "unknown".to_owned(),
                pid => pid.to_owned(),
            };
            return Err(CacheError::InUse { dir: dir.display().to_string(), pid });
        }
        Err(TryLockError::Error(e)) => return Err(CacheError::dir("lock", &path, e)),
    }
    let written = fs::write(&path, format!("{}\n", std::process::id()));
    written.map_err(|e| CacheError::dir("write", &path, e))?;
    Ok(lock)
}
