//! What a mount has done: counters for `.atfs/stats`, `atfs mounts` and the tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one mount.
#[derive(Debug, Default)]
pub struct Stats {
    /// Names looked up.
    pub lookups: AtomicU64,
    /// Listings read (one count per buffer).
    pub listings: AtomicU64,
    /// Opens whose reads the daemon answers.
    pub opens_cached: AtomicU64,
    /// Opens whose reads the kernel does itself.
    pub opens_passthrough: AtomicU64,
    /// Reads that came to the daemon.
    pub reads: AtomicU64,
    /// Bytes those reads returned.
    pub bytes_read: AtomicU64,
    /// Requests that had to wait (for the network or the disk) and so left the FUSE thread.
    pub waited: AtomicU64,
    /// Requests answered with EIO.
    pub errors: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Stats {
    /// Every counter by name.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let counters = [
            ("lookups", &self.lookups),
            ("listings", &self.listings),
            ("opens_cached", &self.opens_cached),
            ("opens_passthrough", &self.opens_passthrough),
            ("reads", &self.reads),
            ("bytes_read", &self.bytes_read),
            ("waited", &self.waited),
            ("errors", &self.errors),
        ];
        counters.iter().map(|(name, counter)| ((*name).to_owned(), counter.load(Ordering::Relaxed))).collect()
    }
}
