//! What can go wrong with the cache. Trouble with its disk is not among the errors of a read: those degrade
//! to the store.

use std::io;
use std::path::Path;

use super::FetchError;

/// An error of the cache, naming the directory or the content concerned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Another process serves this directory.
    #[error("the cache {dir} is in use by process {pid}; one daemon serves one cache directory")]
    InUse {
        /// The cache directory.
        dir: String,
        /// The process that has it, as it wrote itself down; `unknown` while it is just starting.
        pid: String,
    },
    /// The directory cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Dir {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The bytes are not in the cache and could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The fetcher broke its contract: a piece of the wrong place or length. Nothing of it was kept.
    #[error("content {content}: the piece at byte {offset} came as {what}")]
    BadPiece {
        /// The content, by the beginning of its identity.
        content: String,
        /// The byte that was wanted.
        offset: u64,
        /// What came instead.
        what: String,
    },
}

impl CacheError {
    pub(super) fn dir(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Dir { action, path: path.display().to_string(), source }
    }
}
