//! Small files: fetched together, kept in slabs, checked whenever they leave them.
#![allow(clippy::unwrap_used)]

mod cache_support;
mod mount_common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use atfs::cache::Cache;
use atfs::fs::{Ino, Lookup, Owner, View};
use atfs::meta::{Index, IndexOptions};
use atfs::repo::{InitOptions, Repository, Services};
use atfs::store::{Call, MemoryStore, RecordStore, Store};
use cache_support::{content, files, open};
use mount_common::{services, writer};

/// 200 files of 40 KiB in four directories: 8 MiB, of one pack.
const FILES: usize = 200;

fn bytes_of(n: usize) -> bytes::Bytes {
    content(n as u64, 40 << 10)
}

fn name_of(n: usize) -> (String, String) {
    (format!("dir{}", n / 50), format!("{n:03}"))
}

fn fill(source: &Path, files: usize) {
    for n in 0..files {
        let (dir, name) = name_of(n);
        fs::create_dir_all(source.join(&dir)).unwrap();
        fs::write(source.join(dir).join(name), bytes_of(n)).unwrap();
    }
}

/// A repository in memory that holds the files as branch `work`.
async fn repository() -> Arc<dyn Store> {
    repository_of(FILES).await
}

async fn repository_of(files: usize) -> Arc<dyn Store> {
    let source = tempfile::tempdir().unwrap();
    fill(source.path(), files);
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store.clone(), services(), InitOptions::default()).await.unwrap();
    writer::commit(&repository, "work", source.path()).await;
    store
}

/// A mount of it, without a mount: as one process sees it.
struct Node {
    view: View,
    store: Arc<RecordStore>,
    cache: Arc<Cache>,
}

impl Node {
    async fn new(store: Arc<dyn Store>, dir: &Path) -> Self {
        Self::with(store, dir, 1 << 30).await
    }

    async fn with(store: Arc<dyn Store>, dir: &Path, cache_bytes: u64) -> Self {
        let index = Index::open(&dir.join("state"), &IndexOptions::default()).unwrap();
        let cache = open(&dir.join("cache"), cache_bytes);
        Self::beside(store, index, cache).await
    }

    async fn beside(store: Arc<dyn Store>, index: Index, cache: Arc<Cache>) -> Self {
        let store = Arc::new(RecordStore::new(store));
        let services = Services { index: Some(index), ..services() };
        let repository = Repository::open(store.clone(), services).await.unwrap();
        repository.keep_small_in(cache.clone());
        let resolved = repository.resolve(&"work".parse().unwrap()).await.unwrap();
        let snapshot = repository.snapshot(&resolved);
        let view =
            View::of_commit(snapshot, "mem".into(), "work".into(), Owner::default(), Some(cache.clone()));
        store.reset();
        Self { view, store, cache }
    }

    async fn read(&self, n: usize) -> bytes::Bytes {
        let (dir, name) = name_of(n);
        let mut ino = Ino::ROOT;
        for name in [dir, name] {
            let Lookup::Found(attr, _) = self.view.lookup(ino, name.as_bytes()).await.unwrap() else {
                panic!("{name} is absent");
            };
            ino = attr.ino;
        }
        let file = self.view.open(ino).await.unwrap();
        self.view.read(&file, 0, 1 << 20).await.unwrap()
    }

    /// The ranges of data packs that were asked of the store.
    fn fetched(&self) -> Vec<(String, u64)> {
        let of_data = |call: &Call| call.key.starts_with("data/");
        let calls = self.store.calls();
        calls.iter().filter(|call| of_data(call)).map(|call| (call.key.clone(), call.bytes)).collect()
    }
}

/// Every file once, in an order that jumps about.
async fn read_all(node: &Node) {
    for turn in 0..FILES {
        let n = turn * 73 % FILES;
        assert!(node.read(n).await == bytes_of(n), "file {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shuffled_epoch_crosses_the_network_in_few_requests_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = repository().await;
    let node = Node::new(store.clone(), dir.path()).await;
    read_all(&node).await;
    let fetched = node.fetched();
    let sum: u64 = fetched.iter().map(|(_, bytes)| bytes).sum();
    let all = (FILES * ((40 << 10) + 1)) as u64;
    assert!((all..all + (1 << 20)).contains(&sum), "{sum} bytes were fetched of {all}");
    assert!(fetched.len() <= 30, "{} requests for {FILES} files", fetched.len());
    // A second epoch, and a restart: nothing is fetched.
    read_all(&node).await;
    assert_eq!(node.fetched().len(), fetched.len());
    drop(node);
    let node = Node::new(store, dir.path()).await;
    read_all(&node).await;
    assert_eq!(node.fetched(), []);
    assert_eq!(node.cache.stats().wrong_on_disk, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_too_small_for_neighbours_brings_none() {
    const MANY: usize = 2400;
    let dir = tempfile::tempdir().unwrap();
    let store = repository_of(MANY).await;
    // An eighth of what is read.
    let node = Node::with(store, dir.path(), 12 << 20).await;
    let mut read = 0;
    for turn in 0..3 * MANY {
        let n = turn * 1009 % MANY;
        assert!(node.read(n).await == bytes_of(n), "file {n}");
        read += 40 << 10;
    }
    let fetched: u64 = node.fetched().iter().map(|(_, bytes)| bytes).sum();
    // Several times that much comes before it is known that it comes in vain.
    assert!(fetched < 4 * read, "{} MiB were fetched for {} MiB", fetched >> 20, read >> 20);
    assert_eq!(node.cache.stats().wrong_on_disk, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_rot_in_a_slab_are_fetched_again_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let store = repository().await;
    let node = Node::new(store.clone(), dir.path()).await;
    read_all(&node).await;
    // One bit in every 4 KiB of one slab.
    let slabs = files(&dir.path().join("cache/v1/slabs"));
    assert_eq!(slabs.len(), 1);
    let file = fs::OpenOptions::new().read(true).write(true).open(&slabs[0]).unwrap();
    for at in (0..file.metadata().unwrap().len()).step_by(4096) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    read_all(&node).await;
    assert!(node.cache.stats().wrong_on_disk > 0);
    // Mended on the way.
    let before = node.store.calls().len();
    read_all(&node).await;
    assert_eq!(node.store.calls().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_contents_of_another_repository_are_not_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (repository().await, repository().await);
    let node = Node::new(first, dir.path()).await;
    read_all(&node).await;
    let index = Index::open(&dir.path().join("state-of-another"), &IndexOptions::default()).unwrap();
    // Another daemon's index knows nothing of it; that of this node does.
    let other = Node::beside(second.clone(), index, node.cache.clone()).await;
    assert!(other.read(7).await == bytes_of(7));
    assert!(!other.fetched().is_empty());
    drop(other);
    let index = {
        let cache = node.cache.clone();
        drop(node);
        let index = Index::open(&dir.path().join("state"), &IndexOptions::default()).unwrap();
        (index, cache)
    };
    let other = Node::beside(second, index.0, index.1).await;
    read_all(&other).await;
    assert_eq!(other.fetched(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_read_by_itself_costs_about_a_mebibyte() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::new(repository().await, dir.path()).await;
    assert!(node.read(111).await == bytes_of(111));
    let fetched = node.fetched();
    assert_eq!(fetched.len(), 1, "{fetched:?}");
    assert!(fetched[0].1 <= (1 << 20) + (40 << 10), "{fetched:?}");
}
