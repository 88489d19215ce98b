//! Small contents, by the place where they lie in a pack: what callers see of slabs.

use std::ops::Range;
use std::sync::Arc;

use crate::types::Location;

use super::Cache;
use super::blocks::BLOCK_BYTES;
use super::key::{Item, SlabKey};
use super::stats::Counters;

/// Whether `bytes`, the `range` of a slab, are no more than what is not there: the first and the last block of a content are
/// there as soon as a neighbour is that shares them, with zeros in place of the content.
fn lacks_an_end(range: &Range<u64>, bytes: &[u8]) -> bool {
    let zero = |end: &[u8]| !end.is_empty() && end.iter().all(|byte| *byte == 0);
    let first = (range.start.next_multiple_of(BLOCK_BYTES) - range.start) as usize;
    let last = (range.end % BLOCK_BYTES) as usize;
    zero(&bytes[..first.min(bytes.len())]) || zero(&bytes[bytes.len().saturating_sub(last)..])
}

impl Cache {
    /// The stored bytes at `at`, if the disk says that it has them. **Unverified**: the caller checks them against the hash
    /// that he wants, and takes them as absent when they do not match ([`Cache::small_was_wrong`]). Waits for the disk,
    /// never for the network.
    pub fn read_small(&self, at: &Location) -> Option<Vec<u8>> {
        let (key, range) = SlabKey::of(at)?;
        let bytes = self.room.slab(key)?.read(&self.room, &range)?;
        Counters::add(&self.counters().hits, 1);
        self.room.unasked.note_read(at.len.into());
        Some(bytes)
    }

    /// Whether the disk says that it has the stored bytes at `at`. A hint, as everything that slabs say.
    pub fn holds_small(&self, at: &Location) -> bool {
        let place = SlabKey::of(at);
        place.and_then(|(key, range)| self.room.slab(key).map(|slab| slab.covers(&range))).unwrap_or(false)
    }

    /// Keeps the verified stored bytes at `at`. `true` if they are on disk now. Writes, so not for a thread that must not
    /// wait for the disk.
    pub fn keep_small(self: &Arc<Self>, at: &Location, stored: &[u8]) -> bool {
        let Some((key, range)) = SlabKey::of(at).filter(|_| stored.len() == at.len as usize) else {
            return false;
        };
        let kept = match self.room.pin_slab(key) {
            Some(slab) => {
                let kept = slab.store(&self.room, range.start, stored);
                self.room.unpin(Item::Slab(key));
                kept
            }
            None => false,
        };
        let unasked = &self.room.unasked;
        if !kept {
            unasked.note_in_vain(at.len.into());
        }
        unasked.note_came(at.len.into());
        let counters = self.counters();
        Counters::add(&counters.pieces_fetched, 1);
        Counters::add(&counters.bytes_fetched, stored.len() as u64);
        if !kept {
            Counters::add(&counters.pieces_not_kept, 1);
        }
        kept
    }

    /// Takes note that a program has read the content at `at`, which was fetched for it: it was not brought in vain.
    pub fn note_small_read(&self, at: &Location) {
        if let Some((key, range)) = SlabKey::of(at)
            && let Some(slab) = self.room.slab(key)
        {
            slab.note_read(&range);
            self.room.unasked.note_read(at.len.into());
        }
    }

    /// How many bytes around a small content that is fetched are worth bringing with it, at most [`super::LONGEST_STRETCH`]; 0 for
    /// none.
    pub fn worth_bringing(&self) -> u64 {
        self.room.unasked.limit()
    }

    /// Takes note that `stored`, which [`Cache::read_small`] gave out for `at`, was not what was asked for: a write that a
    /// power cut tore, or a disk that rots.
    pub fn small_was_wrong(&self, at: &Location, stored: &[u8]) {
        if !SlabKey::of(at).is_some_and(|(_, range)| lacks_an_end(&range, stored)) {
            Counters::add(&self.counters().wrong_on_disk, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbours_block_is_not_rot() {
        let at = |range: Range<u64>, zeros: Range<usize>| {
            let mut bytes = vec![7; (range.end - range.start) as usize];
            bytes[zeros].fill(0);
            lacks_an_end(&range, &bytes)
        };
        assert!(at(100..9000, 0..3996), "the first block is the one before's");
        assert!(at(100..9000, 8092..8900), "the last block is the next one's");
        assert!(at(100..200, 0..100), "all of it lies in another's");
        assert!(!at(100..9000, 0..3995) && !at(100..9000, 8093..8900), "a byte of it is there");
        assert!(!at(100..9000, 5000..6000), "no neighbour's");
        assert!(!at(4096..8192, 0..4096), "nobody shares its blocks");
    }
}
