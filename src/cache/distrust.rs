//! Taking off the disk what cannot be believed, open or idle.

use std::sync::Arc;

use super::accounts::{Held, Open};
use super::key::{EntryKey, Item};
use super::room::Room;

impl Room {
    /// Takes a content off the disk that is not what was written.
    pub(super) fn distrust(&self, key: EntryKey) {
        let item = Item::Content(key);
        let open = match self.lock().open.get(&item) {
            Some(Open { held: Held::Content(entry), .. }) => Some(Arc::clone(entry)),
            _ => None,
        };
        match open {
            Some(entry) => {
                entry.open(self);
                entry.give_up(self);
            }
            None => self.drop_idle(item),
        }
    }

    /// Takes an entry off the disk that nobody has open.
    pub(super) fn drop_idle(&self, item: Item) {
        let mut state = self.lock();
        let Some(idle) = state.order.take(&item) else { return };
        let evicted = vec![(item, idle)];
        state.die(&evicted);
        drop(state);
        self.bury(evicted);
    }
}
