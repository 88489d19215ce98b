//! What the cache has done and holds, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of the cache's counters. Counts and byte sums are since the cache was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads answered from the disk alone.
    pub hits: u64,
    /// Reads that had to wait for at least one piece.
    pub misses: u64,
    /// Pieces fetched with success.
    pub pieces_fetched: u64,
    /// Their bytes.
    pub bytes_fetched: u64,
    /// Pieces that were fetched and could not be kept: no room, or the disk failed.
    pub pieces_not_kept: u64,
    /// Entries evicted to make room.
    pub evictions: u64,
    /// Failures of the cache's disk.
    pub disk_errors: u64,
    /// Small contents that were not what they should be when they were read, and were fetched anew.
    pub wrong_on_disk: u64,
    /// What the contents take on disk now, in bytes (4 KiB blocks).
    pub bytes_on_disk: u64,
    /// Of it, what belongs to open entries and cannot be evicted.
    pub bytes_open: u64,
    /// The limit for [`CacheStats::bytes_on_disk`].
    pub bytes_limit: u64,
    /// Entries that somebody has open.
    pub entries_open: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) pieces_fetched: AtomicU64,
    pub(super) bytes_fetched: AtomicU64,
    pub(super) pieces_not_kept: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) disk_errors: AtomicU64,
    pub(super) wrong_on_disk: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// The counted part of a snapshot.
    pub(super) fn snapshot(&self) -> CacheStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: get(&self.hits),
            misses: get(&self.misses),
            pieces_fetched: get(&self.pieces_fetched),
            bytes_fetched: get(&self.bytes_fetched),
            pieces_not_kept: get(&self.pieces_not_kept),
            evictions: get(&self.evictions),
            disk_errors: get(&self.disk_errors),
            wrong_on_disk: get(&self.wrong_on_disk),
            ..CacheStats::default()
        }
    }
}
