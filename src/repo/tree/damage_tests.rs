//! Damaged, missing and hostile nodes: an error that names the object for what lies in them, and nothing else is touched.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;

use super::reference::{Built, build, many, repository};
use crate::format::{
    BlobKind, ChildItem, CommitPlace, Compression, LeafItem, PackBuilder, PackKind, StoredBlob, Totals,
    TreeNode,
};
use crate::repo::{RepoError, Snapshot, layout};
use crate::store::{Key, MemoryStore, Store};
use crate::types::{Location, PackId};

/// The leaves of a tree, each with its place and the rank of its first entry.
async fn leaves(snapshot: &Snapshot) -> Vec<(ChildItem, u64)> {
    let TreeNode::Interior { level: 1, children } = &**snapshot.tree().root().await.unwrap() else {
        panic!("a tree of two levels")
    };
    let mut rank = 0;
    let starts = children.iter().map(|child| {
        rank += child.counts.entries;
        (child.clone(), rank - child.counts.entries)
    });
    starts.collect()
}

async fn built(items: &[LeafItem]) -> (Arc<MemoryStore>, Built) {
    let store = Arc::new(MemoryStore::new());
    let built = build(&*store, items).await;
    (store, built)
}

/// Reads every entry by rank: the ranks that fail, and the first failure.
async fn failing(snapshot: &Snapshot) -> (Vec<u64>, Option<RepoError>) {
    let (mut ranks, mut first) = (Vec::new(), None);
    for rank in 0..snapshot.commit().totals.entries {
        match snapshot.at_rank(rank).await {
            Ok(found) => assert_eq!(found.unwrap().rank, rank),
            Err(error) => {
                ranks.push(rank);
                first.get_or_insert(error);
            }
        }
    }
    (ranks, first)
}

fn meta(pack: PackId) -> Key {
    layout::pack(PackKind::Meta, pack)
}

#[tokio::test]
async fn a_damaged_leaf_takes_only_its_own_entries() {
    let (store, built) = built(&many(30, 100)).await;
    let leaves = leaves(&built.snapshot(&repository(store.clone(), None))).await;
    assert!(leaves.len() >= 3);
    let (leaf, first_rank) = &leaves[1];
    let at = leaf.hint.unwrap();
    let whole = store.get(&meta(at.pack)).await.unwrap();
    for flipped in [0, 1, 20, u64::from(at.len) / 2, u64::from(at.len) - 1] {
        let mut bytes = whole.to_vec();
        bytes[(at.offset + flipped) as usize] ^= 4;
        store.put(&meta(at.pack), bytes.into()).await.unwrap();
        let (ranks, error) = failing(&built.snapshot(&repository(store.clone(), None))).await;
        assert_eq!(ranks, Vec::from_iter(*first_rank..first_rank + leaf.counts.entries), "byte {flipped}");
        let error = error.unwrap();
        assert!(matches!(error, RepoError::Damaged { .. }), "{error}");
        let text = error.to_string();
        for part in [meta(at.pack).as_str(), &format!("at byte {}", at.offset), &leaf.id.to_hex()] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn a_pack_that_is_cut_short_or_gone_is_named() {
    let (store, built) = built(&many(30, 100)).await;
    let leaves = leaves(&built.snapshot(&repository(store.clone(), None))).await;
    let key = meta(built.place.root.pack);
    let whole = store.get(&key).await.unwrap();
    // Cut behind the first leaf; the root, which lay at the end, is known from before.
    let snapshot = built.snapshot(&repository(store.clone(), None));
    snapshot.warm().await.unwrap();
    let end = leaves[0].0.hint.unwrap().end().unwrap() as usize;
    store.put(&key, whole.slice(..end)).await.unwrap();
    let (ranks, error) = failing(&snapshot).await;
    assert_eq!(ranks[0], leaves[1].1);
    assert!(error.unwrap().to_string().contains(key.as_str()));
    // Gone.
    store.delete(&key).await.unwrap();
    let error = built.snapshot(&repository(store.clone(), None)).warm().await.unwrap_err();
    assert!(matches!(error, RepoError::Missing { .. }), "{error}");
    assert!(error.to_string().contains(key.as_str()), "{error}");
    // Healed.
    store.put(&key, whole).await.unwrap();
    assert!(failing(&built.snapshot(&repository(store, None))).await.0.is_empty());
}

#[tokio::test]
async fn swapped_hints_cost_requests_and_no_entry() {
    let items = many(30, 100);
    let (store, built) = built(&items).await;
    let leaves = leaves(&built.snapshot(&repository(store.clone(), None))).await;
    let mut children: Vec<ChildItem> = leaves.into_iter().map(|(child, _)| child).collect();
    let (first, last) = (children[0].hint, children.last().unwrap().hint);
    children[0].hint = last;
    children.last_mut().unwrap().hint = None;
    children[1].hint = first.map(|at| Location { offset: 1 << 50, ..at });
    let snapshot = hostile(&store, children, built.totals).await;
    assert_eq!(snapshot.tree().id(), built.root, "hints are no part of the identity");
    assert!(failing(&snapshot).await.0.is_empty());
}

/// A commit whose root, with a right hash, says these things of its leaves.
async fn hostile(store: &Arc<MemoryStore>, children: Vec<ChildItem>, totals: Totals) -> Snapshot {
    let root = TreeNode::Interior { level: 1, children };
    let (id, blob) = root.encode();
    let mut pack = PackBuilder::new(PackId::from_bytes([66; 16]), PackKind::Meta);
    let place = pack.push(&StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), &blob, Compression::Never));
    let pack = pack.finish();
    store.put(&meta(pack.id), pack.bytes).await.unwrap();
    let place = CommitPlace { root: place, interior: place.span() };
    Built { root: id, place, totals, nodes: Vec::new() }.snapshot(&repository(store.clone(), None))
}

#[tokio::test]
async fn what_a_parent_says_falsely_is_found_out_at_the_child() {
    let (store, built) = built(&many(30, 100)).await;
    let leaves = leaves(&built.snapshot(&repository(store.clone(), None))).await;
    let children: Vec<ChildItem> = leaves.into_iter().map(|(child, _)| child).collect();
    let lies: [fn(&mut Vec<ChildItem>); 5] = [
        |c| c[1].counts.entries += 1,
        |c| c[1].counts.bytes += 1,
        |c| c[1].last_key = super::reference::key("d000010/f000001.txt.x"),
        // Two children change places: the keys that their parent says no longer end them.
        |c| (c[0].id, c[1].id) = (c[1].id, c[0].id),
        |c| c[1].counts.files -= 1,
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut children = children.clone();
        lie(&mut children);
        children.sort_by(|a, b| a.last_key.cmp(&b.last_key));
        let mut totals = Totals::default();
        for child in &children {
            totals.entries += child.counts.entries;
            totals.files += child.counts.files;
            totals.bytes += child.counts.bytes;
        }
        let snapshot = hostile(&store, children, totals).await;
        let mut failed = 0;
        for rank in 0..totals.entries {
            failed += u64::from(snapshot.at_rank(rank).await.is_err());
        }
        assert!(failed > 0 && failed < totals.entries, "lie {number}: {failed} of {}", totals.entries);
    }
}

#[tokio::test]
async fn a_node_that_is_its_own_ancestor_ends_in_an_error() {
    // No hash can make one; a level that does not fall stands for it.
    let (store, built) = built(&many(30, 100)).await;
    let root = built.snapshot(&repository(store.clone(), None)).tree().root().await.unwrap().clone();
    let child = ChildItem {
        last_key: root.last_key().unwrap().clone(),
        id: built.root,
        counts: root.counts(),
        hint: Some(built.place.root),
    };
    let snapshot = hostile(&store, vec![child], built.totals).await;
    let error = snapshot.at_rank(0).await.unwrap_err();
    assert!(error.to_string().contains("level"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_pack_at_all() {
    let (store, built) = built(&many(3, 10)).await;
    let key = meta(built.place.root.pack);
    for bytes in [&b""[..], b"<html>404</html>", &[0; 100_000]] {
        store.put(&key, Bytes::copy_from_slice(bytes)).await.unwrap();
        let error = built.snapshot(&repository(store.clone(), None)).warm().await.unwrap_err();
        assert!(error.to_string().contains(key.as_str()), "{error}");
    }
}
