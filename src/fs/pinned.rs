//! What a mount keeps in the cache although nobody has it open: what was fetched ahead to stay.
//!
//! Pins are the mount's own and end with it. Together those of all mounts may take three quarters of the cache: the rest
//! is left to whatever else is read on this machine.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cache::{Cache, Hold};

/// Bytes that are to be pinned and may not be on the disk yet, in this process.
static UNDER_WAY: AtomicU64 = AtomicU64::new(0);

/// The pins of a mount.
#[derive(Debug, Default)]
pub(super) struct Pinned(Mutex<HashSet<Hold>>);

impl Pinned {
    /// Keeps one entry more. One that is kept already is not kept twice.
    pub(super) fn add(&self, hold: Hold) {
        // One of the two is let go, without the lock, as that may delete files.
        let _twice = self.lock().replace(hold);
    }

    /// Whether it is kept already.
    pub(super) fn contains(&self, hold: &Hold) -> bool {
        self.lock().contains(hold)
    }

    /// Lets go of all. Says how many entries of the cache that were.
    #[expect(
        clippy::mutable_key_type,
        reason = "a hold is compared by the entry that it holds, which never changes"
    )]
    pub(super) fn clear(&self) -> usize {
        let all = std::mem::take(&mut *self.lock());
        all.len()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for pins whose bytes are being fetched. Given back with the value: by then they are on the disk and counted there.
#[derive(Debug)]
pub(super) struct Place(u64);

impl Place {
    /// Room for `bytes` more; `None` when so much may not be pinned.
    pub(super) fn ask(cache: &Cache, bytes: u64) -> Option<Self> {
        let place = Self(bytes);
        let under_way = UNDER_WAY.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let stats = cache.stats();
        (stats.bytes_held.saturating_add(under_way) <= stats.bytes_limit / 4 * 3).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(self.0, Ordering::Relaxed);
    }
}
