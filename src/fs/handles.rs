//! What is open: handles that the kernel carries from an open to its reads and its release.
//!
//! A handle saves work and holds files in the cache; it is never needed to know what to read. A read with a handle of
//! an earlier daemon is served by its inode number alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Open things of one kind, by handle.
#[derive(Debug)]
pub(super) struct Handles<T> {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<T>>>,
}

impl<T> Handles<T> {
    /// None. Numbers begin at a place of their own, so that a handle of an earlier daemon is unlikely to meet one.
    pub(super) fn new() -> Self {
        let start = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .map_or(1, |since| since.as_micros() as u64);
        Self { next: AtomicU64::new(start << 8), open: Mutex::default() }
    }

    /// Opens.
    pub(super) fn add(&self, thing: Arc<T>) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(handle, thing);
        handle
    }

    /// What is open under this handle.
    pub(super) fn get(&self, handle: u64) -> Option<Arc<T>> {
        self.lock().get(&handle).cloned()
    }

    /// Releases.
    pub(super) fn remove(&self, handle: u64) -> Option<Arc<T>> {
        self.lock().remove(&handle)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<T>>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
