//! What can go wrong with a workspace.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::repo::RepoError;
use crate::types::{PathError, RepoPath};

/// An error of a workspace. What a program did wrong (a name that exists, a directory that is not empty) is an errno as on every
/// file system; the others name the thing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// A rule of POSIX, or what the disk answered.
    #[error("{}: {}", path, io::Error::from_raw_os_error(*errno))]
    Errno {
        /// The path in the mount.
        path: RepoPath,
        /// What the program hears.
        errno: i32,
    },
    /// A path that cannot be.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Something on the disk is not what atfs has made of it.
    #[error("{path} in the workspace {dir}: {source}; look at it, and move it elsewhere to go on without it", dir = .dir.display())]
    Damaged {
        /// The path in the mount.
        path: RepoPath,
        /// The workspace.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The workspace itself cannot be made or opened.
    #[error("cannot {action} the workspace {}: {source}", .dir.display())]
    Directory {
        /// "make", "open".
        action: &'static str,
        /// Its directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The commit below could not answer.
    #[error("{path}: {source}")]
    Repo {
        /// The path in the mount.
        path: RepoPath,
        /// Why.
        source: Arc<RepoError>,
    },
}

impl WorkspaceError {
    /// The commit below could not answer about `path`.
    pub(super) fn repo(path: &RepoPath, source: RepoError) -> Self {
        Self::Repo { path: path.clone(), source: Arc::new(source) }
    }

    /// A rule of POSIX that `path` breaks.
    pub(super) fn errno(path: &RepoPath, errno: nix::errno::Errno) -> Self {
        Self::Errno { path: path.clone(), errno: errno as i32 }
    }
}
