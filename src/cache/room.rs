//! Room on disk: who has how much of it, and the law that the limit holds.
//!
//! Everything the cache holds is in one of these sums, in blocks of 4 KiB, and a block is counted before it
//! is written and until after it is deleted:
//!
//! - **open**: entries that somebody has open; they are never evicted.
//! - **idle**: the others, in the order of their use (`order`).
//! - **dying**: evicted, the file not yet deleted.
//! - **stuck**: could not be deleted.
//!
//! [`Room::reserve`] grants a piece its blocks only while the sum stays within the limit, and evicts idle
//! entries until it does. When all that is left is open, it refuses: the piece is served and not kept. That
//! is also the right answer to a file larger than the cache, read from end to end again and again: a part
//! of it stays, where LRU would keep nothing. What must stay free of the disk is the second condition ([`super::floor`]).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::accounts::{Held, Open, Scan, State};
use super::blocks::BLOCK_BYTES;
use super::entry::Entry;
use super::floor::Floor;
use super::health::Watch;
use super::key::{EntryKey, Item, SlabKey};
use super::layout::Layout;
use super::mark::Fresh;
use super::order::{Extent, Idle, Known};
use super::slab::Slab;
use super::slabs::Slabs;
use super::stats::{CacheStats, Counters};
use super::trouble::Trouble;
use super::unasked::Unasked;

/// The part of the limit left to what the file system itself needs for the files: inodes, directories,
/// extents.
const OVERHEAD_PART: u64 = 256;

/// How long a piece waits for other threads' deletions before it is served without being kept.
const PATIENCE: Duration = Duration::from_secs(1);

/// The accounts, the open entries, and the idle ones.
pub(super) struct Room {
    pub(super) layout: Layout,
    pub(super) counters: Counters,
    pub(super) trouble: Trouble,
    /// What became of the last write.
    pub(super) health: Watch,
    /// What is to be marked as durable.
    pub(super) fresh: Fresh,
    pub(super) floor: Floor,
    limit_bytes: u64,
    /// The limit, less the file system's own part.
    pub(super) limit: u64,
    state: Mutex<State>,
    pub(super) changed: Condvar,
    freed: AtomicU64,
    /// The slabs whose files are open.
    pub(super) slabs: Slabs,
    pub(super) unasked: Unasked,
}

impl Room {
    pub(super) fn new(layout: Layout, limit_bytes: u64, floor: Floor) -> Self {
        let limit = (limit_bytes - limit_bytes / OVERHEAD_PART) / BLOCK_BYTES;
        let state = State::new(limit);
        Self {
            layout,
            counters: Counters::default(),
            trouble: Trouble::default(),
            health: Watch::default(),
            fresh: Fresh::default(),
            floor,
            limit_bytes,
            limit,
            state: Mutex::new(state),
            changed: Condvar::new(),
            freed: AtomicU64::new(0),
            slabs: Slabs::default(),
            unasked: Unasked::default(),
        }
    }

    /// How often room was freed, or may have been: what did not fit before may fit when this has changed.
    pub(super) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    pub(super) fn note_freed(&self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a content: it is not evicted until [`Room::unpin`] was called as often as this.
    pub(super) fn pin(&self, key: EntryKey) -> Arc<Entry> {
        let mut state = self.lock();
        if let Some(Open { held: Held::Content(entry), pins, .. }) = state.open.get_mut(&Item::Content(key)) {
            *pins += 1;
            return Arc::clone(entry);
        }
        let (blocks, known) = match state.order.take(&Item::Content(key)) {
            Some(idle) => (idle.blocks, Known::Idle(idle)),
            None if matches!(state.scan, Scan::Done) => (0, Known::Nothing),
            None => (0, Known::Unknown),
        };
        let entry = Arc::new(Entry::new(key, known));
        state.open(Item::Content(key), Held::Content(Arc::clone(&entry)), blocks);
        entry
    }

    /// Opens a slab to write into it, as [`Room::pin`] does; makes it if there is none. `None`: nothing can be written
    /// into it now. Reading needs no pin: [`Room::slab`].
    pub(super) fn pin_slab(&self, key: SlabKey) -> Option<Arc<Slab>> {
        let item = Item::Slab(key);
        let mut state = self.lock();
        if let Some(Open { held: Held::Slab(slab), pins, .. }) = state.open.get_mut(&item) {
            *pins += 1;
            return Some(Arc::clone(slab));
        }
        if !matches!(state.scan, Scan::Done) || state.dying_slabs.contains(&key) {
            return None;
        }
        let idle = state.order.take(&item);
        let blocks = idle.as_ref().map_or(0, |idle| idle.blocks);
        let touched = match idle {
            Some(Idle { extent: Extent::Slab(touched), .. }) => touched,
            _ => Arc::default(),
        };
        match self.slabs.open(key, touched, || {
            self.layout.create_slab(&key)?;
            self.layout.open_slab(&key)
        }) {
            Ok(slab) => {
                state.open(item, Held::Slab(Arc::clone(&slab)), blocks);
                Some(slab)
            }
            Err(error) => {
                // What it had is still counted, by its last account.
                state.idle_blocks -= blocks;
                state.stuck_blocks += blocks;
                drop(state);
                self.report("open", item, &error);
                None
            }
        }
    }

    /// The slab, to be read; `None` when there is none. It may be evicted meanwhile, which its reader does not notice.
    pub(super) fn slab(&self, key: SlabKey) -> Option<Arc<Slab>> {
        if let Some(known) = self.slabs.find(&key) {
            return known;
        }
        let touched = {
            let state = self.lock();
            if let Some(Open { held: Held::Slab(slab), .. }) = state.open.get(&Item::Slab(key)) {
                self.slabs.note(key, slab);
                return Some(Arc::clone(slab));
            }
            match state.order.touch(&Item::Slab(key)) {
                Some(Idle { extent: Extent::Slab(touched), .. }) => touched,
                _ => Arc::default(),
            }
        };
        match self.slabs.open(key, touched, || self.layout.open_slab(&key)) {
            Ok(slab) => Some(slab),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.slabs.note_absent(key);
                None
            }
            Err(error) => {
                self.report("open", key, &error);
                None
            }
        }
    }

    /// Notes one more opening of an entry that is open.
    pub(super) fn pin_again(&self, item: Item) {
        if let Some(open) = self.lock().open.get_mut(&item) {
            open.pins += 1;
        }
    }

    /// Closes an entry; the last one makes it idle, and the most recently used.
    pub(super) fn unpin(&self, item: Item) {
        let mut state = self.lock();
        let Some(open) = state.open.get_mut(&item) else { return };
        open.pins -= 1;
        if open.pins > 0 {
            return;
        }
        let Some(Open { held, blocks, .. }) = state.open.remove(&item) else { return };
        state.open_blocks -= blocks;
        let left = match &held {
            Held::Content(entry) => entry.close(),
            Held::Slab(slab) => Some(Extent::Slab(Arc::clone(&slab.touched))),
        };
        let evicted = match left {
            Some(extent) => {
                state.idle_blocks += blocks;
                let evicted = state.order.insert(item, Idle { blocks, extent });
                state.die(&evicted);
                evicted
            }
            // Nothing is on disk, or what is cannot be used nor deleted.
            None => {
                state.stuck_blocks += blocks;
                Vec::new()
            }
        };
        drop(state);
        self.note_freed();
        self.bury(evicted);
        // Its descriptor is closed here, outside the lock.
        drop(held);
    }

    /// Reserves `blocks` more for an open entry, evicting what must go for it. `false`: there is no room,
    /// keep nothing. Deletes files, so it may take its time.
    pub(super) fn reserve(&self, item: Item, blocks: u64) -> bool {
        let reserved = self.try_reserve(item, blocks);
        // While the directory is read nothing is kept, and that is no trouble.
        if !reserved && matches!(self.lock().scan, Scan::Done) {
            self.health.no_room();
        }
        reserved
    }

    fn try_reserve(&self, item: Item, blocks: u64) -> bool {
        if !self.leaves_floor(blocks) {
            return false;
        }
        let give_up = Instant::now() + PATIENCE;
        let mut state = self.lock();
        loop {
            if !matches!(state.scan, Scan::Done) {
                return false;
            }
            let kept = state.open_blocks + state.stuck_blocks + blocks;
            if kept > self.limit {
                return false;
            }
            let for_idle = self.limit - kept;
            if state.idle_blocks > for_idle {
                let mut evicted = state.order.shrink_to(for_idle);
                if evicted.is_empty() {
                    // Weights of more than 16 TiB are cut off in moka; the accounts are not.
                    evicted = state.order.shrink_to(0);
                    if evicted.is_empty() {
                        return false;
                    }
                }
                state.die(&evicted);
                drop(state);
                self.bury(evicted);
                state = self.lock();
                continue;
            }
            if state.idle_blocks + state.dying_blocks <= for_idle {
                let Some(open) = state.open.get_mut(&item) else { return false };
                open.blocks += blocks;
                state.open_blocks += blocks;
                return true;
            }
            // Another thread is deleting.
            let Some(wait) = give_up.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts `blocks` that an open entry was found to have.
    pub(super) fn charge(&self, item: Item, blocks: u64) {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&item) {
            open.blocks += blocks;
            state.open_blocks += blocks;
        }
    }

    /// Gives back blocks of an open entry that were not written, or are deleted.
    pub(super) fn release(&self, item: Item, blocks: u64) {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&item) {
            debug_assert!(open.blocks >= blocks, "released more than was reserved");
            let blocks = blocks.min(open.blocks);
            open.blocks -= blocks;
            state.open_blocks -= blocks;
        }
        drop(state);
        self.note_freed();
    }

    /// The counters and the accounts.
    pub(super) fn stats(&self) -> CacheStats {
        let state = self.lock();
        let all = state.open_blocks + state.idle_blocks + state.dying_blocks + state.stuck_blocks;
        CacheStats {
            bytes_on_disk: all * BLOCK_BYTES,
            bytes_open: state.open_blocks * BLOCK_BYTES,
            bytes_limit: self.limit_bytes,
            entries_open: state.open.len() as u64,
            bytes_held: state.order.held_blocks() * BLOCK_BYTES,
            ..self.counters.snapshot()
        }
    }

    /// Says that the disk refuses something.
    pub(super) fn report(&self, action: &str, what: impl std::fmt::Display, error: &io::Error) {
        self.trouble.report(&self.counters, action, what, error);
    }
}
