//! Which way the bytes of an open file travel, decided per inode.
//!
//! The kernel holds one inode in one mode at a time. While any *cached* open of it lives (the daemon serves, the page
//! cache keeps), an open with passthrough fails with EIO; while any *passthrough* open lives, a cached one does, and
//! so does a passthrough open that names another backing id. So the first open of an inode decides, later ones
//! join, and the mode is free again when the last is released.
//!
//! The counts here are never below the kernel's: an open counts from before its answer is sent, and the kernel leaves
//! a mode before it sends the release. What the kernel would refuse is therefore never answered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};

use super::inode::Ino;

/// The mode of one open. `B` is what backs a passthrough open: a backing id that the kernel knows.
#[derive(Debug)]
pub(super) enum Mode<B> {
    /// The daemon answers reads, the page cache keeps them.
    Cached,
    /// The kernel reads the backing file itself.
    Passthrough(Arc<B>),
}

#[derive(Debug)]
struct Open<B> {
    /// `None`: cached.
    backing: Option<Arc<B>>,
    /// Opens not yet released, at least 1.
    count: u64,
}

/// The modes of all open inodes of a mount. Its size is the number of inodes that are open now.
#[derive(Debug)]
pub(super) struct Modes<B> {
    open: Mutex<HashMap<Ino, Open<B>>>,
}

impl<B> Default for Modes<B> {
    fn default() -> Self {
        Self { open: Mutex::default() }
    }
}

impl<B> Modes<B> {
    /// Counts an open of `ino` and says in which mode it is. When the inode is not open yet, `backing` decides: what
    /// it returns backs a passthrough open, `None` makes the open cached. It runs under the lock, so it must not wait.
    pub(super) fn open(&self, ino: Ino, backing: impl FnOnce() -> Option<B>) -> Mode<B> {
        let mut open = self.lock();
        let state = match open.entry(ino) {
            Entry::Occupied(entry) => {
                let state = entry.into_mut();
                state.count += 1;
                state
            }
            Entry::Vacant(entry) => entry.insert(Open { backing: backing().map(Arc::new), count: 1 }),
        };
        state.backing.clone().map_or(Mode::Cached, Mode::Passthrough)
    }

    /// Counts a release. Returns what backed the inode when this was the last passthrough open: the caller drops it.
    pub(super) fn release(&self, ino: Ino) -> Option<Arc<B>> {
        let mut open = self.lock();
        let Entry::Occupied(mut entry) = open.entry(ino) else { return None };
        entry.get_mut().count -= 1;
        if entry.get().count > 0 {
            return None;
        }
        entry.remove().backing
    }

    #[cfg(test)]
    /// How many inodes are open in each mode: (cached, passthrough).
    fn counts(&self) -> (usize, usize) {
        let open = self.lock();
        let passthrough = open.values().filter(|state| state.backing.is_some()).count();
        (open.len() - passthrough, passthrough)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Open<B>>> {
        // A panic while it is held cannot leave a half-made state: every change is one assignment.
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::super::inode::Slot;
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum ModeKind {
        Cached,
        Passthrough,
    }

    impl<B> Mode<B> {
        fn kind(&self) -> ModeKind {
            match self {
                Self::Cached => ModeKind::Cached,
                Self::Passthrough(_) => ModeKind::Passthrough,
            }
        }
    }

    fn ino(rank: u64) -> Ino {
        Ino::entry(Slot::FIRST, rank).expect("fits")
    }

    #[test]
    fn the_first_open_decides_and_later_ones_join() {
        let modes = Modes::default();
        assert_eq!(modes.open(ino(0), || None::<u32>).kind(), ModeKind::Cached);
        // The file has become complete meanwhile; the inode stays cached while it is open.
        assert_eq!(modes.open(ino(0), || Some(7)).kind(), ModeKind::Cached);
        assert_eq!(modes.counts(), (1, 0));
        modes.release(ino(0));
        modes.release(ino(0));
        assert_eq!(modes.counts(), (0, 0));
        let Mode::Passthrough(first) = modes.open(ino(0), || Some(7)) else { panic!("free again") };
        let Mode::Passthrough(second) = modes.open(ino(0), || None) else { panic!("must join") };
        assert!(Arc::ptr_eq(&first, &second), "all opens of an inode carry one backing id");
    }

    #[test]
    fn the_backing_is_handed_out_with_the_last_release_only() {
        let modes = Modes::default();
        modes.open(ino(1), || Some(1));
        modes.open(ino(1), || Some(2));
        assert!(modes.release(ino(1)).is_none());
        assert_eq!(modes.release(ino(1)).as_deref(), Some(&1));
        assert!(modes.release(ino(1)).is_none(), "a release too many changes nothing");
        assert_eq!(modes.counts(), (0, 0));
    }

    /// The kernel's own rule, run against the machine from many threads: never both modes, never two backings.
    #[test]
    fn no_interleaving_mixes_modes() {
        let modes = Modes::default();
        let kernel = Mutex::new(HashMap::new());
        std::thread::scope(|scope| {
            for thread in 0..8u32 {
                let (modes, kernel) = (&modes, &kernel);
                scope.spawn(move || {
                    for turn in 0..2000u32 {
                        let ino = ino(u64::from(turn % 3));
                        let mode = modes
                            .open(ino, || (turn + thread).is_multiple_of(2).then_some(turn * 8 + thread));
                        let backing = match &mode {
                            Mode::Cached => None,
                            Mode::Passthrough(id) => Some(**id),
                        };
                        {
                            let mut kernel = kernel.lock().expect("not poisoned");
                            let state = kernel.entry(ino).or_insert((mode.kind(), backing, 0u64));
                            assert_eq!((state.0, state.1), (mode.kind(), backing));
                            state.2 += 1;
                        }
                        std::thread::yield_now();
                        {
                            // The kernel leaves the mode before it sends the release.
                            let mut kernel = kernel.lock().expect("not poisoned");
                            let state: &mut (ModeKind, Option<u32>, u64) =
                                kernel.get_mut(&ino).expect("open");
                            state.2 -= 1;
                            if state.2 == 0 {
                                kernel.remove(&ino);
                            }
                        }
                        modes.release(ino);
                    }
                });
            }
        });
        assert_eq!(modes.counts(), (0, 0));
    }
}
