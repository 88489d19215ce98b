//! Eviction: what is idle goes when its room is wanted, for a piece, for the floor, or for a write that found the disk full.
//!
//! Files are deleted outside the lock, and a block is counted as dying until its file is gone.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::accounts::Scan;
use super::blocks::BLOCK_BYTES;
use super::key::{Item, SlabKey};
use super::order::{Extent, Idle};
use super::room::Room;
use super::stats::Counters;
use super::touched::Touched;

/// A write that the disk refused for want of space is tried once more after that much was evicted: a full disk is full
/// for everybody, and the next pieces want room as well.
const SHED_BLOCKS: u64 = (64 << 20) / BLOCK_BYTES;

impl Room {
    /// Evicts idle entries of at least `blocks`, or all there are, whatever the limit says: the disk is full. Returns what
    /// went.
    pub(super) fn shed(&self, blocks: u64) -> u64 {
        let mut state = self.lock();
        let before = state.idle_blocks;
        let evicted = state.order.shrink_to(before.saturating_sub(blocks));
        state.die(&evicted);
        let went = before - state.idle_blocks;
        drop(state);
        self.bury(evicted);
        went
    }

    /// Whether `blocks` may be written: makes entries go for them if need be. Deletes files, so it may take its time.
    pub(super) fn leaves_floor(&self, blocks: u64) -> bool {
        match self.floor.ask(blocks) {
            0 => true,
            missing => {
                self.floor.freed(self.shed(missing));
                self.floor.ask(blocks) == 0
            }
        }
    }

    /// Looks at the disk, and gives back what others lack.
    pub(super) fn tend_floor(&self) {
        self.floor.forget();
        self.leaves_floor(0);
    }

    /// Runs `write`, and once more when the disk is full and something could be evicted for its `blocks`.
    pub(super) fn with_room_made<T>(&self, blocks: u64, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let done = match write() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                self.shed(SHED_BLOCKS.max(blocks));
                write()
            }
            done => done,
        };
        match &done {
            Ok(_) => self.health.kept(),
            Err(error) => self.health.failed(error),
        }
        done
    }

    /// Deletes what is on disk of an open entry that cannot be used any more. What cannot be deleted stays
    /// counted.
    pub(super) fn discard(&self, item: Item, gone: &Idle) {
        if self.delete(item, &gone.extent) {
            self.release(item, gone.blocks);
        }
    }

    /// Deletes evicted files and takes them off the accounts; a slab that is spared comes back. Not under the lock:
    /// deleting 100 GB takes ext4 seconds.
    pub(super) fn bury(&self, evicted: Vec<(Item, Idle)>) {
        if evicted.is_empty() {
            return;
        }
        let mut evicted = VecDeque::from(evicted);
        while let Some((item, idle)) = evicted.pop_front() {
            let spared = match (item, &idle.extent) {
                (Item::Slab(key), Extent::Slab(touched)) => self.spare(key, touched, idle.blocks),
                _ => None,
            };
            // Should somebody have fetched the same content anew in this moment, his file loses its name: he
            // reads on, and the next reader fetches again.
            let deleted = spared.is_none() && self.delete(item, &idle.extent);
            let mut state = self.lock();
            state.dying_blocks -= idle.blocks;
            if let Item::Slab(key) = item {
                state.dying_slabs.remove(&key);
            }
            match spared {
                Some(blocks) => {
                    state.idle_blocks += blocks;
                    let thrown_out = state.order.insert(item, Idle { blocks, extent: idle.extent });
                    state.die(&thrown_out);
                    evicted.extend(thrown_out);
                }
                None if deleted => Counters::add(&self.counters.evictions, 1),
                None => state.stuck_blocks += idle.blocks,
            }
        }
        self.note_freed();
    }

    /// The blocks that are left of a slab that is spared, of `blocks`.
    fn spare(&self, key: SlabKey, touched: &Arc<Touched>, blocks: u64) -> Option<u64> {
        // Most are not: without a look at the file.
        if touched.is_cold() {
            if touched.remembers_all() {
                self.unasked.note_in_vain(blocks * BLOCK_BYTES);
            }
            return None;
        }
        let slab = self.slabs.open(key, Arc::clone(touched), || self.layout.open_slab(&key)).ok()?;
        let spared = slab.spare(self);
        self.unasked.note_in_vain(spared.unread * BLOCK_BYTES);
        spared.left
    }

    fn delete(&self, item: Item, extent: &Extent) -> bool {
        let result = match (item, extent) {
            (Item::Slab(key), _) => {
                self.slabs.forget(&key);
                self.layout.delete_slab(&key)
            }
            (Item::Content(_), Extent::Partial(partial)) => self.layout.delete_partial(partial.number),
            (Item::Content(key), _) => {
                if let Scan::Running { deleted } = &mut self.lock().scan {
                    deleted.insert(key);
                }
                self.layout.delete_complete(&key)
            }
        };
        if let Err(error) = &result {
            self.report("delete", item, error);
        }
        result.is_ok()
    }
}
