//! Why the daemon could not start, or did not do what a client asked.

use std::path::PathBuf;

use super::mount::MountError;
use super::protocol::Failure;

/// An error of the daemon or of talking to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The mount point, the device, mounting, unmounting.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The daemon refused or failed.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The daemon's folder cannot be used.
    #[error("{action} {}: {source}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another daemon holds the cache directory.
    #[error("another daemon already serves the cache directory {}", cache_dir.display())]
    Taken {
        /// The cache directory.
        cache_dir: PathBuf,
    },
    /// The daemon could not be started.
    #[error("the daemon could not be started: {reason}; its log is {}", log.display())]
    NotStarted {
        /// Why, as far as it is known.
        reason: String,
        /// Where to look.
        log: PathBuf,
    },
    /// The daemon does not answer.
    #[error("the daemon of {} does not answer: {source}", cache_dir.display())]
    NoAnswer {
        /// The cache directory.
        cache_dir: PathBuf,
        /// What happened on the socket.
        source: std::io::Error,
    },
    /// The daemon answered something else than was asked.
    #[error("the daemon of {} gave an answer that makes no sense here", cache_dir.display())]
    BadAnswer {
        /// The cache directory.
        cache_dir: PathBuf,
    },
    /// It was mounted and does not answer.
    #[error("the mount on {} does not answer: {reason}", path.display())]
    Unresponsive {
        /// The mount point.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
}
