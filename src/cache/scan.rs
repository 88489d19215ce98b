//! Reading the cache directory at the start: the count of what is there, and in which order it was used.
//!
//! It runs beside the first readers. An entry that one of them opens before the scan comes to it counts itself and is
//! passed over by the scan; one that was deleted meanwhile is remembered and passed over as well; so every file is
//! counted once. Until the end nothing new is kept, because nobody knows what room there is.
//!
//! Measured with a million files of 100 KB on ext4 (release build, two busy cores): the cache opens in 0.5 s, serves the first
//! content at once, and has counted all after 14 s; 350 bytes of memory per entry, nearly all of it moka's.
//! (On an idle machine reading and sorting the directory takes 2.2 s and filling moka 1.7 s; cold, 4.5 s and 1.7 s.)

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::accounts::{Scan, State};
use super::key::Item;
use super::listing::Scanned;
use super::order::{Extent, Idle};
use super::room::Room;
use super::touched::Touched;

/// How many scanned entries are added under one hold of the lock: about a millisecond.
const SCAN_BATCH: usize = 500;

/// Between two such holds: without it a waiting reader never gets in.
const SCAN_PAUSE: Duration = Duration::from_micros(50);

/// A file that was found. The least recently used comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    used: SystemTime,
    item: Item,
    blocks: u64,
}

impl Room {
    /// Reads the directory, so that its contents are counted and can be evicted, oldest use first. Until it
    /// has ended existing contents are found and served, and nothing new is kept.
    pub(super) fn scan(&self, stop: impl Fn() -> bool) {
        let mut found: Vec<Found> = Vec::new();
        let read = self.layout.delete_discarded().and_then(|()| {
            self.layout.scan(&stop, |Scanned { item, blocks, used, is_durable }| {
                found.push(Found { used, item, blocks });
                if let (Some(key), false) = (item.content(), is_durable) {
                    self.fresh.add(key);
                }
            })
        });
        if let Err(error) = &read {
            self.report("read the directory", self.layout.dir().display(), error);
        }
        found.sort_unstable();
        for batch in found.chunks(SCAN_BATCH) {
            if stop() {
                return;
            }
            let evicted = self.lock().add_scanned(batch);
            self.bury(evicted);
            thread::sleep(SCAN_PAUSE);
        }
        let evicted = self.lock().end_scan(read.is_ok(), self.limit);
        self.bury(evicted);
        self.note_freed();
    }

    /// Whether the scan has ended.
    pub(super) fn is_scanned(&self) -> bool {
        !matches!(self.lock().scan, Scan::Running { .. })
    }

    /// Waits until the scan has ended, but not longer than `patience`.
    pub(super) fn wait_for_scan(&self, patience: Duration) {
        let running = |state: &mut State| matches!(state.scan, Scan::Running { .. });
        let waited = self.changed.wait_timeout_while(self.lock(), patience, running);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl State {
    fn add_scanned(&mut self, batch: &[Found]) -> Vec<(Item, Idle)> {
        let mut evicted = Vec::new();
        for &Found { item, blocks, .. } in batch {
            let extent = match item {
                Item::Content(key) => {
                    if matches!(&self.scan, Scan::Running { deleted } if deleted.contains(&key)) {
                        continue;
                    }
                    Extent::Complete
                }
                Item::Slab(_) => Extent::Slab(Arc::new(Touched::of_old())),
            };
            if self.open.contains_key(&item) || self.order.contains(&item) {
                continue;
            }
            self.idle_blocks += blocks;
            evicted.extend(self.order.insert(item, Idle { blocks, extent }));
        }
        self.die(&evicted);
        evicted
    }

    fn end_scan(&mut self, read: bool, limit: u64) -> Vec<(Item, Idle)> {
        self.scan = if read { Scan::Done } else { Scan::Failed };
        // The limit may be lower than it was for the process before.
        let evicted = self.order.shrink_to(limit.saturating_sub(self.open_blocks));
        self.die(&evicted);
        evicted
    }
}
