//! One commit's tree, to be read: what a pinned mount shows and what `ls`, `cat` and `export` walk.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::cache::Hold;
use crate::format::{Commit, Entry, EntryHints, LeafItem, StoredCommit, TreeKey, XattrList, Xattrs};
use crate::types::{CommitId, RepoPath};

use super::content::{self, Beside};
use super::tree::{Differences, Tree};
use super::{RepoError, Repository};

/// An entry and its rank: its place in the order of all keys of the commit, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The rank; inode numbers are made of it.
    pub rank: u64,
    /// Key, entry, hints.
    pub item: LeafItem,
}

/// One commit. Cheap to clone; never changes.
#[derive(Debug, Clone)]
pub struct Snapshot {
    repository: Repository,
    id: CommitId,
    stored: Arc<StoredCommit>,
    tree: Arc<Tree>,
}

impl Snapshot {
    /// The commit `id`, whose body and place are at hand. The first read fetches the run of interior nodes.
    pub fn new(repository: Repository, id: CommitId, stored: StoredCommit) -> Self {
        let tree = Arc::new(Tree::of(repository.blobs().clone(), &stored));
        Self { repository, id, stored: Arc::new(stored), tree }
    }

    /// The commit's id.
    pub fn id(&self) -> CommitId {
        self.id
    }

    /// The commit's body.
    pub fn commit(&self) -> &Commit {
        &self.stored.commit
    }

    /// The tree.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Fetches the run of interior nodes (one ranged GET) unless it is at hand; then look-ups need leaves only.
    ///
    /// # Errors
    /// As every read of the store.
    pub async fn warm(&self) -> Result<(), RepoError> {
        self.tree.root().await.map(|_| ())
    }

    /// What differs between this commit and `after`, in key order.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn differences(&self, after: &Self) -> Result<Differences, RepoError> {
        Differences::between(&self.tree, &after.tree).await
    }

    /// The entry at `path`; `None` when there is none. The root has no entry: [`RepoError::BadPath`].
    ///
    /// # Errors
    /// Damage, a missing object, any failure of the store.
    pub async fn get(&self, path: &RepoPath) -> Result<Option<Found>, RepoError> {
        match TreeKey::of(path) {
            Some(key) => self.tree.get(&key).await,
            None => Err(RepoError::BadPath { path: "/".into(), reason: "the root has no entry".into() }),
        }
    }

    /// The entry with this rank; `None` behind the last.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn at_rank(&self, rank: u64) -> Result<Option<Found>, RepoError> {
        self.tree.at_rank(rank).await
    }

    /// The ranks of the direct children of `dir`; empty for a directory without entries or for no directory.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn children(&self, dir: &RepoPath) -> Result<Range<u64>, RepoError> {
        self.tree.children(dir).await
    }

    /// The ranks of everything below `dir`.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn subtree(&self, dir: &RepoPath) -> Result<Range<u64>, RepoError> {
        self.tree.subtree(dir).await
    }

    /// The entries of `ranks` in order, as far as the first leaf reaches and at most 256 (at least one, unless `ranks`
    /// is empty or lies behind the last entry): a scan calls again from the rank behind the last. How far `ranks`
    /// reaches tells how much to fetch ahead.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn page(&self, ranks: Range<u64>) -> Result<Vec<Found>, RepoError> {
        self.tree.page(ranks).await
    }

    /// The extended attributes of an entry, from the entry or from their blob.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn xattrs(&self, item: &LeafItem) -> Result<XattrList, RepoError> {
        self.xattrs_of(&item.entry, &item.hints).await
    }

    /// The same of an entry of any commit of the repository.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn xattrs_of(&self, entry: &Entry, hints: &EntryHints) -> Result<XattrList, RepoError> {
        match &entry.xattrs {
            Xattrs::None => Ok(XattrList::default()),
            Xattrs::Inline(list) => Ok(list.clone()),
            Xattrs::Blob(id) => {
                let list: Arc<XattrList> = self.repository.blobs().get(*id, hints.xattrs).await?;
                Ok(XattrList::clone(&list))
            }
        }
    }

    /// The chunk of a file that holds byte `offset` (below its size), as a range of bytes of the file: what a cache keeps
    /// as one piece.
    ///
    /// # Errors
    /// As [`Snapshot::read`]; [`RepoError::BadPath`] behind the end.
    pub async fn chunk_at(&self, item: &LeafItem, offset: u64) -> Result<Range<u64>, RepoError> {
        let found = match offset < item.entry.size() {
            true => content::pieces(self.repository.blobs(), item, offset..offset + 1).await?,
            false => Vec::new(),
        };
        found.into_iter().next().ok_or_else(|| RepoError::BadPath {
            path: item.key.to_path().map_or_else(|_| format!("{:?}", item.key), |path| path.to_string()),
            reason: format!("has no byte {offset}"),
        })
    }

    /// Exactly `len` bytes of a file from `offset`, or fewer at its end, straight from the store, without the SSD cache.
    ///
    /// # Errors
    /// As [`Snapshot::get`]; [`RepoError::BadPath`] when the entry is no file.
    pub async fn read(&self, item: &LeafItem, offset: u64, len: usize) -> Result<Bytes, RepoError> {
        content::read(self.repository.blobs(), item, offset, len).await
    }

    /// Chunks that [`Snapshot::chunk_at`] named, in order, each with an outcome of its own; those that lie together in a pack
    /// come in one request.
    ///
    /// # Errors
    /// As [`Snapshot::read`], for each chunk.
    pub async fn read_chunks(&self, item: &LeafItem, chunks: &[Range<u64>]) -> Vec<Result<Bytes, RepoError>> {
        content::read_chunks(self.repository.blobs(), item, chunks).await
    }

    /// Takes note that `range` of a file, which lies within it, is in the cache under the name of its content: another version
    /// that has chunks of it need not fetch them. Only a saving.
    pub async fn note_kept(&self, item: &LeafItem, range: Range<u64>) {
        content::note_kept(self.repository.blobs(), item, range).await;
    }

    /// The whole of a small content ([`super::SMALL_CONTENT_BYTES`]) if this machine has it; `None` otherwise, and for any other
    /// entry. Waits for the disk, never for the network.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] when it is not as long as its entry says.
    pub fn small_at_hand(&self, item: &LeafItem) -> Result<Option<Bytes>, RepoError> {
        let blobs = self.repository.blobs();
        let Some(content) = content::small(item).and_then(|wanted| blobs.at_hand(&wanted)) else {
            return Ok(None);
        };
        content::checked(blobs, item, &content).map(Some)
    }

    /// Keeps a small content from being evicted from this machine's cache, what is there of it and what comes. `None` for any
    /// other entry, and without a cache.
    pub fn hold_small(&self, item: &LeafItem) -> Option<Hold> {
        content::small(item).and_then(|wanted| self.repository.blobs().hold(&wanted))
    }

    /// The small contents that lie in the same aligned stretch of `bytes` bytes of the same pack as that of the entry
    /// with `rank`.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn beside(&self, rank: u64, item: &LeafItem, bytes: u64) -> Result<Beside, RepoError> {
        content::beside(&self.tree, rank, item, bytes).await
    }

    /// The whole of a small content; what of `near` is missing on this machine comes with it. `None` when it is not small.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn read_small(&self, item: &LeafItem, near: &Beside) -> Result<Option<Bytes>, RepoError> {
        let blobs = self.repository.blobs();
        let Some(wanted) = content::small(item) else { return Ok(None) };
        let content = blobs.get_with(wanted, &near.missing(blobs)).await?;
        blobs.note_read(&wanted);
        content::checked(blobs, item, &content).map(Some)
    }

    /// Fetches what of `beside` is missing on this machine. Only a saving: what cannot be had is left to its reader.
    pub async fn fetch(&self, beside: &Beside) {
        let blobs = self.repository.blobs();
        blobs.fetch(&beside.missing(blobs)).await;
    }
}
