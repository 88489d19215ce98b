//! A mount that moves with its branch.
//!
//! Each commit that it shows has a slot of its own, so every inode number means one entry of one commit for ever, and no
//! file can mix two versions: what is open keeps its inode, and with it its bytes. What moves is the root. Its inode is
//! always FUSE's, and names below it are believed for half the interval only; then the kernel looks them up again, in
//! the commit that is current by then, gets other inode numbers, and drops what it had. A name looked up from
//! within a directory of an older commit (a working directory) is looked up by its path in the current one.
//!
//! The branch is asked every half interval, so within one interval a look-up sees what the branch was at. When the store
//! does not answer, the mount goes on showing what it shows.
//!
//! Listings tell no inodes (`readdirplus` is off): one that was begun before a move would bring older ones back.
//!
//! **A slot's number is never given to a second commit**; one that the kernel has forgotten every inode of is dropped
//! from memory. Should the kernel still know one after all, it hears ESTALE and looks the name up again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::repo::{RepoError, Repository, Snapshot};
use crate::types::Revision;

use super::attr::Owner;
use super::error::FsError;
use super::inode::{Ino, Slot};
use super::node::Lifetime;
use super::recent::Recent;
use super::tree::{CommitTree, RECENT_NODES};

/// What a mount that follows shows.
#[derive(Debug)]
pub(super) struct Following {
    repository: Repository,
    revision: Revision,
    /// `url@revision`, for messages.
    address: String,
    owner: Owner,
    interval: Duration,
    /// Moves so far.
    moves: AtomicU64,
    /// Questions that the store did not answer.
    unanswered: AtomicU64,
    slots: RwLock<Slots>,
}

#[derive(Debug)]
struct Slots {
    current: Arc<Known>,
    /// Older commits of which the kernel knows inodes.
    older: HashMap<Slot, Arc<Known>>,
}

/// A commit, and how many references to its inodes the kernel holds.
#[derive(Debug)]
struct Known {
    tree: Arc<CommitTree>,
    references: AtomicU64,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// The branch is where it was.
    Still,
    /// The mount shows another commit now.
    Moved,
}

impl Following {
    /// Shows `snapshot`, where `revision` of the repository at `url` stands now.
    pub(super) fn new(
        snapshot: Snapshot,
        url: &str,
        revision: Revision,
        owner: Owner,
        interval: Duration,
    ) -> Self {
        let repository = snapshot.repository().clone();
        let address = format!("{url}@{revision}");
        let first = Slot::numbered(1).expect("1 is a slot");
        let slots =
            Slots { current: known(first, snapshot, &address, owner, interval), older: HashMap::new() };
        Self {
            repository,
            revision,
            address,
            owner,
            interval,
            moves: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            slots: RwLock::new(slots),
        }
    }

    /// How often the branch is asked.
    pub(super) fn period(&self) -> Duration {
        self.interval / 2
    }

    /// Its counters: moves so far, questions that the store did not answer, commits that are held for the kernel.
    pub(super) fn counters(&self) -> [(String, u64); 3] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let held = self.slots().older.len() as u64 + 1;
        [("moves", get(&self.moves)), ("moves_unknown", get(&self.unanswered)), ("commits_held", held)]
            .map(|(name, count)| (name.to_owned(), count))
    }

    /// The revision that is followed.
    pub(super) fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The commit that is shown now.
    pub(super) fn current(&self) -> Arc<CommitTree> {
        self.slots().current.tree.clone()
    }

    /// The commit of a slot; the first slot is the root, which moves.
    ///
    /// # Errors
    /// [`FsError::Stale`] for one that was forgotten.
    pub(super) fn tree(&self, slot: Slot) -> Result<Arc<CommitTree>, FsError> {
        let slots = self.slots();
        if slot == Slot::FIRST || slot == slots.current.tree.slot() {
            return Ok(slots.current.tree.clone());
        }
        slots.older.get(&slot).map(|known| known.tree.clone()).ok_or(FsError::Stale(Ino::root(slot)))
    }

    /// Notes that the kernel is told of an inode of `slot`.
    pub(super) fn refer(&self, slot: Slot) {
        let slots = self.slots();
        if let Some(known) = slots.known(slot) {
            known.references.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that the kernel has dropped `count` references to an inode of `slot`.
    pub(super) fn forget(&self, slot: Slot, count: u64) {
        let slots = self.slots();
        let Some(known) = slots.known(slot) else { return };
        let before = known.references.fetch_sub(count, Ordering::Relaxed);
        debug_assert!(before >= count, "forgotten more often than it was told");
        let unknown = before <= count && slot != slots.current.tree.slot();
        drop(slots);
        if unknown {
            self.slots_mut().older.remove(&slot);
        }
    }

    /// Asks where the branch is, and goes there.
    ///
    /// # Errors
    /// The store did not answer, or the commit is damaged; the mount shows what it showed.
    pub(super) async fn follow(&self) -> Result<Followed, RepoError> {
        let moved = self.go().await;
        match &moved {
            Ok(Followed::Moved) => self.moves.fetch_add(1, Ordering::Relaxed),
            Ok(Followed::Still) => 0,
            Err(_) => self.unanswered.fetch_add(1, Ordering::Relaxed),
        };
        moved
    }

    async fn go(&self) -> Result<Followed, RepoError> {
        let resolved = self.repository.resolve(&self.revision).await?;
        let current = self.current();
        if resolved.id == current.commit() {
            return Ok(Followed::Still);
        }
        let snapshot = self.repository.snapshot(&resolved);
        // A commit whose tree cannot be had is not shown.
        snapshot.warm().await?;
        let Some(slot) = Slot::numbered(current.slot().index() + 1) else {
            tracing::error!("{} has moved too often for one mount; mount it anew", self.address);
            return Ok(Followed::Still);
        };
        let next = known(slot, snapshot, &self.address, self.owner, self.interval);
        let mut slots = self.slots_mut();
        let before = std::mem::replace(&mut slots.current, next);
        // A look-up that is just being answered may refer to it any moment; it goes with the next move then.
        slots.older.insert(before.tree.slot(), before);
        let newest = current.slot();
        slots.older.retain(|slot, known| *slot == newest || known.references.load(Ordering::Relaxed) > 0);
        Ok(Followed::Moved)
    }

    fn slots(&self) -> RwLockReadGuard<'_, Slots> {
        self.slots.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn slots_mut(&self) -> RwLockWriteGuard<'_, Slots> {
        // Each change is one replacement or one removal.
        self.slots.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Slots {
    fn known(&self, slot: Slot) -> Option<&Known> {
        if slot == self.current.tree.slot() {
            Some(&self.current)
        } else {
            self.older.get(&slot).map(|k| &**k)
        }
    }
}

/// A commit in a slot. What the kernel may remember of inode numbers is its own, since a number is never used twice.
fn known(slot: Slot, snapshot: Snapshot, address: &str, owner: Owner, interval: Duration) -> Arc<Known> {
    let recent = Arc::new(Recent::new(RECENT_NODES));
    let tree = CommitTree::new(slot, snapshot, address.to_owned(), owner, recent)
        .shown_at(Ino::ROOT, Lifetime::For(interval / 2));
    Arc::new(Known { tree: Arc::new(tree), references: AtomicU64::new(0) })
}
