//! What the cache has done and holds, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Entries of one kind, and what they take on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holding {
    /// How many.
    pub entries: u64,
    /// In bytes (4 KiB blocks).
    pub bytes: u64,
}

/// What the cache holds, and what its disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheInfo {
    /// The counters.
    pub stats: CacheStats,
    /// Contents in files of their own, whole.
    pub whole: Holding,
    /// Contents in files of their own, of which some is there.
    pub partial: Holding,
    /// Small contents: slabs, each a stretch of a pack.
    pub small: Holding,
    /// What stays free on the disk, in bytes.
    pub floor_bytes: u64,
    /// What is free on the disk, in bytes; `None` when it cannot be asked.
    pub free_bytes: Option<u64>,
    /// What the disk has, in bytes; `None` when it cannot be asked.
    pub disk_bytes: Option<u64>,
}

/// What [`super::Cache::prune`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pruned {
    /// Bytes that were on disk before.
    pub bytes_before: u64,
    /// Bytes that are on disk now.
    pub bytes_on_disk: u64,
    /// Of them, what is open.
    pub bytes_open: u64,
    /// And what is held although nobody has it open.
    pub bytes_held: u64,
}

/// A snapshot of the cache's counters. Counts and byte sums are since the cache was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// Bytes that new versions of contents took from others on this disk: they are among those fetched, and did not cross the
    /// network.
    pub bytes_lent: u64,
    /// Pieces that were fetched and could not be kept: no room, or the disk failed.
    pub pieces_not_kept: u64,
    /// Entries evicted to make room.
    pub evictions: u64,
    /// Failures of the cache's disk.
    pub disk_errors: u64,
    /// Contents that were not on disk what had been written, and are fetched anew.
    pub wrong_on_disk: u64,
    /// What the contents take on disk now, in bytes (4 KiB blocks).
    pub bytes_on_disk: u64,
    /// Of it, what belongs to open entries and cannot be evicted.
    pub bytes_open: u64,
    /// The limit for [`CacheStats::bytes_on_disk`].
    pub bytes_limit: u64,
    /// Entries that somebody has open.
    pub entries_open: u64,
    /// Bytes on disk that are held although nobody has them open.
    pub bytes_held: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) pieces_fetched: AtomicU64,
    pub(super) bytes_fetched: AtomicU64,
    pub(super) bytes_lent: AtomicU64,
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
            bytes_lent: get(&self.bytes_lent),
            pieces_not_kept: get(&self.pieces_not_kept),
            evictions: get(&self.evictions),
            disk_errors: get(&self.disk_errors),
            wrong_on_disk: get(&self.wrong_on_disk),
            ..CacheStats::default()
        }
    }
}
