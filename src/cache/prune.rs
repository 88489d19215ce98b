//! Making the cache smaller on request.

use super::room::Room;

impl Room {
    /// Evicts idle entries, the least recently used first, until all that is kept takes at most `blocks`, or nothing is
    /// idle. Slabs are not spared.
    pub(super) fn prune(&self, blocks: u64) {
        loop {
            let too_many = {
                let state = self.lock();
                let all = state.open_blocks + state.idle_blocks + state.stuck_blocks;
                all.saturating_sub(blocks)
            };
            // A slab that was cut down instead of going goes in the next round.
            if too_many == 0 || self.shed(too_many) == 0 {
                return;
            }
        }
    }
}
