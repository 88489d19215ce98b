//! What can go wrong behind a mount. [`super::errno`] turns it into what the kernel hears.

use std::sync::Arc;

use crate::cache::CacheError;
use crate::repo::RepoError;

use super::inode::Ino;

/// An error of a mounted tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// There is no such name. The only variant that a program sees as "does not exist".
    #[error("no such file or directory")]
    NotFound,
    /// A name or path beyond the limits.
    #[error("the name or path is too long")]
    NameTooLong,
    /// An inode number that means nothing in this mount.
    #[error("inode {0:?} does not exist in this mount")]
    Stale(Ino),
    /// Something other than a directory was asked for names.
    #[error("not a directory")]
    NotADirectory,
    /// A directory was read as a file.
    #[error("is a directory")]
    IsADirectory,
    /// Something other than a symlink was asked for its target.
    #[error("not a symbolic link")]
    NotASymlink,
    /// A change to a read-only mount.
    #[error("the mount is read-only")]
    ReadOnly,
    /// No such extended attribute.
    #[error("no such extended attribute")]
    NoAttribute,
    /// The kernel asked once more for what had failed after a long wait, and there was no answer soon.
    #[error("there is still no answer")]
    StillNoAnswer,
    /// The program that asked was killed or interrupted while it waited.
    #[error("interrupted")]
    Interrupted,
    /// The buffer for an extended attribute is too small.
    #[error("the buffer is too small")]
    BufferTooSmall,
    /// `name@prefix` where the prefix begins several commit ids.
    #[error("{0}")]
    Ambiguous(Box<RepoError>),
    /// More refs were looked up in one whole-repository mount than it has slots.
    #[error("{name} cannot be shown: {limit} refs were looked up in this mount already")]
    TooManyRefs {
        /// The directory's name.
        name: String,
        /// How many there can be.
        limit: usize,
    },
    /// A commit with more entries than inode numbers can tell apart.
    #[error("the entry with rank {rank} cannot be shown: inode numbers end at 2^44")]
    TooManyEntries {
        /// The rank.
        rank: u64,
    },
    /// The repository could not answer.
    #[error("{path}: {source}")]
    Repo {
        /// What was asked for: `address:path`.
        path: String,
        /// Why.
        source: Arc<RepoError>,
    },
    /// The cache could not answer.
    #[error("{path}: {source}")]
    Cache {
        /// What was asked for: `address:path`.
        path: String,
        /// Why.
        source: CacheError,
    },
}
