//! What a mount shows, without FUSE: every request as a function of an inode number.
//!
//! [`View`] finds out what an inode number means and asks the part that knows: a commit ([`CommitTree`]), the directory
//! of refs ([`RefsRoot`]) or the `.atfs` files. It never blocks a thread: whatever may need the network is `async`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::format::{EntryBody, Totals};
use crate::repo::{RepoError, Repository, Snapshot};
use crate::types::{CommitId, Revision};

use super::attr::{Attr, Owner};
use super::error::FsError;
use super::following::{Followed, Following};
use super::inode::{Ino, Inode, Slot, Virtual};
use super::neighbours::Neighbours;
use super::node::{Lifetime, Listed, Node, Room};
use super::pinned::Pinned;
use super::recent::Recent;
use super::refs_root::RefsRoot;
use super::stats::{Stats, add};
use super::tree::{CommitTree, Place, RECENT_NODES};
use super::virtuals;
use super::xattr::{self, Computed};

/// Everything a mount shows.
#[derive(Debug)]
pub struct View {
    shown: Shown,
    /// The repository's URL, for `.atfs/url`.
    url: String,
    owner: Owner,
    cache: Option<Arc<Cache>>,
    neighbours: Neighbours,
    pinned: Pinned,
    stats: Stats,
}

#[derive(Debug)]
enum Shown {
    /// One commit, and the revision as it was asked for.
    Commit { tree: Arc<CommitTree>, revision: String },
    /// A branch, wherever it is.
    Following(Following),
    /// A directory per ref.
    Repository(RefsRoot),
}

/// A directory whose listing is under way.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    tree: Arc<CommitTree>,
    place: Place,
}

impl OpenDirectory {
    /// As [`View::list`].
    ///
    /// # Errors
    /// [`FsError`].
    pub(super) async fn list(
        &self,
        from: u64,
        sink: &mut (dyn FnMut(Listed<'_>) -> Room + Send),
    ) -> Result<(), FsError> {
        self.tree.list(&self.place, from, sink).await
    }
}

/// The answer to a look-up.
#[derive(Debug)]
pub enum Lookup {
    /// It exists.
    Found(Attr, Lifetime),
    /// It does not.
    Absent(Lifetime),
}

/// What an inode number means here.
#[derive(Debug)]
pub(super) enum Target {
    /// A commit's root or entry.
    Tree(Arc<CommitTree>, Place),
    /// The directory of refs.
    Refs,
    /// `.atfs` or a file in it.
    Virtual(Slot, Virtual),
}

/// For `statfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of all files.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl View {
    /// Shows one commit, which `revision` of the repository at `url` named.
    pub fn of_commit(
        snapshot: Snapshot,
        url: String,
        revision: String,
        owner: Owner,
        cache: Option<Arc<Cache>>,
    ) -> Self {
        let recent = Arc::new(Recent::new(RECENT_NODES));
        let address = format!("{url}@{revision}");
        let tree = Arc::new(CommitTree::new(Slot::FIRST, snapshot, address, owner, recent));
        Self::new(Shown::Commit { tree, revision }, url, owner, cache)
    }

    /// Shows the commit that `revision` of the repository at `url` names, which is `snapshot` now and may be another each
    /// time it is asked for ([`View::follow`]): within `interval`, look-ups see it.
    pub fn following(
        snapshot: Snapshot,
        url: String,
        revision: Revision,
        owner: Owner,
        cache: Option<Arc<Cache>>,
        interval: Duration,
    ) -> Self {
        let following = Following::new(snapshot, &url, revision, owner, interval);
        Self::new(Shown::Following(following), url, owner, cache)
    }

    /// Shows a whole repository, whose directories are called `name@...`.
    pub fn of_repository(
        repository: Repository,
        url: String,
        name: &str,
        owner: Owner,
        cache: Option<Arc<Cache>>,
    ) -> Self {
        let recent = Arc::new(Recent::new(RECENT_NODES));
        let root = RefsRoot::new(repository, url.clone(), name, owner, recent);
        Self::new(Shown::Repository(root), url, owner, cache)
    }

    fn new(shown: Shown, url: String, owner: Owner, cache: Option<Arc<Cache>>) -> Self {
        Self {
            shown,
            url,
            owner,
            cache,
            neighbours: Neighbours::default(),
            pinned: Pinned::default(),
            stats: Stats::default(),
        }
    }

    /// The commit that is shown now; `None` for a whole repository.
    pub fn commit(&self) -> Option<CommitId> {
        self.shown_tree().map(|tree| tree.commit())
    }

    /// What the commit that is shown holds in all; `None` where several can be shown.
    pub fn totals(&self) -> Option<Totals> {
        match &self.shown {
            Shown::Commit { tree, .. } => Some(tree.totals()),
            Shown::Following(_) | Shown::Repository(_) => None,
        }
    }

    /// How often [`View::follow`] is to be called; `None` when what is shown never moves.
    pub fn follow_period(&self) -> Option<Duration> {
        self.moving().map(Following::period)
    }

    /// Asks where the branch is, and shows that from now on.
    ///
    /// # Errors
    /// The store did not answer; what is shown stays.
    pub async fn follow(&self) -> Result<Followed, RepoError> {
        match self.moving() {
            Some(following) => following.follow().await,
            None => Ok(Followed::Still),
        }
    }

    /// The branch that is followed.
    fn moving(&self) -> Option<&Following> {
        match &self.shown {
            Shown::Following(following) => Some(following),
            Shown::Commit { .. } | Shown::Repository(_) => None,
        }
    }

    /// Notes that the kernel is told of `ino` by name.
    pub(super) fn refer(&self, ino: Ino) {
        if let Some((following, slot)) = self.moving().zip(ino.slot()) {
            following.refer(slot);
        }
    }

    /// Notes that the kernel has dropped `count` references to `ino`.
    pub(super) fn forget(&self, ino: Ino, count: u64) {
        if let Some((following, slot)) = self.moving().zip(ino.slot()) {
            following.forget(slot, count);
        }
    }

    /// The commit that is shown now; `None` for a whole repository.
    pub(super) fn shown_tree(&self) -> Option<Arc<CommitTree>> {
        match &self.shown {
            Shown::Commit { tree, .. } => Some(tree.clone()),
            Shown::Following(following) => Some(following.current()),
            Shown::Repository(_) => None,
        }
    }

    /// The directory of refs, when a whole repository is shown.
    pub(super) fn refs(&self) -> Option<&RefsRoot> {
        match &self.shown {
            Shown::Repository(root) => Some(root),
            Shown::Commit { .. } | Shown::Following(_) => None,
        }
    }

    /// The node's cache of contents, if there is one.
    pub(super) fn cache(&self) -> Option<&Arc<Cache>> {
        self.cache.as_ref()
    }

    /// What it keeps in the cache.
    pub(super) fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// How much is fetched beside the small files that are read.
    pub(super) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The counters by name, with those of a mount that follows.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = self.stats.snapshot();
        if let Some(following) = self.moving() {
            counters.extend(following.counters());
        }
        counters
    }

    /// What an inode number means.
    ///
    /// # Errors
    /// [`FsError::Stale`]; [`FsError::Repo`].
    pub(super) async fn target(&self, ino: Ino) -> Result<Target, FsError> {
        match ino.meaning().ok_or(FsError::Stale(ino))? {
            Inode::Root(Slot::FIRST) if self.refs().is_some() => Ok(Target::Refs),
            Inode::Root(slot) => Ok(Target::Tree(self.tree(slot).await?, Place::Root)),
            Inode::Entry(slot, rank) => {
                let tree = self.tree(slot).await?;
                let node = tree.node(rank).await?;
                Ok(Target::Tree(tree, Place::Node(node)))
            }
            Inode::Virtual(slot, file) => Ok(Target::Virtual(slot, file)),
        }
    }

    async fn tree(&self, slot: Slot) -> Result<Arc<CommitTree>, FsError> {
        match &self.shown {
            Shown::Commit { tree, .. } if slot == Slot::FIRST => Ok(tree.clone()),
            Shown::Commit { .. } => Err(FsError::Stale(Ino::root(slot))),
            Shown::Following(following) => following.tree(slot),
            Shown::Repository(root) => root.tree(slot).await,
        }
    }

    /// Looks up `name` in the directory `parent`.
    ///
    /// # Errors
    /// [`FsError`]; a name that does not exist is [`Lookup::Absent`].
    pub async fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Lookup, FsError> {
        add(&self.stats.lookups, 1);
        if name.len() > crate::types::MAX_NAME_BYTES {
            return Err(FsError::NameTooLong);
        }
        match self.target(parent).await? {
            Target::Virtual(slot, Virtual::Directory) => match virtuals::find(name) {
                Some(file) => match self.virtual_text(slot, file).await? {
                    Some(text) => Ok(self.found_virtual(slot, file, text.len()).await?),
                    None => Ok(Lookup::Absent(Lifetime::Forever)),
                },
                None => Ok(Lookup::Absent(Lifetime::Forever)),
            },
            Target::Virtual(..) => Err(FsError::NotADirectory),
            Target::Refs if name == virtuals::DIRECTORY => {
                self.found_virtual(Slot::FIRST, Virtual::Directory, 0).await
            }
            Target::Tree(tree, Place::Root) if name == virtuals::DIRECTORY => {
                self.found_virtual(tree.slot(), Virtual::Directory, 0).await
            }
            Target::Refs => {
                let Some(root) = self.refs() else { return Err(FsError::Stale(parent)) };
                match root.lookup(name).await? {
                    Some(tree) => Ok(Lookup::Found(tree.attr(&Place::Root), Lifetime::Forever)),
                    // A name that can never be a revision is absent for ever; a ref may come.
                    None if root.may_exist(name) => Ok(Lookup::Absent(Lifetime::None)),
                    None => Ok(Lookup::Absent(Lifetime::Forever)),
                }
            }
            Target::Tree(tree, place) => {
                let Some((tree, place)) = self.newest(tree, place).await? else {
                    return Ok(Lookup::Absent(Lifetime::None));
                };
                Ok(match tree.lookup(&place, name).await? {
                    Some(node) => Lookup::Found(tree.attr(&Place::Node(node)), tree.lifetime()),
                    None => Lookup::Absent(tree.lifetime()),
                })
            }
        }
    }

    /// The same directory in the commit that is current now; `None` when it has none there.
    async fn newest(
        &self,
        tree: Arc<CommitTree>,
        place: Place,
    ) -> Result<Option<(Arc<CommitTree>, Place)>, FsError> {
        let Some(following) = self.moving() else { return Ok(Some((tree, place))) };
        let current = following.current();
        match place {
            Place::Node(node) if tree.slot() != current.slot() => {
                let found = current.find(&node.path()?).await?;
                Ok(found.filter(Node::is_directory).map(|node| (current, Place::Node(node))))
            }
            place => Ok(Some((current, place))),
        }
    }

    /// The directory that a listing is of, from its first name to its last, whatever moves meanwhile; `None` where nothing
    /// moves, and an inode number says it all.
    ///
    /// # Errors
    /// [`FsError`].
    pub(super) async fn open_directory(&self, ino: Ino) -> Result<Option<OpenDirectory>, FsError> {
        if self.moving().is_none() {
            return Ok(None);
        }
        match self.target(ino).await? {
            Target::Tree(tree, place) => {
                let (tree, place) = self.newest(tree, place).await?.ok_or(FsError::NotFound)?;
                Ok(Some(OpenDirectory { tree, place }))
            }
            Target::Refs | Target::Virtual(..) => Ok(None),
        }
    }

    /// What `stat` shows.
    ///
    /// # Errors
    /// [`FsError`].
    pub async fn attr(&self, ino: Ino) -> Result<(Attr, Lifetime), FsError> {
        match self.target(ino).await? {
            Target::Tree(tree, place) => Ok((tree.attr(&place), tree.lifetime())),
            Target::Refs => match self.refs() {
                Some(root) => Ok((root.attr(), Lifetime::None)),
                None => Err(FsError::Stale(ino)),
            },
            Target::Virtual(slot, file) => {
                let len = self.virtual_text(slot, file).await?.map_or(0, |text| text.len());
                match self.found_virtual(slot, file, len).await? {
                    Lookup::Found(attr, lifetime) => Ok((attr, lifetime)),
                    Lookup::Absent(_) => Err(FsError::Stale(ino)),
                }
            }
        }
    }

    /// Lists the directory `dir` from `from` on; `names` are those of the refs, for the directory of refs.
    ///
    /// # Errors
    /// [`FsError`].
    pub async fn list(
        &self,
        dir: Ino,
        from: u64,
        names: &[String],
        sink: &mut (dyn FnMut(Listed<'_>) -> Room + Send),
    ) -> Result<(), FsError> {
        add(&self.stats.listings, 1);
        match self.target(dir).await? {
            Target::Tree(tree, place) => tree.list(&place, from, sink).await,
            Target::Refs => {
                if let Some(root) = self.refs() {
                    root.list(names, from, sink);
                }
                Ok(())
            }
            // `.atfs` lists nothing, not even in itself.
            Target::Virtual(slot, file) => {
                let lifetime = Lifetime::None;
                for (name, next) in [(&b"."[..], 1), (b"..", 2)] {
                    let attr = virtuals::attr(slot, file, 0, self.owner, std::time::SystemTime::UNIX_EPOCH);
                    if from < next && sink(Listed { name, attr, next, lifetime }) == Room::Full {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Where a symlink points.
    ///
    /// # Errors
    /// [`FsError`].
    pub async fn target_of_link(&self, ino: Ino) -> Result<bytes::Bytes, FsError> {
        match self.target(ino).await? {
            Target::Tree(tree, Place::Node(node)) => tree.target(&node),
            _ => Err(FsError::NotASymlink),
        }
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`FsError::NoAttribute`]; [`FsError::Repo`].
    pub async fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let computed = xattr::computed(name);
        if computed.is_none() && !xattr::is_shown(name) {
            // Programs ask every file for `security.*` and `system.*`: those never cost more than this.
            return Err(FsError::NoAttribute);
        }
        let Target::Tree(tree, place) = self.target(ino).await? else { return Err(FsError::NoAttribute) };
        match (computed, place) {
            (Some(Computed::Commit), _) => Ok(tree.commit().to_hex().into_bytes()),
            (Some(Computed::Hash), Place::Node(node)) => {
                node.item.entry.content_hash().map(String::into_bytes).ok_or(FsError::NoAttribute)
            }
            (Some(Computed::Cached), Place::Node(node)) => match node.item.entry.body {
                EntryBody::File { .. } if self.is_cached(&tree, &node) => Ok(b"yes".to_vec()),
                EntryBody::File { .. } => Ok(b"no".to_vec()),
                EntryBody::Directory | EntryBody::Symlink { .. } => Err(FsError::NoAttribute),
            },
            (None, Place::Node(node)) => xattr::value(&tree.xattrs(&node).await?, name),
            _ => Err(FsError::NoAttribute),
        }
    }

    /// The names of the extended attributes, each followed by NUL.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub async fn xattr_names(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        match self.target(ino).await? {
            Target::Tree(tree, Place::Node(node)) => Ok(xattr::names(&tree.xattrs(&node).await?)),
            _ => Ok(Vec::new()),
        }
    }

    /// What `statfs` shows: the totals of the commit that the inode belongs to.
    ///
    /// # Errors
    /// [`FsError`].
    pub async fn space(&self, ino: Ino) -> Result<Space, FsError> {
        let slot = ino.slot().ok_or(FsError::Stale(ino))?;
        if slot == Slot::FIRST && self.refs().is_some() {
            return Ok(Space { bytes: 0, entries: 0 });
        }
        let totals = self.tree(slot).await?.totals();
        Ok(Space { bytes: totals.bytes, entries: totals.entries })
    }

    /// The text of a file in `.atfs`; `None` where there is no such file.
    ///
    /// # Errors
    /// [`FsError::Stale`] for a slot that does not exist.
    pub(super) async fn virtual_text(&self, slot: Slot, file: Virtual) -> Result<Option<String>, FsError> {
        let of_refs = slot == Slot::FIRST && self.refs().is_some();
        let revision = |tree: &CommitTree| match &self.shown {
            Shown::Commit { revision, .. } => revision.clone(),
            Shown::Following(following) => following.revision().to_string(),
            Shown::Repository(_) => {
                tree.address().strip_prefix(&format!("{}@", self.url)).unwrap_or("").to_owned()
            }
        };
        Ok(match file {
            Virtual::Directory => None,
            Virtual::Url => Some(format!("{}\n", self.url)),
            Virtual::Stats => {
                let lines = self.counters().into_iter().map(|(name, count)| format!("{name} {count}\n"));
                Some(lines.collect())
            }
            Virtual::Commit | Virtual::Ref if of_refs => None,
            Virtual::Commit => Some(format!("{}\n", self.tree(slot).await?.commit())),
            Virtual::Ref => Some(format!("{}\n", revision(&*self.tree(slot).await?))),
        })
    }

    async fn found_virtual(&self, slot: Slot, file: Virtual, len: usize) -> Result<Lookup, FsError> {
        let mtime = match slot == Slot::FIRST && self.refs().is_some() {
            true => std::time::SystemTime::UNIX_EPOCH,
            false => self.tree(slot).await?.time(),
        };
        let moves = self.moving().is_some();
        let lifetime = if file == Virtual::Stats || moves { Lifetime::None } else { Lifetime::Forever };
        Ok(Lookup::Found(virtuals::attr(slot, file, len, self.owner, mtime), lifetime))
    }
}
