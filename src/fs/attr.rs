//! What `stat` shows of an entry.
//!
//! `nlink` of a directory is 1, which means "not counted" (as on btrfs): the tree does not know how many
//! subdirectories a directory has without reading its listing, and a wrong 2 makes programs that trust
//! `nlink - 2` skip subdirectories. `atime` and `ctime` show `mtime`: none of them is kept.

use std::time::SystemTime;

use crate::format::{Entry, EntryKind};

use super::inode::Ino;

/// Who owns what a mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// Shown instead of every stored uid.
    pub uid: Option<u32>,
    /// Shown instead of every stored gid.
    pub gid: Option<u32>,
    /// Who mounted: owns the directories that are no entries (roots, `.atfs`).
    pub mounter: (u32, u32),
}

/// What `stat` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// File, directory or symlink.
    pub kind: EntryKind,
    /// Permission bits, at most `0o1777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Last modification.
    pub mtime: SystemTime,
    /// Links.
    pub nlink: u32,
}

impl Attr {
    /// The attributes of an entry.
    pub fn of(ino: Ino, entry: &Entry, owner: Owner) -> Self {
        Self {
            ino,
            kind: entry.kind(),
            // setuid and setgid are never stored; a hostile tree that held them would not get them here either.
            mode: entry.mode & 0o1777,
            uid: owner.uid.unwrap_or(entry.uid),
            gid: owner.gid.unwrap_or(entry.gid),
            size: entry.size(),
            mtime: entry.mtime.to_system_time(),
            nlink: 1,
        }
    }

    /// The attributes of a directory that no entry stands for: a root, `.atfs`.
    pub fn of_directory(ino: Ino, owner: Owner, mtime: SystemTime) -> Self {
        Self {
            ino,
            kind: EntryKind::Directory,
            mode: 0o755,
            uid: owner.uid.unwrap_or(owner.mounter.0),
            gid: owner.gid.unwrap_or(owner.mounter.1),
            size: 0,
            mtime,
            nlink: 1,
        }
    }
}
