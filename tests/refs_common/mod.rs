//! What the tests of refs share: a repository in memory, commits without a tree behind them, a clock to set.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod scripted;
pub mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atfs::format::{Commit, CommitPlace, Operation, RecordKind, StoredCommit, Totals};
use atfs::repo::refs::{Appended, Draft, Head, Link, Log, MemoryNotebook};
use atfs::repo::{InitOptions, RepoError, Repository, Services, layout};
use atfs::store::{Key, MemoryStore, Store};
use atfs::types::{
    CommitId, Location, ManualClock, NodeId, Nonce, PackId, RefKind, RefName, Revision, SeededRandom,
    Timestamp,
};

/// 2026-11-23T10:00:00Z.
pub const START: i64 = 1_795_428_000_000_000;

pub struct World {
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    pub notebook: Arc<MemoryNotebook>,
    pub repository: Repository,
}

pub fn services(clock: &Arc<ManualClock>, seed: u64) -> Services {
    Services {
        clock: Arc::clone(clock) as _,
        random: Arc::new(SeededRandom::new(seed)),
        index: None,
        who: "Ada <ada@example.org>".into(),
    }
}

/// A repository with its default branch, in memory.
pub async fn world() -> World {
    let store = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(START)));
    let notebook = Arc::new(MemoryNotebook::default());
    let repository = Repository::init_with(
        Arc::clone(&store) as _,
        services(&clock, 1),
        Arc::clone(&notebook) as _,
        InitOptions::default(),
    )
    .await
    .unwrap();
    World { store, clock, notebook, repository }
}

impl World {
    /// The same repository as another process of this machine sees it.
    pub async fn another_process(&self) -> Repository {
        let notebook = Arc::clone(&self.notebook) as _;
        Repository::open_with(Arc::clone(&self.store) as _, services(&self.clock, 2), notebook).await.unwrap()
    }

    /// The same repository as another machine sees it.
    pub async fn another_machine(&self) -> Repository {
        self.through(Arc::clone(&self.store) as _).await
    }

    /// The same repository as another machine sees it through another store.
    pub async fn through(&self, store: Arc<dyn Store>) -> Repository {
        // Machines that drew the same numbers would be one machine.
        static MACHINES: AtomicU64 = AtomicU64::new(100);
        let seed = MACHINES.fetch_add(1, Ordering::Relaxed);
        Repository::open(store, services(&self.clock, seed)).await.unwrap()
    }

    pub async fn object(&self, key: &Key) -> Vec<u8> {
        self.store.get(key).await.unwrap().to_vec()
    }

    pub async fn put(&self, key: &Key, bytes: impl Into<Vec<u8>>) {
        self.store.put(key, bytes.into().into()).await.unwrap();
    }
}

pub fn name(text: &str) -> RefName {
    RefName::new(text).unwrap()
}

pub fn revision(text: &str) -> Revision {
    text.parse().unwrap()
}

pub fn operation() -> Operation {
    Operation { name: "test".into(), reason: String::new() }
}

pub fn record_key(kind: RefKind, of: &str, seq: u64) -> Key {
    layout::record(&layout::log_prefix(kind, &name(of)), seq)
}

/// A commit whose tree nobody will read; `nonce` tells it from others.
pub fn commit(message: &str, parents: &[CommitId], nonce: u8) -> (CommitId, StoredCommit) {
    let commit = Commit {
        tree: NodeId::of(b"a tree"),
        parents: parents.to_vec(),
        author: "Ada <ada@example.org>".into(),
        time: Timestamp::from_micros(START),
        message: message.into(),
        metadata: BTreeMap::new(),
        totals: Totals::default(),
        nonce: Nonce::from_bytes([nonce; 16]),
    };
    let root = Location { pack: PackId::from_bytes([9; 16]), offset: 32, len: 10 };
    (commit.id(), StoredCommit { commit, place: CommitPlace { root, interior: root.span() } })
}

/// Writes the commit object too.
pub async fn stored_commit(
    repository: &Repository,
    message: &str,
    parents: &[CommitId],
    nonce: u8,
) -> (CommitId, StoredCommit) {
    let (id, stored) = commit(message, parents, nonce);
    repository.store().put(&layout::commit(id), stored.encode().into()).await.unwrap();
    (id, stored)
}

pub fn draft(kind: RecordKind, head: Option<(CommitId, StoredCommit)>) -> Draft {
    Draft {
        kind,
        head,
        operation: operation(),
        checks: Vec::new(),
        settings: BTreeMap::new(),
        settings_seq: 0,
        gc_epoch: 0,
    }
}

/// Appends behind the newest record; the race must be won.
pub async fn append(log: &Log, kind: RecordKind, head: Option<(CommitId, StoredCommit)>) -> Arc<Link> {
    let newest = log.newest().await.unwrap().link;
    match log.append(newest.as_deref(), draft(kind, head)).await.unwrap() {
        Appended::Won(link) => link,
        Appended::Lost => panic!("nobody else was there"),
    }
}

/// Moves a branch by one commit.
pub async fn move_branch(repository: &Repository, branch: &str, message: &str, nonce: u8) -> CommitId {
    let head = repository.head(RefKind::Branch, &name(branch)).await.unwrap();
    let new = stored_commit(repository, message, &[head.id], nonce).await;
    append(&Log::of_ref(repository, RefKind::Branch, &name(branch)), RecordKind::Move, Some(new.clone()))
        .await;
    new.0
}

pub async fn create(repository: &Repository, kind: RefKind, of: &str, at: &Head) -> Result<Head, RepoError> {
    repository.create_ref(kind, &name(of), (at.id, at.stored.clone()), operation()).await
}

pub async fn main_head(repository: &Repository) -> Head {
    repository.head(RefKind::Branch, &name("main")).await.unwrap()
}
