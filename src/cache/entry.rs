//! One open content: the file that holds what there is of it, and the bytes that are in it.
//!
//! - A byte is marked as there only after the write that put it there has succeeded; nothing is ever
//!   unmarked or overwritten while the file is used. So a reader that finds a range marked may read it from
//!   the descriptor it found beside the marks, without a lock.
//! - When the last byte is there the file gets its name and the descriptor is replaced by a read-only one.
//! - When the disk fails a read, the file is given up whole ([`Stage::Off`]): the bytes come from the store
//!   from then on.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::fetch::InFlight;
use super::key::{EntryKey, Item};
use super::order::{Extent, Idle, Partial};
use super::room::{Known, Room, blocks_of};
use super::spans::Spans;

/// A content that somebody has open.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: EntryKey,
    known: Known,
    opened: OnceLock<()>,
    disk: RwLock<Disk>,
    /// The pieces that are being fetched.
    pub(super) in_flight: InFlight,
}

#[derive(Debug)]
struct Disk {
    stage: Stage,
    spans: Spans,
    /// `Some` while the stage is `Partial` or `Complete`.
    file: Option<Arc<File>>,
    /// What the marked bytes are counted with; room that a piece has reserved and not yet filled is not
    /// among it.
    blocks: u64,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is on disk yet.
    Empty,
    /// Some of it, in the partial file of this number.
    Partial(u64),
    /// All of it, under its name.
    Complete,
    /// The disk is not used for it any more, though this may still lie there.
    Off(Option<Extent>),
}

impl Entry {
    pub(super) fn new(key: EntryKey, known: Known) -> Self {
        let disk = Disk { stage: Stage::Empty, spans: Spans::default(), file: None, blocks: 0 };
        Self { key, known, opened: OnceLock::new(), disk: RwLock::new(disk), in_flight: InFlight::default() }
    }

    fn disk(&self) -> RwLockReadGuard<'_, Disk> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk_mut(&self) -> RwLockWriteGuard<'_, Disk> {
        self.disk.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the accounts call it.
    pub(super) fn item(&self) -> Item {
        Item::Content(self.key)
    }

    fn whole(&self) -> Range<u64> {
        0..self.key.size
    }

    /// Opens the files that are known, once; every other method comes after it.
    pub(super) fn open(&self, room: &Room) {
        self.opened.get_or_init(|| {
            let whole = Idle { blocks: blocks_of(&self.whole()), extent: Extent::Complete };
            let (idle, counted) = match &self.known {
                Known::Nothing => return,
                Known::Idle(idle) => (idle, true),
                Known::Unknown => (&whole, false),
            };
            let opened = match &idle.extent {
                Extent::Complete => {
                    let file = room.layout.open_complete(&self.key);
                    file.map(|file| (Stage::Complete, Spans::of(self.whole()), file))
                }
                Extent::Partial(partial) => {
                    let file = room.layout.open_partial(partial.number);
                    file.map(|file| (Stage::Partial(partial.number), partial.spans.clone(), file))
                }
                // Not under the name of a content.
                Extent::Slab(_) => return,
            };
            if let Err(e) = &opened
                && e.kind() == io::ErrorKind::NotFound
                && !counted
            {
                return;
            }
            if !counted {
                room.charge(self.item(), idle.blocks);
            }
            match opened {
                Ok((stage, spans, file)) => {
                    let file = Some(Arc::new(file));
                    *self.disk_mut() = Disk { stage, spans, file, blocks: idle.blocks };
                }
                Err(error) => self.not_opened(room, idle, &error),
            }
        });
    }

    /// A file that should be there could not be opened.
    fn not_opened(&self, room: &Room, idle: &Idle, error: &io::Error) {
        room.report("open", self.key, error);
        match error.kind() {
            // Deleted behind our back, or not what its name says: as if it had never been there.
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData => room.discard(self.item(), idle),
            // Too many open files, no rights: nothing against the file, which stays for the next time.
            _ => self.disk_mut().stage = Stage::Off(Some(idle.extent.clone())),
        }
    }

    /// What there is on disk, for the time when nobody has it open. The last call on an entry.
    pub(super) fn close(&self) -> Option<Extent> {
        if self.opened.get().is_none() {
            return match &self.known {
                Known::Idle(idle) => Some(idle.extent.clone()),
                _ => None,
            };
        }
        let mut disk = self.disk_mut();
        match std::mem::replace(&mut disk.stage, Stage::Empty) {
            Stage::Empty => None,
            Stage::Partial(number) => {
                let spans = std::mem::take(&mut disk.spans);
                Some(Extent::Partial(Arc::new(Partial { number, spans })))
            }
            Stage::Complete => Some(Extent::Complete),
            Stage::Off(left) => left,
        }
    }

    /// How far the bytes from `offset` on are there; `None` when `offset` itself is not.
    pub(super) fn reach(&self, offset: u64) -> Option<u64> {
        self.disk().spans.reach(offset)
    }

    /// The first missing byte in `range`.
    pub(super) fn first_gap(&self, range: Range<u64>) -> Option<u64> {
        self.disk().spans.first_gap(range.start, range.end)
    }

    /// Whether every byte is there.
    pub(super) fn is_whole(&self) -> bool {
        self.disk().spans.covers(&self.whole())
    }

    /// The read-only descriptor of a complete file.
    pub(super) fn complete_file(&self) -> Option<Arc<File>> {
        let disk = self.disk();
        disk.file.clone().filter(|_| matches!(disk.stage, Stage::Complete))
    }

    /// Fills `buf` from `offset` if all of that is on disk. `false`: it is not, or the disk failed, and
    /// then nothing of this entry is on disk any more.
    pub(super) fn read(&self, room: &Room, offset: u64, buf: &mut [u8]) -> bool {
        let file = {
            let disk = self.disk();
            match &disk.file {
                Some(file) if disk.spans.covers(&(offset..offset + buf.len() as u64)) => Arc::clone(file),
                _ => return false,
            }
        };
        match file.read_exact_at(buf, offset) {
            Ok(()) => true,
            Err(error) => {
                room.report("read", self.key, &error);
                self.give_up(room);
                false
            }
        }
    }

    /// Takes the entry off the disk: what is marked cannot be read.
    fn give_up(&self, room: &Room) {
        let off = Disk { stage: Stage::Off(None), spans: Spans::default(), file: None, blocks: 0 };
        let before = std::mem::replace(&mut *self.disk_mut(), off);
        let extent = match before.stage {
            Stage::Partial(number) => Extent::Partial(Arc::new(Partial { number, spans: Spans::default() })),
            Stage::Complete => Extent::Complete,
            Stage::Empty => return,
            // Another reader was quicker.
            Stage::Off(left) => {
                self.disk_mut().stage = Stage::Off(left);
                return;
            }
        };
        room.discard(self.item(), &Idle { blocks: before.blocks, extent });
    }

    /// Writes a verified piece to disk and marks it; the last one completes the file. `false`: it is not
    /// kept. Blocks.
    pub(super) fn store(&self, room: &Room, range: &Range<u64>, bytes: &[u8]) -> bool {
        if matches!(self.disk().stage, Stage::Off(_)) {
            return false;
        }
        let blocks = blocks_of(range);
        if !room.reserve(self.item(), blocks) {
            return false;
        }
        match room.with_room_made(blocks, || self.write(room, range.start, bytes)) {
            Ok(true) => self.mark(room, range, blocks),
            Ok(false) => {
                room.release(self.item(), blocks);
                self.disk().spans.covers(range)
            }
            Err(error) => {
                room.release(self.item(), blocks);
                room.report("write", self.key, &error);
                false
            }
        }
    }

    /// Marks bytes that are written. `false` if the file was given up meanwhile.
    fn mark(&self, room: &Room, range: &Range<u64>, blocks: u64) -> bool {
        let last = {
            let mut disk = self.disk_mut();
            let Stage::Partial(number) = disk.stage else {
                let there = disk.spans.covers(range);
                drop(disk);
                room.release(self.item(), blocks);
                return there;
            };
            disk.blocks += blocks;
            // Only the mark that makes it whole completes it.
            let was_whole = disk.spans.covers(&self.whole());
            disk.spans.insert(range.clone());
            let whole = !was_whole && disk.spans.covers(&self.whole());
            whole.then_some(number).zip(disk.file.clone())
        };
        if let Some((number, file)) = last {
            self.complete(room, number, &file);
        }
        true
    }

    /// Writes into the partial file. `false`: there is none any more; the file was completed or given up.
    fn write(&self, room: &Room, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let Some(file) = self.partial_file(room)? else { return Ok(false) };
        file.write_all_at(bytes, offset)?;
        Ok(true)
    }

    /// The writable file, made at the first piece.
    fn partial_file(&self, room: &Room) -> io::Result<Option<Arc<File>>> {
        if let Disk { stage: Stage::Partial(_), file, .. } = &*self.disk() {
            return Ok(file.clone());
        }
        let mut disk = self.disk_mut();
        match disk.stage {
            Stage::Empty => {
                let (number, file) = room.layout.create_partial(self.key.size)?;
                disk.stage = Stage::Partial(number);
                disk.file = Some(Arc::new(file));
                Ok(disk.file.clone())
            }
            Stage::Partial(_) => Ok(disk.file.clone()),
            Stage::Complete | Stage::Off(_) => Ok(None),
        }
    }

    /// Gives the file its name. Only the thread that marked the last byte comes here.
    fn complete(&self, room: &Room, number: u64, file: &File) {
        let read_only = match room.layout.complete(number, file, &self.key) {
            Ok(read_only) => read_only,
            // Every byte is there and is read from the nameless file; only the next process will not find it.
            Err(error) => return room.report("keep", self.key, &error),
        };
        let exact = blocks_of(&self.whole());
        let before = {
            let mut disk = self.disk_mut();
            if !matches!(disk.stage, Stage::Partial(_)) {
                return;
            }
            disk.stage = Stage::Complete;
            disk.file = Some(Arc::new(read_only));
            std::mem::replace(&mut disk.blocks, exact)
        };
        // Neighbouring pieces that share a block were both counted with it.
        room.release(self.item(), before.saturating_sub(exact));
    }
}
