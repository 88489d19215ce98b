//! What `stat` shows of an entry.
//!
//! `nlink` of a directory is 1, which means "not counted" (as on btrfs): the tree does not know how many
//! subdirectories a directory has without reading its listing, and a wrong 2 makes programs that trust
//! `nlink - 2` skip subdirectories. `atime` and `ctime` show `mtime`: none of them is kept.

use std::time::{Duration, SystemTime};

use crate::format::{Entry, EntryKind, Mtime};

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
            mtime: system_time(entry.mtime),
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

/// The instant; one that this machine's clock cannot express becomes 1970.
pub(super) fn system_time(mtime: Mtime) -> SystemTime {
    let seconds = Duration::from_secs(mtime.seconds.unsigned_abs());
    let whole = if mtime.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(u64::from(mtime.nanos))))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_beyond_all_clocks() {
        let half_before = system_time(Mtime { seconds: -1, nanos: 500_000_000 });
        assert_eq!(
            SystemTime::UNIX_EPOCH.duration_since(half_before).expect("before"),
            Duration::from_millis(500)
        );
        for seconds in [i64::MIN, i64::MAX] {
            // Either expressed or 1970; never a panic.
            system_time(Mtime { seconds, nanos: 999_999_999 });
        }
    }
}
