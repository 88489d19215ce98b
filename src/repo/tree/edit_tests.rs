//! Edited trees against trees built from nothing; what an edit reads and writes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::reference::{SEED, build, dir, file, many, repository};
use super::{BuiltTree, Tree, edit};
use crate::format::{
    Commit, Content, EntryBody, EntryHints, LeafItem, NodeCutter, StoredCommit, TreeKey, XattrList, Xattrs,
};
use crate::repo::content::PackWriter;
use crate::repo::{Placed, Repository, Snapshot};
use crate::store::{MemoryStore, Operation, RecordStore};
use crate::types::{NoProgress, Nonce, RepoPath, Timestamp};

type Map = BTreeMap<TreeKey, LeafItem>;
type Change = BTreeMap<TreeKey, Option<Placed>>;

fn map(items: &[LeafItem]) -> Map {
    items.iter().map(|item| (item.key.clone(), item.clone())).collect()
}

fn placed(item: LeafItem) -> Placed {
    Placed { entry: item.entry, hints: item.hints }
}

fn apply(map: &mut Map, change: &Change) {
    for (key, edit) in change {
        match edit {
            Some(Placed { entry, hints }) => {
                let item = LeafItem { key: key.clone(), entry: entry.clone(), hints: *hints };
                map.insert(key.clone(), item);
            }
            None => drop(map.remove(key)),
        }
    }
}

/// Commits with a tree that was built.
fn snapshot(repository: &Repository, built: &BuiltTree) -> Snapshot {
    let commit = Commit {
        tree: built.root,
        parents: Vec::new(),
        author: "T <t@example.org>".into(),
        time: Timestamp::from_micros(0),
        message: String::new(),
        metadata: Default::default(),
        totals: built.totals,
        nonce: Nonce::from_bytes([0; 16]),
    };
    Snapshot::new(repository.clone(), commit.id(), StoredCommit { commit, place: built.place })
}

async fn edited(repository: &Repository, base: Option<&Tree>, change: &Change) -> BuiltTree {
    let mut writer = PackWriter::new(repository, Arc::new(NoProgress));
    let edits = change.iter().map(|(key, edit)| (key.clone(), edit.clone()));
    let built = edit(base, SEED, edits, &mut writer).await.unwrap();
    writer.finish().await.unwrap();
    built
}

/// Every entry, read back.
async fn entries(snapshot: &Snapshot) -> Vec<LeafItem> {
    let mut ranks = 0..snapshot.commit().totals.entries;
    let mut items = Vec::new();
    while !ranks.is_empty() {
        let page = snapshot.page(ranks.clone()).await.unwrap();
        ranks.start += page.len() as u64;
        items.extend(page.into_iter().map(|found| found.item));
    }
    items
}

/// Applies changes one after the other; after each the root is the one of a tree built from nothing, and the tree reads back.
async fn history(first: &Map, changes: &[Change]) {
    let repository = repository(Arc::new(MemoryStore::new()), None);
    let mut expected = Map::new();
    let mut last: Option<Snapshot> = None;
    let first: Change = first.iter().map(|(key, item)| (key.clone(), Some(placed(item.clone())))).collect();
    for change in std::iter::once(&first).chain(changes) {
        apply(&mut expected, change);
        let items: Vec<LeafItem> = expected.values().cloned().collect();
        let plain = build(&MemoryStore::new(), &items).await;
        let base = last.as_ref().map(Snapshot::tree);
        let built = edited(&repository, base, change).await;
        assert_eq!(built.totals, plain.totals);
        assert_eq!(built.root, plain.root, "{} entries in {:?} nodes", items.len(), plain.nodes);
        // Through another repository, so that everything comes from the packs.
        let fresh = super::reference::repository(repository.store().clone(), None);
        assert_eq!(entries(&snapshot(&fresh, &built)).await, items);
        last = Some(snapshot(&fresh, &built));
    }
}

/// Which keys the pool offers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keys {
    Any,
    /// Only keys behind which no node ends by its hash: every cut is one for want of room.
    Uncut,
}

fn is_uncut(key: &TreeKey) -> bool {
    (0..3u8).all(|level| {
        let mut hasher = blake3::Hasher::new_keyed(&SEED);
        hasher.update(&[level]).update(key.as_bytes());
        // Items are shorter than 4 KiB, so they cut with probability one half at most.
        u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap()) > u64::MAX / 2
    })
}

/// Entries whose sizes differ widely, by number.
fn pool_item(number: u32, version: u32, keys: Keys) -> LeafItem {
    let mut name = format!("{number:05}{}", "n".repeat((number as usize * 37) % 200));
    let mut item = file(&name, &"c".repeat(1 + (number + version * 97) as usize % 500));
    while keys == Keys::Uncut && !is_uncut(&item.key) {
        name.push('x');
        item = file(&name, "c");
    }
    let pairs = vec![(b"user.x".to_vec(), vec![1; 100 + (number * 13 + version * 331) as usize % 900])];
    item.entry.xattrs = Xattrs::Inline(XattrList::from_pairs(pairs).unwrap());
    item
}

/// A change to some numbers: a run of neighbours or scattered ones, written or removed.
fn change_of(pool: u32, keys: Keys) -> impl Strategy<Value = Change> {
    let piece = (0..pool, 1..40u32, 0..4u32, 1..50u32);
    proptest::collection::vec(piece, 1..12).prop_map(move |pieces| {
        let mut change = Change::new();
        for (start, count, version, stride) in pieces {
            // One piece in four removes; a large stride scatters.
            let stride = if stride < 30 { 1 } else { stride };
            for i in 0..count {
                let item = pool_item((start + i * stride) % pool, version, keys);
                change.insert(item.key.clone(), (version > 0).then(|| placed(item)));
            }
        }
        change
    })
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future);
}

fn first_map(pool: u32, every: u32, keys: Keys) -> Map {
    map(&(0..pool).step_by(every as usize).map(|n| pool_item(n, 1, keys)).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_history_gives_the_tree_of_its_result(
        every in 1..4u32,
        changes in proptest::collection::vec(change_of(2000, Keys::Any), 1..5),
    ) {
        run(async { history(&first_map(2000, every, Keys::Any), &changes).await });
    }

    #[test]
    fn also_where_nodes_end_for_want_of_room(
        every in 1..3u32,
        changes in proptest::collection::vec(change_of(1500, Keys::Uncut), 1..5),
    ) {
        run(async { history(&first_map(1500, every, Keys::Uncut), &changes).await });
    }
}

/// Where the leaves of these entries begin.
fn firsts(items: &[LeafItem]) -> Vec<usize> {
    let mut cutter = NodeCutter::new(SEED, 0);
    let mut starts = vec![0];
    for (i, item) in items.iter().enumerate() {
        if cutter.must_end_before(item.cut_size()) {
            cutter.restart();
            starts.push(i);
        }
        if cutter.push_leaf(item) {
            starts.push(i + 1);
        }
    }
    starts.retain(|start| *start < items.len());
    starts.dedup();
    starts
}

/// Every way to touch the ends of leaves: their first and last entries removed, smaller, larger, preceded by a small one. What
/// ends for want of room may have room again.
#[tokio::test]
async fn edits_at_every_boundary() {
    for keys in [Keys::Any, Keys::Uncut] {
        let first = first_map(1200, 2, keys);
        let items: Vec<_> = first.values().cloned().collect();
        let store = Arc::new(MemoryStore::new());
        let plain = build(&*store, &items).await;
        let repository = repository(store, None);
        let starts = firsts(&items);
        assert_eq!(starts.len(), plain.nodes[0]);
        for start in starts.into_iter().skip(1) {
            let (at, last) = (&items[start], &items[start - 1]);
            let mut small = file("x", "c");
            small.key = at.key.clone();
            let mut before = file("x", "c");
            let path = last.key.to_path().unwrap().to_string() + "!";
            before.key = TreeKey::of(&RepoPath::new(path).unwrap()).unwrap();
            let put = |item: &LeafItem, key: &LeafItem| (key.key.clone(), Some(placed(item.clone())));
            let large = pool_item(499, 2, Keys::Any);
            for edits in [
                vec![put(&small, at)],
                vec![put(&large, at)],
                vec![(at.key.clone(), None)],
                vec![(at.key.clone(), None), (items[start + 1].key.clone(), None)],
                vec![put(&before, &before)],
                vec![(last.key.clone(), None)],
                vec![put(&small, last), put(&small, at)],
            ] {
                let change = Change::from_iter(edits);
                let built = edited(&repository, Some(plain.snapshot(&repository).tree()), &change).await;
                let mut expected = first.clone();
                apply(&mut expected, &change);
                let expected: Vec<_> = expected.into_values().collect();
                let keys: Vec<_> = change.keys().collect();
                assert_eq!(built.root, build(&MemoryStore::new(), &expected).await.root, "{keys:?}");
            }
        }
    }
}

#[tokio::test]
async fn growing_from_nothing_and_shrinking_to_nothing() {
    let all = first_map(2000, 1, Keys::Any);
    let remove: Change = all.keys().map(|key| (key.clone(), None)).collect();
    let (front, back): (Change, Change) =
        remove.clone().into_iter().partition(|(key, _)| key.as_bytes() < b"\x0001000".as_slice());
    let put: Change = all.iter().map(|(k, item)| (k.clone(), Some(placed(item.clone())))).collect();
    history(&all, &[front.clone(), back.clone(), put.clone(), back, front]).await;
    // All but the last, all but the first.
    let mut but_last = remove.clone();
    but_last.pop_last();
    let mut but_first = remove.clone();
    but_first.pop_first();
    history(&all, &[but_last, put.clone(), but_first, put, remove]).await;
    history(&Map::new(), &[Change::new()]).await;
}

#[tokio::test]
async fn changing_nothing_writes_nothing() {
    let items = many(100, 100);
    let store = Arc::new(RecordStore::new(Arc::new(MemoryStore::new())));
    let repository = repository(store.clone(), None);
    let plain = build(&*store, &items).await;
    let base = plain.snapshot(&repository);
    let same: Change = items.iter().step_by(97).map(|i| (i.key.clone(), Some(placed(i.clone())))).collect();
    let gone: Change = (0..50).map(|i| (file(&format!("d{i:06}/no"), "").key, None)).collect();
    for change in [Change::new(), same, gone] {
        store.reset();
        let built = edited(&repository, Some(base.tree()), &change).await;
        assert_eq!((built.root, built.place), (plain.root, plain.place));
        assert_eq!(store.count(Operation::Put), 0);
    }
}

/// Ten scattered edits: their leaves and the nodes above, read and written, and little else.
#[tokio::test]
async fn the_cost_follows_the_edits() {
    let long = "x".repeat(150);
    let mut items: Vec<_> = (0..300).map(|d| dir(&format!("d{d:06}"))).collect();
    for d in 0..300 {
        items.extend((0..1000).map(|f| file(&format!("d{d:06}/f{f:06}{long}"), "x")));
    }
    let store = Arc::new(RecordStore::new(Arc::new(MemoryStore::new())));
    let plain = build(&*store, &items).await;
    assert!(plain.nodes.len() >= 3 && plain.nodes[0] > 1000, "{:?}", plain.nodes);
    let (leaves, above) = (10, plain.nodes[1..].iter().sum::<usize>());
    let repository = repository(store.clone(), None);
    let change: Change = (0..leaves)
        .map(|i| {
            let item = file(&format!("d{:06}/f000500{long}", i * 29), "changed");
            (item.key.clone(), Some(placed(item)))
        })
        .collect();
    store.reset();
    let built = edited(&repository, Some(plain.snapshot(&repository).tree()), &change).await;
    let mut expected = map(&items);
    apply(&mut expected, &change);
    let items: Vec<_> = expected.into_values().collect();
    assert_eq!(built.root, build(&MemoryStore::new(), &items).await.root);
    // Read: the interior run, the leaves touched, and now and then the next one where a cut moved.
    let reads = store.calls().iter().filter(|call| call.operation == Operation::GetRange).count();
    assert!(reads <= 1 + 2 * leaves, "{reads} reads");
    // Written: one pack and its index, of the leaves and of those above.
    let puts: Vec<_> = store.calls().into_iter().filter(|call| call.operation == Operation::Put).collect();
    assert_eq!(puts.len(), 2, "{puts:?}");
    let index = puts.iter().find(|call| call.key.starts_with("index/")).unwrap();
    let nodes = (index.bytes as usize - 61) / 49;
    assert!((leaves + 2..=leaves + above + 4).contains(&nodes), "{nodes} nodes for {:?}", plain.nodes);
    // The first listing of the new commit: the run and its leaves.
    let fresh = super::reference::repository(store.clone(), None);
    let snapshot = snapshot(&fresh, &built);
    store.reset();
    let ranks = snapshot.children(&RepoPath::ROOT).await.unwrap();
    assert_eq!(snapshot.page(ranks).await.unwrap().len(), 256);
    assert_eq!(store.depth(), 2, "{:?}", store.calls());
}

#[tokio::test]
async fn entries_that_break_a_rule_are_refused_by_name() {
    let repository = repository(Arc::new(MemoryStore::new()), None);
    let mut bad = file("a/b", "x");
    bad.entry.mode = 0o4755;
    for item in [bad, dir(".atfs"), file(".atfs/x", "y")] {
        let path = item.key.to_path().unwrap().to_string();
        let mut writer = PackWriter::new(&repository, Arc::new(NoProgress));
        let edits = [(item.key.clone(), Some(placed(item)))].into_iter();
        let error = edit(None, SEED, edits, &mut writer).await.unwrap_err();
        assert!(error.to_string().contains(&path), "{error}");
    }
}

#[tokio::test]
async fn hints_travel_with_their_entries() {
    use crate::types::{ChunkId, Location, PackId};
    let mut item = file("big", "");
    let at = Location { pack: PackId::from_bytes([5; 16]), offset: 77, len: 600 };
    item.entry.body = EntryBody::File { size: 600, content: Content::Chunk(ChunkId::of(b"big")) };
    item.hints = EntryHints { content: Some(at), xattrs: None };
    let link = {
        let mut link = file("link", "");
        link.entry.body = EntryBody::Symlink { target: Bytes::from_static(b"big") };
        link
    };
    history(&map(&[item, link]), &[]).await;
}

/// A million entries on a local folder: bytes written by a small change, requests and memory of a mount and a full scan.
#[tokio::test]
#[ignore = "half a minute; run it when the tree's cost is in question"]
async fn a_million_entries() {
    use crate::store::{LocalStore, create_local_root};
    use std::time::Instant;

    fn rss() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
    let item = |d: u32, f: u32, text: &str| file(&format!("d{d:04}/{f:04}-{:08x}.jpg", d * 7919 + f), text);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("repo");
    create_local_root(&root).unwrap();
    let store = Arc::new(RecordStore::new(Arc::new(LocalStore::open(&root).unwrap())));
    let repository = repository(store.clone(), None);
    let began = Instant::now();
    let dirs = (0..1000).map(|d| dir(&format!("d{d:04}")));
    let files = (0..1000).flat_map(|d| (0..999).map(move |f| item(d, f, "x")));
    let mut writer = PackWriter::new(&repository, Arc::new(NoProgress));
    let edits = dirs.chain(files).map(|item| (item.key.clone(), Some(placed(item))));
    let first = edit(None, SEED, edits, &mut writer).await.unwrap();
    writer.finish().await.unwrap();
    println!("built in {:?}, {} bytes, {} MiB", began.elapsed(), store.bytes(Operation::Put), rss());
    assert_eq!(first.totals.entries, 1_000_000);

    store.reset();
    let repository = super::reference::repository(store.clone(), None);
    let began = Instant::now();
    let change: Change = (0..10)
        .map(|i| {
            let item = item(i * 97, i * 31, "changed");
            (item.key.clone(), Some(placed(item)))
        })
        .collect();
    let second = edited(&repository, Some(snapshot(&repository, &first).tree()), &change).await;
    let (read, written) = (store.bytes(Operation::GetRange), store.bytes(Operation::Put));
    println!("ten edits in {:?}: {read} bytes read, {written} written", began.elapsed());
    assert!(written < 2_000_000);

    store.reset();
    let repository = super::reference::repository(store.clone(), None);
    let snapshot = snapshot(&repository, &second);
    let ranks = snapshot.children(&RepoPath::ROOT).await.unwrap();
    snapshot.page(ranks).await.unwrap();
    println!("first listing: {} requests, {} in sequence, {} MiB", store.calls().len(), store.depth(), rss());
    assert!(store.depth() <= 2);
    let began = Instant::now();
    let mut ranks = 0..snapshot.commit().totals.entries;
    while !ranks.is_empty() {
        ranks.start += snapshot.page(ranks.clone()).await.unwrap().len() as u64;
    }
    println!("scan in {:?}, {} requests, {} MiB", began.elapsed(), store.calls().len(), rss());
}
