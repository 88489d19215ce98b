//! The directory to mount on.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{FS_TYPE, MountError, MountTable, Unmount, is_dead, unmount};

/// Whether a mount point may hold files, which the mount would hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonEmpty {
    /// It must be empty.
    #[default]
    Refuse,
    /// It may hold files (`-o nonempty`).
    Allow,
}

/// A directory that can be mounted on: canonical, and nothing was mounted there when it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint(PathBuf);

impl MountPoint {
    /// Checks a directory. A dead atfs mount found there (its daemon was killed) is unmounted first.
    ///
    /// # Errors
    /// [`MountError`], saying what is wrong with the directory.
    pub fn check(path: &Path, non_empty: NonEmpty) -> Result<Self, MountError> {
        let canonical = canonical(path)?;
        while let Some(entry) = read_table()?.at(&canonical) {
            if entry.fs_type != FS_TYPE || !is_dead(&canonical) {
                return Err(MountError::AlreadyMounted {
                    path: canonical,
                    source_name: entry.source.clone(),
                    fs_type: entry.fs_type.clone(),
                });
            }
            unmount(&canonical, Unmount::Lazy)?;
        }
        let metadata = canonical.metadata().map_err(|e| missing_or("looking at", path, e))?;
        if !metadata.is_dir() {
            return Err(MountError::NotADirectory { path: path.into() });
        }
        if non_empty == NonEmpty::Refuse {
            let mut names = canonical.read_dir().map_err(|e| MountError::system("listing", path, e))?;
            if let Some(first) = names.next() {
                let name = first.map_err(|e| MountError::system("listing", path, e))?.file_name();
                return Err(MountError::NotEmpty {
                    path: path.into(),
                    example: name.to_string_lossy().into_owned(),
                });
            }
        }
        Ok(Self(canonical))
    }

    /// The canonical path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// The canonical path of a directory that may be a dead mount: then only its parent can be looked at.
///
/// # Errors
/// [`MountError::Missing`], or the parent could not be read.
pub fn canonical(path: &Path) -> Result<PathBuf, MountError> {
    match path.canonicalize() {
        Ok(canonical) => Ok(canonical),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(MountError::Missing { path: path.into() })
        }
        Err(error) => {
            let last: Option<&OsStr> = path.components().next_back().and_then(|last| match last {
                Component::Normal(name) => Some(name),
                _ => None,
            });
            let parent = match path.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => return Err(MountError::system("looking at", path, error)),
            };
            match (last, parent.canonicalize()) {
                (Some(name), Ok(parent)) => Ok(parent.join(name)),
                _ => Err(MountError::system("looking at", path, error)),
            }
        }
    }
}

pub(super) fn read_table() -> Result<MountTable, MountError> {
    MountTable::read().map_err(|e| MountError::system("reading", Path::new("/proc/self/mountinfo"), e))
}

fn missing_or(action: &'static str, path: &Path, error: io::Error) -> MountError {
    match error.kind() {
        io::ErrorKind::NotFound => MountError::Missing { path: path.into() },
        _ => MountError::system(action, path, error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_mounted_on() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, how| MountPoint::check(&dir.path().join(name), how);
        assert!(matches!(check("gone", NonEmpty::Refuse), Err(MountError::Missing { .. })));
        std::fs::write(dir.path().join("file"), "x").unwrap();
        assert!(matches!(check("file", NonEmpty::Refuse), Err(MountError::NotADirectory { .. })));
        let error = check("", NonEmpty::Refuse).unwrap_err();
        assert!(error.to_string().contains("not empty: it holds \"file\""), "{error}");
        assert!(check("", NonEmpty::Allow).is_ok());
        assert!(matches!(
            MountPoint::check(Path::new("/proc"), NonEmpty::Allow),
            Err(MountError::AlreadyMounted { fs_type, .. }) if fs_type == "proc"
        ));
    }

    #[test]
    fn links_are_followed_to_the_directory_itself() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let point = MountPoint::check(&dir.path().join("link"), NonEmpty::Refuse).unwrap();
        assert_eq!(point.path(), dir.path().canonicalize().unwrap().join("real"));
    }
}
