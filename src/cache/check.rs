//! Reading contents again and comparing them with what was written: all at once ([`Room::verify`]), or one by one for the
//! background ([`super::scrub`]). What does not match is taken off the disk; whoever reads it next fetches it.
//!
//! Of slabs it only learns whether they can be read, since what they say is checked at each use. No file is held open between
//! two pieces: what is evicted meanwhile gives its blocks back at once.

use std::io;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::key::{EntryKey, Item};
use super::past_cache::{ALIGN, Reader};
use super::room::Room;
use super::stats::Counters;
use super::sums::Sum;

/// What a check of the whole cache has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verified {
    /// Whole contents that are what was written.
    pub right: u64,
    /// Whole contents that were not, and were taken off the disk.
    pub wrong: u64,
    /// Whole contents of an earlier boot, each piece of which is checked before it is used: not read here.
    pub unproven: u64,
    /// Slabs of small contents that could be read.
    pub slabs: u64,
    /// Slabs that could not, and were taken off the disk.
    pub slabs_unreadable: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that there were to read when it began.
    pub bytes_total: u64,
}

/// What was found of one file.
pub(super) enum Finding {
    Right,
    /// Why it is not to be used.
    Wrong(io::Error),
    /// It went away, or it was not to be looked at.
    Nothing,
    /// The caller had enough.
    Stopped,
}

impl Room {
    /// Reads everything and compares; calls `progress` after every piece, and stops when it says so.
    pub(super) fn verify(&self, mut progress: impl FnMut(&Verified) -> ControlFlow<()>) -> Verified {
        let mut seen = Verified { bytes_total: self.stats().bytes_on_disk, ..Verified::default() };
        let items = self.lock().all_items();
        for item in items {
            let mut pace = |bytes| {
                seen.bytes_read += bytes;
                progress(&seen)
            };
            let found = match item {
                Item::Content(key) => self.check_content(&key, &mut pace),
                Item::Slab(_) => self.check_slab(item, &mut pace),
            };
            match (found, item) {
                (Finding::Right, Item::Content(_)) => seen.right += 1,
                (Finding::Right, Item::Slab(_)) => seen.slabs += 1,
                (Finding::Wrong(_), Item::Content(_)) => seen.wrong += 1,
                (Finding::Wrong(_), Item::Slab(_)) => seen.slabs_unreadable += 1,
                (Finding::Nothing, Item::Content(key)) if self.layout.is_claim(&key) => seen.unproven += 1,
                (Finding::Nothing, _) => {}
                (Finding::Stopped, _) => break,
            }
        }
        seen
    }

    /// Reads a whole content and takes it off the disk if it is not what was written.
    pub(super) fn check_content(&self, key: &EntryKey, pace: &mut Pace<'_>) -> Finding {
        let finding = self.compare(key, pace);
        if let Finding::Wrong(error) = &finding {
            Counters::add(&self.counters.wrong_on_disk, 1);
            self.report("trust", key, error);
            self.distrust(*key);
        }
        finding
    }

    fn compare(&self, key: &EntryKey, pace: &mut Pace<'_>) -> Finding {
        let Some(content) = self.layout.checkable(key) else { return Finding::Nothing };
        let mut reader = Reader::default();
        for (piece, sum) in content.sums.pieces() {
            let mut hasher = blake3::Hasher::new();
            let read = match self.layout.open_to_check(key, &content) {
                Ok(Some(file)) => reader.read(&file, &piece, |bytes| _ = hasher.update(bytes)),
                Ok(None) => return Finding::Nothing,
                // Too many open files, say: nothing against the content.
                Err(error) if error.raw_os_error() != Some(libc::EIO) => return Finding::Nothing,
                Err(error) => Err(error),
            };
            match read {
                Ok(()) if Sum::of_hasher(&hasher) == sum => {}
                Ok(()) => {
                    let what =
                        format!("its bytes {}..{} are not those that were written", piece.start, piece.end);
                    return Finding::Wrong(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                Err(error) => return Finding::Wrong(error),
            }
            if pace(piece.end - piece.start).is_break() {
                return Finding::Stopped;
            }
        }
        Finding::Right
    }

    fn check_slab(&self, item: Item, pace: &mut Pace<'_>) -> Finding {
        let Item::Slab(key) = item else { return Finding::Nothing };
        let Ok(slab) = self.layout.open_slab_to_check(&key) else { return Finding::Nothing };
        let mut reader = Reader::default();
        let spans = match super::slab::present(&slab.file) {
            Ok(spans) => spans,
            Err(error) => return self.drop_slab(item, error),
        };
        for range in spans.ranges().map(|blocks| blocks.start * ALIGN..blocks.end * ALIGN) {
            match reader.read(&slab, &range, |_| ()) {
                Ok(()) => {}
                // Its last block is not full.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return self.drop_slab(item, error),
            }
            if pace(range.end - range.start).is_break() {
                return Finding::Stopped;
            }
        }
        Finding::Right
    }

    fn drop_slab(&self, item: Item, error: io::Error) -> Finding {
        self.report("read", item, &error);
        self.drop_idle(item);
        Finding::Wrong(error)
    }
}

/// Told how many bytes were read; says whether to go on.
pub(super) type Pace<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;
