//! One open content: the file that holds what there is of it, and the bytes that are in it.
//!
//! - A byte is marked as there only after the write that put it there has succeeded; nothing is ever
//!   unmarked or overwritten while the file is used. So a reader that finds a range marked may read it from
//!   the descriptor it found beside the marks, without a lock.
//! - When the last byte is there the file gets its name and the descriptor is replaced by a read-only one.
//! - What a power cut has made doubtful ([`Stage::Claim`]) has its name already, and no byte of it is marked. A reader who
//!   misses a byte has the piece around it compared with its sum; what matches is marked, what does not is written anew, into
//!   the same file. When every byte is marked it is complete again. So nothing is fetched that is there, nobody waits for
//!   more than he reads, and a second power cut finds a claim again.
//! - When the disk fails a read, the file is given up whole ([`Stage::Off`]): the bytes come from the store
//!   from then on.

mod fill;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::contents::Named;
use super::fetch::InFlight;
use super::key::{EntryKey, Item};
use super::order::{Extent, Idle, Known, Partial};
use super::room::Room;
use super::sums::{Sum, Sums};
use crate::types::Spans;

/// A content that somebody has open.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: EntryKey,
    known: Known,
    opened: OnceLock<()>,
    disk: RwLock<Disk>,
    /// Sums of a claim's pieces that nobody has compared yet. Held while one is, so that it is done once.
    claim: Mutex<Sums>,
    /// The pieces that are being fetched.
    pub(super) in_flight: InFlight,
}

#[derive(Debug)]
struct Disk {
    stage: Stage,
    spans: Spans,
    /// Of the pieces that are marked, until the file is complete.
    sums: Sums,
    /// `Some` while the stage is `Partial`, `Claim` or `Complete`.
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
    /// All of it may be there, under its name; what is marked is. The account has all of it.
    Claim(Access),
    /// All of it, under its name.
    Complete,
    /// The disk is not used for it any more, though this may still lie there.
    Off(Option<Extent>),
}

/// How a claim's file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Disk {
    /// Nothing, at this stage.
    fn nothing(stage: Stage) -> Self {
        Self { stage, spans: Spans::default(), sums: Sums::default(), file: None, blocks: 0 }
    }
}

impl Entry {
    pub(super) fn new(key: EntryKey, known: Known) -> Self {
        let disk = RwLock::new(Disk::nothing(Stage::Empty));
        let (claim, in_flight) = (Mutex::default(), InFlight::default());
        Self { key, known, opened: OnceLock::new(), disk, claim, in_flight }
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
            let (idle, counted) = match &self.known {
                Known::Nothing => return,
                Known::Idle(idle) => (idle.clone(), true),
                Known::Unknown => {
                    let blocks = room.layout.named_blocks(&self.key);
                    (Idle { blocks, extent: Extent::Complete }, false)
                }
            };
            let opened = match &idle.extent {
                Extent::Complete => room.layout.open_named(&self.key).map(|named| match named {
                    Named::Trusted(file) => {
                        (Stage::Complete, Spans::of(self.whole()), Sums::default(), Arc::new(file))
                    }
                    Named::Claim(file, sums) => {
                        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = sums;
                        (Stage::Claim(Access::Read), Spans::default(), Sums::default(), Arc::new(file))
                    }
                }),
                Extent::Partial(partial) => {
                    let Partial { number, spans, sums } = &**partial;
                    let file = room.layout.open_partial(*number).map(Arc::new);
                    file.map(|file| (Stage::Partial(*number), spans.clone(), sums.clone(), file))
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
                Ok((stage, spans, sums, file)) => {
                    let file = Some(file);
                    *self.disk_mut() = Disk { stage, spans, sums, file, blocks: idle.blocks };
                }
                Err(error) => self.not_opened(room, &idle, &error),
            }
        });
    }

    /// A file that should be there could not be opened.
    fn not_opened(&self, room: &Room, idle: &Idle, error: &io::Error) {
        room.report("open", self.key, error);
        match error.kind() {
            // Deleted behind our back, or not what its name says: as if it had never been there.
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData if room.layout.is_there() => {
                room.discard(self.item(), idle);
            }
            // Too many open files, no rights, the disk is away: nothing against the file, which stays for the next time.
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
                let (spans, sums) = (std::mem::take(&mut disk.spans), std::mem::take(&mut disk.sums));
                Some(Extent::Partial(Arc::new(Partial { number, spans, sums })))
            }
            // What was compared of a claim is compared again the next time: that costs no fetch.
            Stage::Complete | Stage::Claim(_) => Some(Extent::Complete),
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

    /// Whether what is missing may be on disk nevertheless: [`Entry::look_in_claim`] tells.
    pub(super) fn is_claim(&self) -> bool {
        matches!(self.disk().stage, Stage::Claim(_))
    }

    /// Marks what of `range` turns out to be what was written. Reads the disk and hashes, so not for a thread that must not
    /// wait.
    pub(super) fn look_in_claim(&self, room: &Room, range: &Range<u64>) {
        let mut unseen = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        for (piece, sum) in unseen.take_overlapping(range) {
            let file = {
                let disk = self.disk();
                match &disk.file {
                    Some(file) if !disk.spans.covers(&piece) => Arc::clone(file),
                    _ => continue,
                }
            };
            let mut bytes = vec![0; (piece.end - piece.start) as usize];
            match file.read_exact_at(&mut bytes, piece.start) {
                Ok(()) if Sum::of(&bytes) == sum => {
                    self.mark(room, &piece, sum, 0);
                }
                // It never got to the disk, and is fetched.
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => room.report("read", self.key, &error),
            }
        }
    }

    /// Takes the entry off the disk: what is marked cannot be read, or is not what was written.
    pub(super) fn give_up(&self, room: &Room) {
        let before = std::mem::replace(&mut *self.disk_mut(), Disk::nothing(Stage::Off(None)));
        let extent = match before.stage {
            Stage::Partial(number) => {
                let (spans, sums) = (Spans::default(), Sums::default());
                Extent::Partial(Arc::new(Partial { number, spans, sums }))
            }
            Stage::Complete | Stage::Claim(_) => Extent::Complete,
            Stage::Empty => return,
            // Another reader was quicker.
            Stage::Off(left) => {
                self.disk_mut().stage = Stage::Off(left);
                return;
            }
        };
        room.discard(self.item(), &Idle { blocks: before.blocks, extent });
    }
}
