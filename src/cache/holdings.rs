//! What the cache holds, by kind.

use super::accounts::Held;
use super::blocks::BLOCK_BYTES;
use super::order::Extent;
use super::room::Room;
use super::stats::Holding;

impl Room {
    /// The entries of each kind: whole contents, partial ones, slabs.
    pub(super) fn holdings(&self) -> [Holding; 3] {
        let mut holdings = [Holding::default(); 3];
        let mut add = |kind: usize, blocks: u64| {
            holdings[kind].entries += 1;
            holdings[kind].bytes += blocks * BLOCK_BYTES;
        };
        let state = self.lock();
        for open in state.open.values() {
            match &open.held {
                Held::Content(entry) if entry.is_whole() => add(0, open.blocks),
                Held::Content(_) => add(1, open.blocks),
                Held::Slab(_) => add(2, open.blocks),
            }
        }
        for (_, idle) in state.order.items() {
            let kind = match idle.extent {
                Extent::Complete => 0,
                Extent::Partial(_) => 1,
                Extent::Slab(_) => 2,
            };
            add(kind, idle.blocks);
        }
        holdings
    }
}
