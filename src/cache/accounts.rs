//! The accounts: every block that the cache has is in exactly one of these sums (see [`super::room`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entry::Entry;
use super::key::{EntryKey, Item, SlabKey};
use super::order::{Idle, Order};
use super::slab::Slab;

/// The sums, what is open, and what is idle.
pub(super) struct State {
    pub(super) open: HashMap<Item, Open>,
    pub(super) order: Order,
    pub(super) open_blocks: u64,
    pub(super) idle_blocks: u64,
    pub(super) dying_blocks: u64,
    /// Slabs among them: what is written into one now would be lost.
    pub(super) dying_slabs: HashSet<SlabKey>,
    pub(super) stuck_blocks: u64,
    pub(super) scan: Scan,
}

/// An open entry: how many have it open, and its blocks.
pub(super) struct Open {
    pub(super) held: Held,
    pub(super) pins: usize,
    pub(super) blocks: u64,
}

/// What is open.
pub(super) enum Held {
    Content(Arc<Entry>),
    Slab(Arc<Slab>),
}

/// How far the reading of the directory is (see [`super::scan`]).
pub(super) enum Scan {
    /// The directory is being read; complete files deleted meanwhile must not be added when the scan comes
    /// to them.
    Running {
        deleted: HashSet<EntryKey>,
    },
    Done,
    /// The directory cannot be read, so what it holds is unknown and nothing is added to it.
    Failed,
}

impl Default for Scan {
    fn default() -> Self {
        Self::Running { deleted: HashSet::new() }
    }
}

impl State {
    /// Nothing, before the directory is read. `limit` is in blocks.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            open: HashMap::new(),
            order: Order::new(limit),
            open_blocks: 0,
            idle_blocks: 0,
            dying_blocks: 0,
            dying_slabs: HashSet::new(),
            stuck_blocks: 0,
            scan: Scan::default(),
        }
    }

    pub(super) fn open(&mut self, item: Item, held: Held, blocks: u64) {
        self.idle_blocks -= blocks;
        self.open_blocks += blocks;
        self.open.insert(item, Open { held, pins: 1, blocks });
    }

    /// Takes evicted entries off the idle account until they are deleted.
    pub(super) fn die(&mut self, evicted: &[(Item, Idle)]) {
        for (item, idle) in evicted {
            self.idle_blocks -= idle.blocks;
            self.dying_blocks += idle.blocks;
            if let Item::Slab(key) = item {
                self.dying_slabs.insert(*key);
            }
        }
    }

    /// Everything that is here, open or idle.
    pub(super) fn all_items(&self) -> Vec<Item> {
        self.open.keys().copied().chain(self.order.items().map(|(item, _)| item)).collect()
    }
}
