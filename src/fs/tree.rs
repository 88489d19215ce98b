//! One commit, shown as a tree of inodes in one slot.
//!
//! Every answer is computed from the commit: an inode number gives a rank, the rank an entry, its key the path; a
//! listing is a range of ranks. Nothing is remembered for correctness; [`Recent`] only saves walking the tree again
//! for a file that was looked up a moment ago.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::format::{EntryBody, LeafItem, Totals, XattrList};
use crate::repo::{RepoError, Snapshot};
use crate::types::{CommitId, Name, RepoPath};

use super::attr::{Attr, Owner};
use super::error::FsError;
use super::inode::{Ino, Slot};
use super::node::{Lifetime, Listed, Node, Room};
use super::recent::Recent;

/// Looked-up entries that are remembered per mount: 4,096 to 8,192 of some 300 bytes, so 1 to 3 MiB.
pub(super) const RECENT_NODES: usize = 4096;

/// One commit in one slot.
#[derive(Debug)]
pub(super) struct CommitTree {
    slot: Slot,
    snapshot: Snapshot,
    /// `url@revision`, for messages.
    address: String,
    owner: Owner,
    recent: Arc<Recent<Ino, Node>>,
    /// The inode number of its root.
    root: Ino,
    /// How long names and attributes hold.
    lifetime: Lifetime,
}

/// What of a slot is meant: its root, which no entry stands for, or an entry.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The root of the commit.
    Root,
    /// An entry.
    Node(Node),
}

impl CommitTree {
    /// The commit of `snapshot` in `slot`.
    pub(super) fn new(
        slot: Slot,
        snapshot: Snapshot,
        address: String,
        owner: Owner,
        recent: Arc<Recent<Ino, Node>>,
    ) -> Self {
        let (root, lifetime) = (Ino::root(slot), Lifetime::Forever);
        Self { slot, snapshot, address, owner, recent, root, lifetime }
    }

    /// The same whose root is `root` and whose names hold for `lifetime`: another commit may take its place.
    pub(super) fn shown_at(self, root: Ino, lifetime: Lifetime) -> Self {
        Self { root, lifetime, ..self }
    }

    /// How long names and attributes hold.
    pub(super) fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The slot.
    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// The commit's id.
    pub(super) fn commit(&self) -> CommitId {
        self.snapshot.id()
    }

    /// `url@revision`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What the commit holds in all.
    pub(super) fn totals(&self) -> Totals {
        self.snapshot.commit().totals
    }

    /// The commit itself.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// When the commit was made: the times of its root.
    pub(super) fn time(&self) -> SystemTime {
        let micros = self.snapshot.commit().time.as_micros();
        let distance = std::time::Duration::from_micros(micros.unsigned_abs());
        let time = match micros < 0 {
            true => SystemTime::UNIX_EPOCH.checked_sub(distance),
            false => SystemTime::UNIX_EPOCH.checked_add(distance),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The entry with this rank.
    ///
    /// # Errors
    /// [`FsError::Stale`] behind the last; [`FsError::Repo`].
    pub(super) async fn node(&self, rank: u64) -> Result<Node, FsError> {
        let stale = FsError::Stale(Ino::root(self.slot));
        let ino = Ino::entry(self.slot, rank).ok_or(stale)?;
        if let Some(node) = self.recent.get(&ino) {
            return Ok(node);
        }
        let found = self.snapshot.at_rank(rank).await.map_err(|e| self.failed(&RepoPath::ROOT, e))?;
        let node = Node::new(self.slot, found.ok_or(FsError::Stale(ino))?)?;
        self.recent.put(ino, node.clone());
        Ok(node)
    }

    /// The entry at `path`; `None` when there is none.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub(super) async fn find(&self, path: &RepoPath) -> Result<Option<Node>, FsError> {
        let found = self.snapshot.get(path).await.map_err(|e| self.failed(path, e))?;
        let Some(found) = found else { return Ok(None) };
        let node = Node::new(self.slot, found)?;
        self.recent.put(node.ino, node.clone());
        Ok(Some(node))
    }

    /// The entries of `ranks`, as far as one step reaches: see [`Snapshot::page`].
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub(super) async fn page(&self, ranks: Range<u64>) -> Result<Vec<Node>, FsError> {
        let page = self.snapshot.page(ranks).await.map_err(|e| self.failed(&RepoPath::ROOT, e))?;
        page.into_iter().map(|found| Node::new(self.slot, found)).collect()
    }

    /// The ranks of everything below a directory.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub(super) async fn ranks_below(&self, dir: &RepoPath) -> Result<Range<u64>, FsError> {
        self.snapshot.subtree(dir).await.map_err(|e| self.failed(dir, e))
    }

    /// The entry called `name` in the directory `dir`; `None` when there is none.
    ///
    /// # Errors
    /// [`FsError::NameTooLong`], [`FsError::Repo`].
    pub(super) async fn lookup(&self, dir: &Place, name: &[u8]) -> Result<Option<Node>, FsError> {
        let dir = self.path(dir)?;
        let path = match Name::new(name).and_then(|name| dir.join(name)) {
            Ok(path) => path,
            Err(error) if error.is_too_long() => return Err(FsError::NameTooLong),
            // A name that no entry can have.
            Err(_) => return Ok(None),
        };
        self.find(&path).await
    }

    /// What `stat` shows.
    pub(super) fn attr(&self, place: &Place) -> Attr {
        match place {
            Place::Root => Attr::of_directory(self.root, self.owner, self.time()),
            Place::Node(node) => Attr::of(node.ino, &node.item.entry, self.owner),
        }
    }

    /// The names of `dir` from `from` on, until `sink` is full. `from` is 0, or the `next` of a listed name: it is made
    /// of the rank, so a listing goes on anywhere, any time, without anything kept between.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub(super) async fn list(
        &self,
        dir: &Place,
        from: u64,
        sink: &mut (dyn FnMut(Listed<'_>) -> Room + Send),
    ) -> Result<(), FsError> {
        let path = self.path(dir)?;
        let failed = |e| self.failed(&path, e);
        let lifetime = self.lifetime;
        if from < 1 && sink(Listed { name: b".", attr: self.attr(dir), next: 1, lifetime }) == Room::Full {
            return Ok(());
        }
        if from < 2 {
            let parent = match path.parent() {
                None => Place::Root,
                Some(parent) if parent.is_root() => Place::Root,
                Some(parent) => match self.snapshot.get(&parent).await.map_err(failed)? {
                    Some(found) => Place::Node(Node::new(self.slot, found)?),
                    None => Place::Root,
                },
            };
            if sink(Listed { name: b"..", attr: self.attr(&parent), next: 2, lifetime }) == Room::Full {
                return Ok(());
            }
        }
        let children = self.snapshot.children(&path).await.map_err(failed)?;
        let mut ranks = children.start.max(from.saturating_sub(2))..children.end;
        while !ranks.is_empty() {
            let page = self.snapshot.page(ranks.clone()).await.map_err(failed)?;
            let Some(last) = page.last() else { break };
            ranks.start = last.rank + 1;
            for found in page {
                let ino =
                    Ino::entry(self.slot, found.rank).ok_or(FsError::TooManyEntries { rank: found.rank })?;
                let attr = Attr::of(ino, &found.item.entry, self.owner);
                let name = found.item.key.name();
                // Behind the entry with rank r the listing goes on at rank r + 1, written r + 3 (0, 1, 2 are taken).
                let listed = Listed { name: name.as_bytes(), attr, next: found.rank + 3, lifetime };
                if sink(listed) == Room::Full {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Where a symlink points.
    ///
    /// # Errors
    /// [`FsError::NotASymlink`].
    pub(super) fn target(&self, node: &Node) -> Result<Bytes, FsError> {
        match &node.item.entry.body {
            EntryBody::Symlink { target } => Ok(target.clone()),
            _ => Err(FsError::NotASymlink),
        }
    }

    /// The extended attributes that are stored with an entry.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub(super) async fn xattrs(&self, node: &Node) -> Result<XattrList, FsError> {
        match self.snapshot.xattrs(&node.item).await {
            Ok(list) => Ok(list),
            Err(error) => Err(self.failed(&node.path()?, error)),
        }
    }

    /// Bytes of a file from the repository: exactly `len`, or fewer at its end.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub(super) async fn read(&self, node: &Node, offset: u64, len: usize) -> Result<Bytes, FsError> {
        match self.snapshot.read(&node.item, offset, len).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.failed(&node.path()?, error)),
        }
    }

    /// The path of a directory.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`].
    fn path(&self, dir: &Place) -> Result<RepoPath, FsError> {
        match dir {
            Place::Root => Ok(RepoPath::ROOT),
            Place::Node(node) => match node.item.entry.body {
                EntryBody::Directory => node.path(),
                _ => Err(FsError::NotADirectory),
            },
        }
    }

    /// `url@revision:path` of an entry, for messages.
    pub(super) fn describe(&self, node: &Node) -> String {
        match node.path() {
            Ok(path) => format!("{}:{path}", self.address),
            Err(_) => format!("{}: an entry without a name", self.address),
        }
    }

    /// The repository's error about an entry.
    pub(super) fn failed_item(&self, item: &LeafItem, source: RepoError) -> FsError {
        self.failed(&item.key.to_path().unwrap_or(RepoPath::ROOT), source)
    }

    fn failed(&self, path: &RepoPath, source: RepoError) -> FsError {
        FsError::Repo { path: format!("{}:{path}", self.address), source: Arc::new(source) }
    }
}
