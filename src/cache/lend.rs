//! What one content lends another: bytes of it that are on disk, for a new version that has them in common.
//!
//! Only what is there is lent: nothing is fetched for it. The borrower has a hash of his own for the bytes, so what is lent
//! need not be believed.

use std::ops::Range;
use std::sync::Arc;

use super::key::{ContentKey, EntryKey};
use super::stats::Counters;
use super::{Cache, MAX_PIECE_BYTES};

impl Cache {
    /// The bytes of `range` of the content `key` of `size` bytes, if all of them are on disk. The caller checks them against
    /// the hash that he wants, and says so when they are others ([`Cache::lent_wrong`]). Waits for the disk, never for the
    /// network.
    pub fn lend(self: &Arc<Self>, key: ContentKey, size: u64, range: Range<u64>) -> Option<Vec<u8>> {
        let len = range.end.checked_sub(range.start).filter(|len| (1..=MAX_PIECE_BYTES).contains(len))?;
        if range.end > size {
            return None;
        }
        let pin = self.pin(EntryKey { content: key, size });
        let entry = pin.entry();
        if entry.is_claim() {
            entry.look_in_claim(&self.room, &range);
        }
        // Before the bytes are allocated.
        entry.reach(range.start).filter(|end| *end >= range.end)?;
        let mut bytes = vec![0; len as usize];
        entry.read(&self.room, range.start, &mut bytes).then(|| {
            Counters::add(&self.counters().bytes_lent, len);
            bytes
        })
    }

    /// Takes note that what [`Cache::lend`] gave out of a content is not what was written: the content is taken off the disk,
    /// and its readers fetch it.
    pub fn lent_wrong(self: &Arc<Self>, key: ContentKey, size: u64) {
        Counters::add(&self.counters().wrong_on_disk, 1);
        self.pin(EntryKey { content: key, size }).entry().give_up(&self.room);
    }
}
