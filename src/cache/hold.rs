//! Entries that are not evicted although nobody has them open: what a program was promised to find here.
//!
//! A hold takes no descriptor, and it may be there before the bytes are: whoever holds first and fetches then has no moment
//! in which they could go. It lasts as long as its value, so at most as long as the process.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::types::Location;

use super::Cache;
use super::key::{ContentKey, EntryKey, Item, SlabKey};

/// Keeps an entry of the cache from being evicted. Two of the same entry are equal.
pub struct Hold {
    cache: Arc<Cache>,
    item: Item,
}

impl Cache {
    /// Keeps the content `key` of `size` bytes from being evicted, what is there of it and what comes.
    pub fn hold(self: &Arc<Self>, key: ContentKey, size: u64) -> Hold {
        self.hold_item(Item::Content(EntryKey { content: key, size }))
    }

    /// Keeps the stretch of a pack around a small content from being evicted; `None` where none can lie.
    pub fn hold_small(self: &Arc<Self>, at: &Location) -> Option<Hold> {
        SlabKey::of(at).map(|(key, _)| self.hold_item(Item::Slab(key)))
    }

    fn hold_item(self: &Arc<Self>, item: Item) -> Hold {
        self.room.lock().order.hold(item);
        Hold { cache: Arc::clone(self), item }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let room = &self.cache.room;
        let mut state = room.lock();
        let evicted = state.order.let_go(self.item);
        state.die(&evicted);
        drop(state);
        room.bury(evicted);
    }
}

impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        self.item == other.item
    }
}

impl Eq for Hold {}

impl Hash for Hold {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.item.hash(state);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({})", self.item)
    }
}
