//! Small contents, by the place where they lie in a pack: what callers see of slabs.

use std::sync::Arc;

use crate::types::Location;

use super::Cache;
use super::key::{Item, SlabKey};
use super::stats::Counters;

impl Cache {
    /// The stored bytes at `at`, if the disk says that it has them. **Unverified**: the caller checks them against the hash
    /// that he wants, and takes them as absent when they do not match ([`Cache::small_was_wrong`]). Waits for the disk,
    /// never for the network.
    pub fn read_small(&self, at: &Location) -> Option<Vec<u8>> {
        let (key, range) = SlabKey::of(at)?;
        let bytes = self.room.slab(key)?.read(&self.room, &range)?;
        Counters::add(&self.counters().hits, 1);
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
        let Some(slab) = self.room.pin_slab(key) else { return false };
        let kept = slab.store(&self.room, range.start, stored);
        self.room.unpin(Item::Slab(key));
        let counters = self.counters();
        Counters::add(&counters.pieces_fetched, 1);
        Counters::add(&counters.bytes_fetched, stored.len() as u64);
        if !kept {
            Counters::add(&counters.pieces_not_kept, 1);
        }
        kept
    }

    /// Takes note that what [`Cache::read_small`] gave out was not what was asked for: a neighbour's block, a write that a
    /// power cut tore, or a disk that rots.
    pub fn small_was_wrong(&self) {
        Counters::add(&self.counters().wrong_on_disk, 1);
    }
}
