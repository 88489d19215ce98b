//! Which contents outlive a power cut: those that were on the disk, as a finished `syncfs` tells.
//!
//! **The mark.** When contents became complete, the keeper opens them, has the file system synced, and then sets the sticky
//! bit of exactly the files that it has open. All their bytes were written before the sync began, so whoever finds the mark
//! knows that the bytes are on the disk, however and whenever the mark itself gets there. A file that was evicted
//! and fetched anew meanwhile is another file, and keeps its own lack of a mark.
//!
//! **Without a mark** a content is trusted in the boot in which it became complete (its [`super::sums`] say which): the
//! kernel has its bytes. After another boot it is a *claim*: it stays where it is, and each piece of it is compared with
//! its sum before it is used (see [`super::entry`]).
//!
//! **A sync that fails** says that something written since the last one is lost, not what. Everything that was not marked
//! before, complete or in the making, is then taken off the disk: the kernel has reported this error once and will not
//! again.
//!
//! Nothing is synced when the cache is closed: a daemon that ends must not wait for a busy disk. The next process finds the
//! files without a mark and sees to them; if the power goes before that, they are claims.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::key::{EntryKey, Item};
use super::mark::MARKED;
use super::order::Extent;
use super::room::Room;

/// How many files are kept open over a sync: few beside the descriptors that a process may have.
const AT_ONCE: usize = 256;

impl Room {
    /// Marks every content that became complete before this was called; does nothing when there is none.
    pub(super) fn mark_durable(&self) {
        let fresh = self.fresh.take();
        for (done, batch) in fresh.chunks(AT_ONCE).enumerate() {
            let open: Vec<File> = batch.iter().filter_map(|key| self.layout.open_unmarked(key)).collect();
            if open.is_empty() {
                continue;
            }
            if let Err(error) = self.layout.sync() {
                self.report("write back what was written to", self.layout.dir().display(), &error);
                self.distrust_unmarked(&fresh[done * AT_ONCE..]);
                return;
            }
            for file in open {
                // Without a mark it is looked at after a power cut, nothing worse.
                let _ = file.set_permissions(Permissions::from_mode(MARKED));
            }
        }
    }

    /// Takes everything off the disk that the last sync did not cover.
    fn distrust_unmarked(&self, unmarked: &[EntryKey]) {
        let in_the_making: Vec<EntryKey> = {
            let state = self.lock();
            let open = state.open.keys().filter_map(Item::content);
            let idle = state.order.items().filter(|(_, idle)| matches!(idle.extent, Extent::Partial(_)));
            open.chain(idle.filter_map(|(item, _)| item.content())).collect()
        };
        let since = self.fresh.take();
        for key in unmarked.iter().chain(&since).chain(&in_the_making) {
            if !self.layout.is_marked(key) {
                self.distrust(*key);
            }
        }
    }
}
