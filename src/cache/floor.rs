//! The part of the disk that stays free, whatever the limit says.
//!
//! The limit bounds what the cache takes; the floor bounds what it leaves. Nothing is written that would leave less, idle
//! entries make room instead, and when somebody else fills the disk they go for him as well: so much of them as brings
//! the floor back, and no more. It is a promise about our own writes; between two looks at the disk others may write what they like.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use super::blocks::BLOCK_BYTES;

/// The default: this part of the disk, but not more than [`DEFAULT_MOST`].
const DEFAULT_PART: u64 = 20;
const DEFAULT_MOST: u64 = 1 << 30;

/// A look at the disk is good for that long, less what was granted since. File systems give the blocks of deleted files
/// back a moment later, so looking more often would make more go than is needed.
const LOOK: Duration = Duration::from_secs(1);

/// What a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    /// In bytes.
    pub(super) total: u64,
    /// What we may still write of it, in bytes.
    pub(super) free: u64,
}

impl Disk {
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let stat = statvfs(dir).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
        Some(Self { total: bytes(stat.blocks()), free: bytes(stat.blocks_available()) })
    }
}

/// The floor of one cache directory.
#[derive(Debug)]
pub(super) struct Floor {
    dir: PathBuf,
    pub(super) bytes: u64,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    /// As the disk said, less what was granted, more what was deleted since.
    free: u64,
}

impl Floor {
    /// The floor of `bytes`, or the default one of the disk of `dir`.
    pub(super) fn new(dir: &Path, bytes: Option<u64>) -> Self {
        let default = || Disk::of(dir).map_or(0, |disk| (disk.total / DEFAULT_PART).min(DEFAULT_MOST));
        Self { dir: dir.to_path_buf(), bytes: bytes.unwrap_or_else(default), seen: Mutex::default() }
    }

    /// How many blocks are missing to grant `blocks` and leave the floor free. 0: they are granted.
    pub(super) fn ask(&self, blocks: u64) -> u64 {
        if self.bytes == 0 {
            return 0;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_none_or(|seen| seen.at.elapsed() >= LOOK) {
            // A disk that cannot be asked will say what it has to say when it is written to.
            let Some(disk) = Disk::of(&self.dir) else { return 0 };
            *seen = Some(Seen { at: Instant::now(), free: disk.free });
        }
        let Some(seen) = &mut *seen else { return 0 };
        let needed = self.bytes + blocks * BLOCK_BYTES;
        if seen.free >= needed {
            seen.free -= blocks * BLOCK_BYTES;
            return 0;
        }
        (needed - seen.free).div_ceil(BLOCK_BYTES)
    }

    pub(super) fn freed(&self, blocks: u64) {
        if let Some(seen) = &mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            seen.free += blocks * BLOCK_BYTES;
        }
    }

    pub(super) fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn grants_count_until_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let floor = Floor::new(dir.path(), Some(10 * BLOCK_BYTES));
        let see = |blocks: u64| {
            *floor.seen.lock().unwrap() = Some(Seen { at: Instant::now(), free: blocks * BLOCK_BYTES });
        };
        see(15);
        assert_eq!([3, 3, 2, 1].map(|blocks| floor.ask(blocks)), [0, 1, 0, 1]);
        floor.freed(1);
        assert_eq!(floor.ask(1), 0);
        see(4);
        assert_eq!(floor.ask(0), 6, "somebody else filled the disk");
        assert_eq!(Floor::new(dir.path(), Some(0)).ask(1 << 40), 0, "no floor");
    }

    #[test]
    fn the_default_is_a_part_of_the_disk_and_at_most_a_gibibyte() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::of(dir.path()).unwrap();
        assert_eq!(Floor::new(dir.path(), None).bytes, (disk.total / 20).min(1 << 30));
        assert!(disk.free <= disk.total);
    }
}
