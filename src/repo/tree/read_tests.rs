//! Reading trees built by the reference builder: results against the plain list, and requests counted.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;

use super::reference::{Built, build, dir, file, key, many, repository};
use crate::format::{LeafItem, TreeKey};
use crate::repo::{RepoError, Snapshot};
use crate::store::{MemoryStore, Operation, RecordStore};
use crate::types::RepoPath;

async fn recorded(items: &[LeafItem]) -> (Arc<RecordStore>, Built) {
    let store = Arc::new(RecordStore::new(Arc::new(MemoryStore::new())));
    let built = build(&*store, items).await;
    store.reset();
    (store, built)
}

fn fresh(store: &Arc<RecordStore>, built: &Built) -> Snapshot {
    store.reset();
    built.snapshot(&repository(store.clone(), None))
}

async fn scan(snapshot: &Snapshot) -> Vec<LeafItem> {
    let mut ranks = 0..snapshot.commit().totals.entries;
    let mut items = Vec::new();
    while !ranks.is_empty() {
        let page = snapshot.page(ranks.clone()).await.unwrap();
        assert_eq!(page[0].rank, ranks.start);
        ranks.start = page.last().unwrap().rank + 1;
        items.extend(page.into_iter().map(|found| found.item));
    }
    items
}

#[tokio::test]
async fn every_entry_is_found_by_key_and_by_rank() {
    let mut items = many(40, 50);
    items.push(dir("d000003/f000004.txt.d"));
    items.push(file("d000003/f000004.txt.d/deep", "x"));
    items.sort_by(|a, b| a.key.cmp(&b.key));
    let (store, built) = recorded(&items).await;
    assert!(built.nodes.len() >= 2, "{:?}", built.nodes);
    let snapshot = fresh(&store, &built);
    assert_eq!(scan(&snapshot).await, items);
    for (rank, item) in items.iter().enumerate() {
        let found = snapshot.get(&item.key.to_path().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.rank, &found.item), (rank as u64, item));
        assert_eq!(snapshot.at_rank(rank as u64).await.unwrap().unwrap(), found);
    }
    assert_eq!(snapshot.at_rank(items.len() as u64).await.unwrap(), None);
    assert_eq!(snapshot.at_rank(u64::MAX).await.unwrap(), None);
    assert_eq!(snapshot.page(5..5).await.unwrap(), []);
    for missing in ["a", "d000003/f0000", "d000003/f000004.txt/x", "zzz", "d000039/zzz"] {
        assert_eq!(snapshot.get(&RepoPath::new(missing).unwrap()).await.unwrap(), None, "{missing}");
    }
    assert!(matches!(snapshot.get(&RepoPath::ROOT).await, Err(RepoError::BadPath { .. })));
}

#[tokio::test]
async fn listings_are_the_ranges_of_their_prefixes() {
    let mut items = many(30, 30);
    for path in ["d000010.x", "d000010/sub", "d000010/sub/a", "d000010/sub/b", "empty"] {
        items.push(if path.ends_with(['a', 'b']) { file(path, "x") } else { dir(path) });
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    let (store, built) = recorded(&items).await;
    let snapshot = fresh(&store, &built);
    let expected = |prefix: Vec<u8>| {
        let start = items.partition_point(|item| item.key.as_bytes() < prefix.as_slice()) as u64;
        let count = items.iter().filter(|item| item.key.as_bytes().starts_with(&prefix)).count() as u64;
        start..start + count
    };
    for path in ["", "d000010", "d000010/sub", "empty", "d000029", "no", "zzz"] {
        let path = RepoPath::new(path).unwrap();
        let children = snapshot.children(&path).await.unwrap();
        assert_eq!(children, expected(TreeKey::children_prefix(&path)), "{path}");
        let subtree = snapshot.subtree(&path).await.unwrap();
        assert_eq!(subtree, expected(TreeKey::subtree_prefix(&path)), "{path}");
    }
}

#[tokio::test]
async fn empty_and_tiny_trees() {
    let (store, built) = recorded(&[]).await;
    let snapshot = fresh(&store, &built);
    assert_eq!(snapshot.children(&RepoPath::ROOT).await.unwrap(), 0..0);
    assert_eq!(snapshot.get(&RepoPath::new("a").unwrap()).await.unwrap(), None);
    assert_eq!(snapshot.at_rank(0).await.unwrap(), None);
    assert_eq!(snapshot.page(0..10).await.unwrap(), []);
    let (store, built) = recorded(&[file("a", "x")]).await;
    let snapshot = fresh(&store, &built);
    assert_eq!(snapshot.children(&RepoPath::ROOT).await.unwrap(), 0..1);
    assert_eq!(store.count(Operation::GetRange), 1);
}

#[tokio::test]
async fn the_first_listing_costs_the_interior_run_and_its_leaves() {
    // Long names make small nodes, and so three levels of few entries.
    let long = "x".repeat(150);
    let mut items: Vec<_> = (0..200).map(|d| dir(&format!("d{d:06}"))).collect();
    for d in 0..200 {
        items.extend((0..500).map(|f| file(&format!("d{d:06}/f{f:06}{long}"), "x")));
    }
    let (store, built) = recorded(&items).await;
    assert!(built.nodes.len() >= 3, "{:?}", built.nodes);
    let snapshot = fresh(&store, &built);
    let ranks = snapshot.children(&RepoPath::ROOT).await.unwrap();
    assert_eq!(ranks, 0..200);
    assert_eq!(snapshot.page(ranks).await.unwrap().len(), 200);
    assert_eq!((store.count(Operation::GetRange), store.depth()), (2, 2));
    store.reset();
    // Any other look-up: one leaf.
    let path = RepoPath::new(format!("d000150/f000250{long}")).unwrap();
    assert!(snapshot.get(&path).await.unwrap().is_some());
    assert_eq!(store.calls().len(), 1);
    store.reset();
    // And again: nothing, and without yielding.
    assert!(snapshot.get(&path).now_or_never().expect("at hand").unwrap().is_some());
    assert_eq!(store.calls(), []);
}

#[tokio::test]
async fn a_full_scan_fetches_many_leaves_at_once() {
    let items = many(200, 500);
    let (store, built) = recorded(&items).await;
    let snapshot = fresh(&store, &built);
    assert_eq!(scan(&snapshot).await.len(), items.len());
    let requests = store.calls().len();
    assert!(requests <= 2 + built.nodes[1] + built.nodes[0].div_ceil(64), "{requests} for {:?}", built.nodes);

    // As `find` does it: each directory by itself.
    let snapshot = fresh(&store, &built);
    let mut seen = BTreeSet::new();
    let mut dirs = vec![RepoPath::ROOT];
    while let Some(path) = dirs.pop() {
        let mut ranks = snapshot.children(&path).await.unwrap();
        let mut below = Vec::new();
        while !ranks.is_empty() {
            let page = snapshot.page(ranks.start..ranks.end.min(ranks.start + 100)).await.unwrap();
            ranks.start += page.len() as u64;
            for found in page {
                if found.item.entry.kind() == crate::format::EntryKind::Directory {
                    below.push(found.item.key.to_path().unwrap());
                }
                seen.insert(found.rank);
            }
        }
        dirs.extend(below.into_iter().rev());
    }
    assert_eq!(seen.len(), items.len());
    let requests = store.calls().len();
    assert!(requests <= 8 + 2 * built.nodes[1] + built.nodes[0] / 32, "{requests} for {:?}", built.nodes);
}

#[tokio::test]
async fn a_commit_that_lies_about_its_totals_is_damaged() {
    let (store, built) = recorded(&many(3, 3)).await;
    let mut commit = built.commit();
    commit.commit.totals.entries += 1;
    let snapshot = Snapshot::new(repository(store.clone(), None), commit.commit.id(), commit);
    let error = snapshot.warm().await.unwrap_err();
    assert!(matches!(error, RepoError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn an_interior_run_that_is_not_there_only_costs_requests() {
    let items = many(100, 100);
    let (store, built) = recorded(&items).await;
    for wrong in [0, 1, 1 << 40, u64::MAX - built.place.interior.offset] {
        let mut commit = built.commit();
        commit.place.interior.len = wrong;
        let snapshot = Snapshot::new(repository(store.clone(), None), commit.commit.id(), commit);
        assert!(snapshot.get(&key_path(&items[5000])).await.unwrap().is_some(), "{wrong}");
    }
}

fn key_path(item: &LeafItem) -> RepoPath {
    assert_ne!(item.key, key("x"));
    item.key.to_path().unwrap()
}
