//! Shared by the tests of local files: a repository in memory behind a recorder, and local trees.

#![allow(dead_code)] // every test binary uses a part
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use atfs::format::LeafItem;
use atfs::meta::Index;
use atfs::repo::change::{Change, Committed, NewCommit};
use atfs::repo::files::{AddItem, Added, add};
use atfs::repo::{InitOptions, RepoError, Repository, Services, Snapshot};
use atfs::store::{MemoryStore, Operation, RecordStore, Store};
use atfs::types::{NoProgress, RefKind, RefName, RepoPath, SeededRandom, SystemClock};

pub(crate) struct World {
    pub(crate) store: Arc<RecordStore>,
    pub(crate) repository: Repository,
}

pub(crate) fn services(seed: u64, index: Option<Index>) -> Services {
    let random = Arc::new(SeededRandom::new(seed));
    Services { clock: Arc::new(SystemClock), random, index, who: "T <t@example.org>".into() }
}

pub(crate) async fn world() -> World {
    world_on(Arc::new(MemoryStore::new())).await
}

pub(crate) async fn world_on(store: Arc<dyn Store>) -> World {
    world_with(store, None).await
}

pub(crate) async fn world_with(store: Arc<dyn Store>, index: Option<Index>) -> World {
    let store = Arc::new(RecordStore::new(store));
    let repository =
        Repository::init(store.clone(), services(1, index), InitOptions::default()).await.unwrap();
    World { store, repository }
}

pub(crate) fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

pub(crate) fn main_branch() -> RefName {
    RefName::new("main").unwrap()
}

impl World {
    /// The same repository, opened by somebody who knows nothing of it.
    pub(crate) async fn another(&self) -> Self {
        let store = Arc::new(RecordStore::new(self.store.clone()));
        let repository = Repository::open(store.clone(), services(2, None)).await.unwrap();
        Self { store, repository }
    }

    pub(crate) async fn change(&self) -> Change {
        Change::begin(&self.repository, &main_branch()).await.unwrap()
    }

    /// Adds `from` as `to` to the head of the branch, without a commit.
    pub(crate) async fn try_add(&self, from: &Path, to: &str) -> Result<Added, RepoError> {
        let item = AddItem { from: from.to_owned(), to: path(to) };
        add(&self.change().await.snapshot(), vec![item], Arc::new(NoProgress)).await
    }

    pub(crate) async fn add(&self, from: &Path, to: &str) -> Added {
        self.try_add(from, to).await.unwrap()
    }

    /// Adds and commits.
    pub(crate) async fn commit(&self, from: &Path, to: &str) -> (Added, Committed) {
        let change = self.change().await;
        let item = AddItem { from: from.to_owned(), to: path(to) };
        let added = add(&change.snapshot(), vec![item], Arc::new(NoProgress)).await.unwrap();
        let new = NewCommit::new("add", "test");
        let committed = change.commit(&added.edits, &added.referenced, &new).await.unwrap();
        (added, committed)
    }

    pub(crate) async fn head(&self) -> Snapshot {
        let head = self.repository.head(RefKind::Branch, &main_branch()).await.unwrap();
        self.repository.snapshot(&head.into())
    }

    /// The whole content of an entry.
    pub(crate) async fn content(&self, item: &LeafItem) -> Vec<u8> {
        let len = usize::try_from(item.entry.size()).unwrap();
        self.head().await.read(item, 0, len).await.unwrap().to_vec()
    }

    /// Bytes put under `data/` since the last reset of the recorder.
    pub(crate) fn data_bytes(&self) -> u64 {
        let put =
            |call: &&atfs::store::Call| call.operation == Operation::Put && call.key.starts_with("data/");
        self.store.calls().iter().filter(put).map(|call| call.bytes).sum()
    }
}

/// What the edits put at `to`.
pub(crate) fn item(added: &Added, to: &str) -> LeafItem {
    let key = atfs::format::TreeKey::of(&path(to)).unwrap();
    let placed = added.edits.get(&key).flatten().unwrap_or_else(|| panic!("{to} was added"));
    LeafItem { key, entry: placed.entry, hints: placed.hints }
}

/// Bytes that do not compress; equal seeds, equal bytes.
pub(crate) fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes
}
