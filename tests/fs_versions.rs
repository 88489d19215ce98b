//! The next version of a long file takes from the cache what it has in common with the one before, and only what is right.
#![allow(clippy::unwrap_used)]

mod cache_support;
mod mount_common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use atfs::cache::Cache;
use atfs::fs::{Ino, Lookup, Owner, View};
use atfs::meta::{Index, IndexOptions};
use atfs::repo::{InitOptions, Repository, Services};
use atfs::store::{MemoryStore, RecordStore, Store};
use cache_support::{content, files, open};
use mount_common::{services, writer};

const MIB: usize = 1 << 20;

/// Chunks of the file, of 1 MiB each.
const CHUNKS: usize = 12;

/// Version `n` of the file differs from version 0 in its chunk `n`.
fn version(n: usize) -> Vec<u8> {
    let mut bytes = content(0, CHUNKS * MIB).to_vec();
    if n > 0 {
        bytes[n * MIB..][..MIB].copy_from_slice(&content(n as u64, MIB));
    }
    bytes
}

/// A repository in memory with the branches `v0`, `v1`, ..., each of which has packs of its own.
async fn repository(versions: usize) -> Arc<dyn Store> {
    let source = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store.clone(), services(), InitOptions::default()).await.unwrap();
    for n in 0..versions {
        fs::write(source.path().join("long"), version(n)).unwrap();
        writer::commit(&repository, &format!("v{n}"), source.path()).await;
    }
    store
}

/// A machine with a repository.
struct Node {
    index: Index,
    store: Arc<RecordStore>,
    cache: Arc<Cache>,
}

impl Node {
    async fn new(store: Arc<dyn Store>, dir: &Path) -> Self {
        let store = Arc::new(RecordStore::new(store));
        let index = Index::open(&dir.join("state"), &IndexOptions::default()).unwrap();
        let cache = open(&dir.join("cache"), 1 << 30);
        Self { index, store, cache }
    }

    /// Reads `range` of the file of version `n`, as a mount of a process that has just started would, and compares it.
    async fn read(&self, n: usize, range: std::ops::Range<usize>) {
        let services = Services { index: Some(self.index.clone()), ..services() };
        let repository = Repository::open(self.store.clone(), services).await.unwrap();
        repository.keep_small_in(self.cache.clone());
        let resolved = repository.resolve(&format!("v{n}").parse().unwrap()).await.unwrap();
        let snapshot = repository.snapshot(&resolved);
        let cache = Some(self.cache.clone());
        let view = View::of_commit(snapshot, "mem".into(), format!("v{n}"), Owner::default(), cache);
        let Lookup::Found(attr, _) = view.lookup(Ino::ROOT, b"long").await.unwrap() else { panic!("absent") };
        let file = view.open(attr.ino).await.unwrap();
        let bytes = view.read(&file, range.start as u64, range.len()).await.unwrap();
        assert!(bytes == version(n)[range], "version {n}");
    }

    async fn read_all(&self, n: usize) {
        for at in 0..CHUNKS {
            self.read(n, at * MIB..(at + 1) * MIB).await;
        }
    }

    /// Chunks that came from the store since the last time, by their bytes.
    fn fetched(&self) -> usize {
        let bytes: u64 = self
            .store
            .calls()
            .iter()
            .filter(|call| call.key.starts_with("data/"))
            .map(|call| call.bytes)
            .sum();
        self.store.reset();
        bytes as usize / MIB
    }

    /// The file of a complete content, when there is one only.
    fn only_file(&self, dir: &Path) -> std::path::PathBuf {
        let files = files(&dir.join("cache/v1/files"));
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_fetches_the_chunks_that_are_new() {
    let dir = tempfile::tempdir().unwrap();
    let store = repository(4).await;
    let node = Node::new(store.clone(), dir.path()).await;
    node.read_all(0).await;
    assert_eq!(node.fetched(), CHUNKS);
    node.read_all(1).await;
    assert_eq!(node.fetched(), 1);
    assert_eq!(node.cache.stats().bytes_lent, ((CHUNKS - 1) * MIB) as u64);
    // A part of a version lends what it has, and no more. The chunk that version 1 changed is still in version 0.
    node.read(2, MIB..5 * MIB / 2).await;
    assert_eq!(node.fetched(), 1);
    // After a restart as well: what is on disk counts, not what this process remembers.
    drop(node);
    let node = Node::new(store, dir.path()).await;
    node.read_all(3).await;
    assert_eq!(node.fetched(), 1);
    node.read_all(2).await;
    // Version 2 was not complete when the process ended, so its own chunk went with it.
    assert_eq!(node.fetched(), 1);
    assert_eq!(node.cache.stats().wrong_on_disk, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_was_evicted_lends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::new(repository(2).await, dir.path()).await;
    node.read_all(0).await;
    node.cache.prune(0);
    node.fetched();
    node.read_all(1).await;
    assert_eq!(node.fetched(), CHUNKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_rots_on_disk_is_not_lent() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::new(repository(2).await, dir.path()).await;
    node.read_all(0).await;
    node.fetched();
    let path = node.only_file(dir.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (rotten, mut byte) = (5, [0]);
    file.read_exact_at(&mut byte, (rotten * MIB) as u64 + 77).unwrap();
    file.write_all_at(&[byte[0] ^ 1], (rotten * MIB) as u64 + 77).unwrap();
    node.read_all(1).await;
    // The new chunk, and all from the rotten one on: a file that is wrong in one place is not believed in another.
    assert_eq!(node.fetched(), 1 + (CHUNKS - rotten));
    assert_eq!(node.cache.stats().wrong_on_disk, 1);
    // Who reads the old version gets its bytes, too: they have been taken off the disk there.
    node.read_all(0).await;
}
