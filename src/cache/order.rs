//! Which entries go first: the idle ones (nobody has them open) in the order in which they were last closed.
//!
//! moka keeps the order and the weights, under its LRU policy (the default, TinyLFU, refuses newcomers). It
//! decides *which* entry goes, never *whether*: that is [`super::room`]'s, by its own exact count. An open
//! entry is taken out and put back when it is closed, so a read costs nothing here, and what is open cannot
//! be chosen. moka has no "evict until", so [`Order::shrink_to`] puts a weight on the scale for a moment
//! and takes it off again.
//!
//! Entries that somebody *holds* ([`super::hold`]) are kept apart from moka while they are idle, and never chosen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::key::Item;
use super::sums::Sums;
use super::touched::Touched;
use crate::types::Spans;

/// What is known of an entry's files when it is opened.
#[derive(Debug)]
pub(super) enum Known {
    /// That there are these.
    Idle(Idle),
    /// That there are none.
    Nothing,
    /// The directory has not been read yet: there may be a complete file.
    Unknown,
}

/// An entry that nobody has open.
#[derive(Debug, Clone)]
pub(super) struct Idle {
    /// What it takes on disk, in blocks.
    pub(super) blocks: u64,
    /// What there is of it.
    pub(super) extent: Extent,
}

/// How much of an entry is on disk.
#[derive(Debug, Clone)]
pub(super) enum Extent {
    /// All of it, under its name; whether it is to be trusted is asked when it is opened.
    Complete,
    /// Some of it, under a number, for as long as this process lives.
    Partial(Arc<Partial>),
    /// A slab, and what of it was read.
    Slab(Arc<Touched>),
}

/// A partial file between two openings.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) number: u64,
    pub(super) spans: Spans,
    /// Of the pieces that are there: 32 bytes for each.
    pub(super) sums: Sums,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Slot {
    Item(Item),
    /// One of the weights of [`Order::shrink_to`].
    Weight(u64),
}

/// The idle entries. Not for several threads at once: [`super::room`] calls it under its lock.
pub(super) struct Order {
    cache: Cache<Slot, Idle>,
    capacity: u64,
    evicted: Arc<Mutex<Vec<(Item, Idle)>>>,
    held: HashMap<Item, Held>,
    /// What the held ones take that are idle, in blocks.
    held_blocks: u64,
}

/// An entry that is not to go.
#[derive(Debug, Default)]
struct Held {
    holders: u32,
    /// What there is of it while it is idle.
    idle: Option<Idle>,
}

/// moka's weights are 32 bits: in blocks of 4 KiB that is 16 TiB.
const MAX_WEIGHT: u64 = u32::MAX as u64;

impl Order {
    /// An empty order that holds at most `capacity` blocks.
    pub(super) fn new(capacity: u64) -> Self {
        let evicted = Arc::new(Mutex::new(Vec::new()));
        let cache = Cache::builder()
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_: &Slot, idle: &Idle| idle.blocks.min(MAX_WEIGHT) as u32)
            .eviction_listener({
                let evicted = Arc::clone(&evicted);
                move |slot, idle, cause| {
                    if let (Slot::Item(key), RemovalCause::Size) = (&*slot, cause) {
                        evicted.lock().unwrap_or_else(PoisonError::into_inner).push((*key, idle));
                    }
                }
            })
            .build();
        Self { cache, capacity, evicted, held: HashMap::new(), held_blocks: 0 }
    }

    /// Adds an entry as the most recently used one. Returns what moka threw out for it: itself, if it is
    /// larger than all the room there is, or older ones.
    #[must_use]
    pub(super) fn insert(&mut self, key: Item, idle: Idle) -> Vec<(Item, Idle)> {
        if let Some(held) = self.held.get_mut(&key) {
            self.held_blocks += idle.blocks;
            held.idle = Some(idle);
            return Vec::new();
        }
        self.cache.insert(Slot::Item(key), idle);
        self.thrown_out()
    }

    /// Takes an entry out, to be opened.
    pub(super) fn take(&mut self, key: &Item) -> Option<Idle> {
        if let Some(held) = self.held.get_mut(key) {
            let idle = held.idle.take()?;
            self.held_blocks -= idle.blocks;
            return Some(idle);
        }
        self.cache.remove(&Slot::Item(*key))
    }

    /// The entry, which stays and is now the most recently used.
    pub(super) fn touch(&self, key: &Item) -> Option<Idle> {
        if let Some(held) = self.held.get(key) {
            return held.idle.clone();
        }
        self.cache.get(&Slot::Item(*key))
    }

    /// All entries, in no order.
    pub(super) fn items(&self) -> impl Iterator<Item = (Item, Idle)> {
        let held = self.held.iter().filter_map(|(item, held)| Some((*item, held.idle.clone()?)));
        held.chain(self.cache.iter().filter_map(|(slot, idle)| match *slot {
            Slot::Item(item) => Some((item, idle)),
            Slot::Weight(_) => None,
        }))
    }

    /// Whether the entry is here.
    pub(super) fn contains(&self, key: &Item) -> bool {
        match self.held.get(key) {
            Some(held) => held.idle.is_some(),
            None => self.cache.contains_key(&Slot::Item(*key)),
        }
    }

    /// From now on the entry does not go, whether there is anything of it yet or not.
    pub(super) fn hold(&mut self, key: Item) {
        if let Some(held) = self.held.get_mut(&key) {
            held.holders += 1;
            return;
        }
        let idle = self.take(&key);
        self.held_blocks += idle.as_ref().map_or(0, |idle| idle.blocks);
        self.held.insert(key, Held { holders: 1, idle });
    }

    /// Takes one hold back. With the last the entry is one as any other, and the most recently used. Returns as
    /// [`Order::insert`].
    #[must_use]
    pub(super) fn let_go(&mut self, key: Item) -> Vec<(Item, Idle)> {
        let Some(held) = self.held.get_mut(&key) else { return Vec::new() };
        held.holders -= 1;
        if held.holders > 0 {
            return Vec::new();
        }
        let idle = self.take(&key);
        self.held.remove(&key);
        idle.map_or_else(Vec::new, |idle| self.insert(key, idle))
    }

    /// What the held entries take that are idle, in blocks.
    pub(super) fn held_blocks(&self) -> u64 {
        self.held_blocks
    }

    /// Takes out the least recently used entries until those left weigh at most `blocks`, or all that are left are held.
    #[must_use]
    pub(super) fn shrink_to(&self, blocks: u64) -> Vec<(Item, Idle)> {
        let mut weight = self.capacity.saturating_sub(blocks.saturating_sub(self.held_blocks));
        let mut slots = Vec::new();
        while weight > 0 {
            let slot = Slot::Weight(weight);
            self.cache.insert(slot.clone(), Idle { blocks: weight, extent: Extent::Complete });
            slots.push(slot);
            weight -= weight.min(MAX_WEIGHT);
        }
        let mut before = u64::MAX;
        loop {
            self.cache.run_pending_tasks();
            let now = self.cache.weighted_size();
            // One call stops after some hundred entries or 100 ms.
            if now <= self.capacity || now >= before {
                break;
            }
            before = now;
        }
        for slot in &slots {
            self.cache.invalidate(slot);
        }
        self.cache.run_pending_tasks();
        self.thrown_out()
    }

    fn thrown_out(&self) -> Vec<(Item, Idle)> {
        std::mem::take(&mut self.evicted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ContentKey;
    use crate::cache::key::EntryKey;

    fn key(i: u32) -> Item {
        let mut identity = [0; 32];
        identity[..4].copy_from_slice(&i.to_le_bytes());
        Item::Content(EntryKey { content: ContentKey::shared(identity), size: 0 })
    }

    fn idle(blocks: u64) -> Idle {
        Idle { blocks, extent: Extent::Complete }
    }

    fn keys(evicted: Vec<(Item, Idle)>) -> Vec<Item> {
        evicted.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_least_recently_closed_goes_first_and_no_more_than_needed() {
        let mut order = Order::new(100);
        for i in 0..10 {
            assert!(order.insert(key(i), idle(10)).is_empty());
        }
        // Opened and closed again: now the most recent.
        assert_eq!(order.take(&key(0)).map(|idle| idle.blocks), Some(10));
        assert!(order.take(&key(0)).is_none());
        assert!(order.insert(key(0), idle(10)).is_empty());
        assert!(order.shrink_to(100).is_empty());
        assert_eq!(keys(order.shrink_to(75)), [key(1), key(2), key(3)]);
        assert!(order.shrink_to(75).is_empty());
        assert!(order.contains(&key(0)) && !order.contains(&key(1)));
        assert_eq!(keys(order.shrink_to(0)).len(), 7);
        assert!(order.shrink_to(0).is_empty());
    }

    #[test]
    fn thousands_go_in_one_call_in_order() {
        let mut order = Order::new(1 << 40);
        for i in 0..5000 {
            let _ = order.insert(key(i), idle(3));
        }
        assert_eq!(keys(order.shrink_to(3)), (0..4999).map(key).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_held_stays_until_the_last_hold_is_taken_back() {
        let mut order = Order::new(100);
        // One before there is anything of it, one that is there.
        order.hold(key(0));
        for i in 0..10 {
            assert!(order.insert(key(i), idle(10)).is_empty());
        }
        order.hold(key(1));
        order.hold(key(1));
        assert_eq!(order.held_blocks(), 20);
        assert_eq!(keys(order.shrink_to(75)), [key(2), key(3), key(4)]);
        assert_eq!(keys(order.shrink_to(0)).len(), 5);
        assert_eq!(order.items().count(), 2);
        assert_eq!((order.contains(&key(0)), order.touch(&key(1)).map(|idle| idle.blocks)), (true, Some(10)));
        // Opened, grown, closed.
        assert!(order.take(&key(0)).is_some() && !order.contains(&key(0)));
        assert!(order.insert(key(0), idle(30)).is_empty());
        assert!(order.let_go(key(1)).is_empty() && order.shrink_to(0).is_empty());
        assert!(order.let_go(key(1)).is_empty() && order.let_go(key(7)).is_empty());
        assert_eq!((order.held_blocks(), keys(order.shrink_to(0))), (30, vec![key(1)]));
        assert!(order.let_go(key(0)).is_empty());
        assert_eq!((order.held_blocks(), keys(order.shrink_to(0))), (0, vec![key(0)]));
    }

    #[test]
    fn an_entry_larger_than_the_room_comes_straight_back() {
        let mut order = Order::new(100);
        let mut back = order.insert(key(1), idle(101));
        back.extend(order.shrink_to(100));
        assert_eq!(keys(back), [key(1)]);
    }
}
