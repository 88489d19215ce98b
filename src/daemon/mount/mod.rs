//! Mounting and unmounting: the system calls, and what is checked before them.
//!
//! The process that mounts is not the one that serves. [`open_fuse`] opens `/dev/fuse` and mounts it; its
//! descriptor is then handed to the daemon. Between the two the mount point belongs to the [`FuseMount`]: dropping it
//! unmounts again, so whoever fails on the way leaves nothing behind.

mod fusermount;
mod open;
mod point;
mod table;
mod unmount;

pub use open::{Access, FuseMount, MountFlags, open_fuse};
pub use point::{MountPoint, NonEmpty, canonical};
pub use table::{Device, MountEntry, MountTable};
pub use unmount::{Unmount, holders, is_dead, unmount};

use std::path::{Path, PathBuf};

/// The type that mounts of atfs carry in the mount table.
pub const FS_TYPE: &str = "fuse.atfs";

/// Why a directory could not be mounted on or unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mount point does not exist.
    #[error("the mount point {} does not exist", path.display())]
    Missing {
        /// As given.
        path: PathBuf,
    },
    /// The mount point is no directory.
    #[error("the mount point {} is not a directory", path.display())]
    NotADirectory {
        /// As given.
        path: PathBuf,
    },
    /// Files would be hidden.
    #[error("the mount point {} is not empty: it holds {example:?}", path.display())]
    NotEmpty {
        /// As given.
        path: PathBuf,
        /// One name in it.
        example: String,
    },
    /// Something is mounted there.
    #[error("{source_name} ({fs_type}) is already mounted on {}", path.display())]
    AlreadyMounted {
        /// The mount point.
        path: PathBuf,
        /// What is mounted.
        source_name: String,
        /// Its type.
        fs_type: String,
    },
    /// Nothing of atfs is mounted there.
    #[error("no atfs is mounted on {}", path.display())]
    NotMounted {
        /// As given.
        path: PathBuf,
    },
    /// Files are in use.
    #[error("{} is busy{}", path.display(), by(holders))]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// Processes that were seen to use it: pid and command.
        holders: Vec<(u32, String)>,
    },
    /// `/dev/fuse` does not exist.
    #[error("{} does not exist: this kernel or container has no FUSE", path.display())]
    NoDevice {
        /// The device.
        path: PathBuf,
    },
    /// `/dev/fuse` may not be opened.
    #[error("{} may not be opened: {source}", path.display())]
    DeviceDenied {
        /// The device.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Mounting needs rights or a helper.
    #[error("mounting on {} is not permitted: it needs root (CAP_SYS_ADMIN) or the program fusermount3", path.display())]
    NotPermitted {
        /// The mount point.
        path: PathBuf,
    },
    /// Root may not mount here.
    #[error("mounting on {} is not permitted: root has no CAP_SYS_ADMIN here, as in most containers", path.display())]
    Confined {
        /// The mount point.
        path: PathBuf,
    },
    /// fusermount3 refused.
    #[error("fusermount3 could not handle {}: {message}", path.display())]
    Fusermount {
        /// The mount point.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// A system call failed.
    #[error("{action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl MountError {
    fn system(action: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::System { action, path: path.into(), source: source.into() }
    }
}

fn by(holders: &[(u32, String)]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let list: Vec<String> = holders.iter().map(|(pid, name)| format!("{name} (pid {pid})")).collect();
    format!(": in use by {}", list.join(", "))
}
