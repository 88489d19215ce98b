//! Differences of trees built by the reference builder: against the plain comparison of two maps, and requests counted.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::reference::{build, dir, file, many, repository};
use crate::format::LeafItem;
use crate::repo::{Difference, Snapshot};
use crate::store::{MemoryStore, Operation, RecordStore};

async fn snapshot(items: &[LeafItem]) -> (Arc<RecordStore>, Snapshot) {
    let store = Arc::new(RecordStore::new(Arc::new(MemoryStore::new())));
    let built = build(&*store, items).await;
    let snapshot = built.snapshot(&repository(store.clone(), None));
    store.reset();
    (store, snapshot)
}

async fn differences(before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
    let mut walk = before.differences(after).await.unwrap();
    let mut found = Vec::new();
    while let Some(difference) = walk.next().await.unwrap() {
        found.push(difference);
    }
    found
}

/// What a comparison of the two lists says.
fn expected(before: &[LeafItem], after: &[LeafItem]) -> Vec<Difference> {
    let mut by_key: BTreeMap<_, (Option<LeafItem>, Option<LeafItem>)> = BTreeMap::new();
    for item in before {
        by_key.entry(item.key.clone()).or_default().0 = Some(item.clone());
    }
    for item in after {
        by_key.entry(item.key.clone()).or_default().1 = Some(item.clone());
    }
    let differ =
        by_key.into_values().filter(|(b, a)| b.as_ref().map(|i| &i.entry) != a.as_ref().map(|i| &i.entry));
    differ.map(|(before, after)| Difference { before, after }).collect()
}

async fn check(before: &[LeafItem], after: &[LeafItem]) {
    let ((_, old), (_, new)) = (snapshot(before).await, snapshot(after).await);
    assert_eq!(differences(&old, &new).await, expected(before, after));
    assert_eq!(differences(&new, &old).await, expected(after, before));
}

#[tokio::test]
async fn empty_equal_and_wholly_different_trees() {
    let items = many(20, 100);
    check(&[], &[]).await;
    check(&[], &items).await;
    check(&items, &items).await;
    check(&items[..1], &items).await;
    let others: Vec<_> = (0..3000).map(|i| file(&format!("x{i:05}"), "other")).collect();
    check(&items, &others).await;
}

#[tokio::test]
async fn trees_of_different_height_and_shifted_nodes() {
    let items = many(100, 100);
    check(&items, &items[5000..5010]).await;
    check(&items, &items[1..]).await;
    let mut more = items.clone();
    more.insert(0, dir("0"));
    check(&items, &more).await;
}

#[tokio::test]
async fn the_cost_follows_the_change() {
    let before = many(300, 200);
    let mut after = before.clone();
    after[100] = file(&after[100].key.to_path().unwrap().to_string(), "changed");
    after.remove(30_000);
    let ((_, old), (store, new)) = (snapshot(&before).await, snapshot(&after).await);
    assert_eq!(differences(&old, &new).await.len(), 2);
    let gets = store.calls().iter().filter(|call| call.operation == Operation::GetRange).count();
    // The run of interior nodes, and for each change its leaf and perhaps the one behind.
    assert!((2..=5).contains(&gets), "{gets} requests");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_two_histories(changes in prop::collection::vec((0usize..4000, 0u8..3), 0..40)) {
        let before = many(20, 200);
        let mut map: BTreeMap<_, _> = before.iter().map(|item| (item.key.clone(), item.clone())).collect();
        for (at, what) in changes {
            let path = before[at % before.len()].key.to_path().unwrap();
            let item = match what {
                0 => {
                    map.remove(&before[at % before.len()].key);
                    continue;
                }
                1 => file(&path.to_string(), "changed"),
                _ => file(&format!("{path}-new"), "new"),
            };
            map.insert(item.key.clone(), item);
        }
        let after: Vec<_> = map.into_values().collect();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(&before, &after));
    }
}
