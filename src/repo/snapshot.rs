//! One commit's tree, to be read: what a pinned mount shows and what `ls`, `cat` and `export` walk.

use std::ops::Range;

use bytes::Bytes;

use crate::format::{Commit, LeafItem, StoredCommit, XattrList};
use crate::types::{CommitId, RepoPath};

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
    stored: StoredCommit,
}

impl Snapshot {
    /// The commit `id`, whose body and place are at hand. The first read fetches the run of interior nodes.
    pub fn new(repository: Repository, id: CommitId, stored: StoredCommit) -> Self {
        Self { repository, id, stored }
    }

    /// The commit's id.
    pub fn id(&self) -> CommitId {
        self.id
    }

    /// The commit's body.
    pub fn commit(&self) -> &Commit {
        &self.stored.commit
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
        unimplemented!()
    }

    /// The entry at `path`; `None` when there is none. The root has no entry: [`RepoError::BadPath`].
    ///
    /// # Errors
    /// Damage, a missing object, any failure of the store.
    pub async fn get(&self, _path: &RepoPath) -> Result<Option<Found>, RepoError> {
        unimplemented!()
    }

    /// The entry with this rank; `None` behind the last.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn at_rank(&self, _rank: u64) -> Result<Option<Found>, RepoError> {
        unimplemented!()
    }

    /// The ranks of the direct children of `dir`; empty for a directory without entries or for no directory.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn children(&self, _dir: &RepoPath) -> Result<Range<u64>, RepoError> {
        unimplemented!()
    }

    /// The ranks of everything below `dir`.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn subtree(&self, _dir: &RepoPath) -> Result<Range<u64>, RepoError> {
        unimplemented!()
    }

    /// The entries of `ranks` in order, as far as the first leaf reaches (at least one unless `ranks` is empty):
    /// a scan calls again from the rank behind the last.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn page(&self, _ranks: Range<u64>) -> Result<Vec<Found>, RepoError> {
        unimplemented!()
    }

    /// The extended attributes of an entry, from the entry or from their blob.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn xattrs(&self, _item: &LeafItem) -> Result<XattrList, RepoError> {
        unimplemented!()
    }

    /// Exactly `len` bytes of a file from `offset`, or fewer at its end, straight from the store, without the SSD cache.
    ///
    /// # Errors
    /// As [`Snapshot::get`]; [`RepoError::BadPath`] when the entry is no file.
    pub async fn read(&self, _item: &LeafItem, _offset: u64, _len: usize) -> Result<Bytes, RepoError> {
        unimplemented!()
    }
}
