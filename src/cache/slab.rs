//! Slabs: small contents on disk, each where it lies in its pack.
//!
//! A slab is the local twin of a stretch of a pack: a sparse file that holds the stored bytes of the blobs that begin in
//! that stretch, at their own offsets. So a place in a pack names its bytes here without any index, ten million
//! images are some thousand files, and neighbours that came in one request lie together.
//!
//! **A slab only claims.** What it gives out is checked by the caller against the hash that he asked for, every time;
//! bytes that do not match count as absent and are fetched and written anew. So nothing needs to be known of how the
//! bytes got there: which blocks are present is asked of the file system itself (holes are absent), a kill or a
//! power cut in the middle of a write costs a fetch, and no write is flushed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};

use crate::types::Location;

use super::blocks::{BLOCK_BYTES, blocks, blocks_of};
use super::key::{Item, SlabKey};
use super::room::Room;
use super::touched::{LONGEST, PART_BYTES, PARTS, SLAB_BYTES, Touched};
use crate::types::Spans;

/// A use is noted in the order of eviction that often at most: more often tells nothing and costs a lock.
const TOUCH_MILLIS: u64 = 1000;

/// A slab's file, open for reading: it is opened to be written for each write, so that nothing keeps an administrator
/// from remounting the disk read-only.
#[derive(Debug)]
pub(super) struct Slab {
    key: SlabKey,
    file: File,
    /// The blocks that are present, or are being written.
    there: RwLock<Spans>,
    pub(super) touched: Arc<Touched>,
    opened: Instant,
    /// When a use was last noted, in milliseconds since `opened`, plus 1.
    noted: AtomicU64,
}

impl SlabKey {
    /// The slab and the bytes in it where the blob at `at` lies; `None` when it is no place for a small content.
    pub(super) fn of(at: &Location) -> Option<(Self, Range<u64>)> {
        let stretch = u32::try_from(at.offset / SLAB_BYTES).ok()?;
        let start = at.offset % SLAB_BYTES;
        let len = u64::from(at.len);
        (1..=LONGEST).contains(&len).then_some((Self { pack: at.pack, stretch }, start..start + len))
    }
}

impl Slab {
    /// The slab in `file`.
    ///
    /// # Errors
    /// The file system cannot tell what is in it.
    pub(super) fn new(key: SlabKey, file: File, touched: Arc<Touched>) -> io::Result<Self> {
        let there = RwLock::new(present(&file)?);
        Ok(Self { key, file, there, touched, opened: Instant::now(), noted: AtomicU64::new(0) })
    }

    fn there(&self) -> RwLockReadGuard<'_, Spans> {
        self.there.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn there_mut(&self) -> RwLockWriteGuard<'_, Spans> {
        self.there.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every block of `range` is present.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        self.there().covers(&blocks(range))
    }

    /// The bytes of `range`, unverified; `None` when they are not there or the disk fails.
    pub(super) fn read(&self, room: &Room, range: &Range<u64>) -> Option<Vec<u8>> {
        if !self.covers(range) {
            return None;
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        match self.file.read_exact_at(&mut bytes, range.start) {
            // It was cut down meanwhile.
            Ok(()) if !self.covers(range) => None,
            Ok(()) => {
                self.touched.note(range);
                self.note_use(room);
                Some(bytes)
            }
            // The file ends in the middle of its last block: another blob's.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => {
                room.report("read", self.key, &error);
                None
            }
        }
    }

    fn note_use(&self, room: &Room) {
        let now = self.opened.elapsed().as_millis() as u64 + 1;
        let noted = self.noted.load(Ordering::Relaxed);
        let due = noted == 0 || now - noted.min(now) >= TOUCH_MILLIS;
        if due && self.noted.compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            room.lock().order.touch(&Item::Slab(self.key));
        }
    }

    /// Notes that a content was read that came for a reader, not from here.
    pub(super) fn note_read(&self, range: &Range<u64>) {
        self.touched.note(range);
    }

    /// Writes verified bytes at `start`. The slab is pinned. `false`: they are not kept. Blocks.
    pub(super) fn store(&self, room: &Room, start: u64, bytes: &[u8]) -> bool {
        let item = Item::Slab(self.key);
        let range = start..start + bytes.len() as u64;
        let new = self.there().missing(&blocks(&range));
        if !room.reserve(item, new) {
            return false;
        }
        let write = || room.layout.create_slab(&self.key)?.write_all_at(bytes, start);
        let written = room.with_room_made(blocks_of(&range), write);
        if let Err(error) = written {
            room.release(item, new);
            room.report("write", self.key, &error);
            return false;
        }
        let mut there = self.there_mut();
        // A neighbour that shares a block may have been quicker.
        let added = there.missing(&blocks(&range));
        there.insert(blocks(&range));
        drop(there);
        if new > added {
            room.release(item, new - added);
        }
        true
    }

    /// The rule for a slab that is mostly cold, when its turn to be evicted has come: if parts of it were read, but less
    /// than half of what it holds, the rest is given back and it stays. Nobody has it pinned.
    ///
    /// The parts are forgotten, so that one that is not read again goes the next time.
    pub(super) fn spare(&self, room: &Room) -> Spared {
        let remembers_all = self.touched.remembers_all();
        let touched = self.touched.take();
        let mut there = self.there_mut();
        let of_part = |part: u64| blocks(&(part * PART_BYTES..(part + 1) * PART_BYTES));
        let is_warm = |part: &u64| touched >> part & 1 == 1;
        let held = there.count();
        let mut warm = Spans::default();
        for part in (0..PARTS).filter(is_warm) {
            warm.insert(of_part(part));
        }
        let kept = there.common(&warm);
        let unread = if remembers_all { held - kept } else { 0 };
        let left = (kept > 0 && kept * 2 < held).then(|| self.cut_down(room, &mut there, &warm)).flatten();
        Spared { left, unread }
    }

    /// Gives back all but `warm`; returns the blocks that are left, `None` if the file system cannot.
    fn cut_down(&self, room: &Room, there: &mut Spans, warm: &Spans) -> Option<u64> {
        let file = room.layout.create_slab(&self.key).ok()?;
        let end = SLAB_BYTES.div_ceil(BLOCK_BYTES).max(there.end());
        for gap in warm.gaps(0..end) {
            let (offset, len) = (gap.start * BLOCK_BYTES, (gap.end - gap.start) * BLOCK_BYTES);
            let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            // A file system without holes: then it goes as a whole.
            fallocate(&file, how, offset as i64, len as i64).ok()?;
            there.remove(gap);
        }
        Some(there.count())
    }
}

/// What became of a slab whose turn had come.
pub(super) struct Spared {
    /// The blocks that are left; `None`: evict it.
    pub(super) left: Option<u64>,
    /// The blocks of it that were never read.
    pub(super) unread: u64,
}

/// The blocks of a file that are no holes.
pub(super) fn present(file: &File) -> io::Result<Spans> {
    let mut there = Spans::default();
    let len = file.metadata()?.len() as i64;
    let mut at = 0;
    while at < len {
        let data = match lseek(file, at, Whence::SeekData) {
            Ok(data) => data,
            // Nothing but a hole behind here.
            Err(nix::errno::Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let hole = lseek(file, data, Whence::SeekHole)?;
        there.insert(blocks(&(data as u64..hole as u64)));
        at = hole;
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::types::PackId;

    fn at(offset: u64, len: u32) -> Location {
        Location { pack: PackId::from_bytes([7; 16]), offset, len }
    }

    #[test]
    fn a_blob_belongs_to_the_slab_that_it_begins_in() {
        let (key, range) = SlabKey::of(&at(SLAB_BYTES - 1, 1 << 20)).unwrap();
        assert_eq!((key.stretch, range), (0, SLAB_BYTES - 1..SLAB_BYTES - 1 + (1 << 20)));
        assert_eq!(SlabKey::of(&at(SLAB_BYTES, 5)).unwrap().1, 0..5);
        assert!(SlabKey::of(&at(0, 0)).is_none());
        assert!(SlabKey::of(&at(0, LONGEST as u32 + 1)).is_none());
        assert!(SlabKey::of(&at(u64::MAX, 1)).is_none());
    }

    #[test]
    fn holes_are_absent() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        assert_eq!(present(&file).unwrap(), Spans::default());
        file.write_all_at(&[1; 10_000], 3 * BLOCK_BYTES + 100).unwrap();
        assert_eq!(present(&file).unwrap(), Spans::of(3..6));
    }
}
