//! What can go wrong with the state directory. Damage is not among it: what is damaged is rebuilt.

use std::io;
use std::path::Path;

/// An error of the state directory, naming the file or directory concerned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// No rights, or a read-only file system.
    #[error("cannot {action} {path}: {source}; atfs needs to write its state there")]
    Denied {
        /// What was tried, such as `write`.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk, or the user's quota, is full.
    #[error("cannot {action} {path}: {source}; free some space on that disk")]
    NoSpace {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl MetaError {
    /// The error for a failed `action` on `path`.
    pub(super) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let path = path.display().to_string();
        match source.kind() {
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Self::Denied { action, path, source },
            Kind::StorageFull | Kind::QuotaExceeded => Self::NoSpace { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }
}
