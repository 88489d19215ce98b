//! Content below files: uploads that fail, chunks that the node's index remembers, manifests of several levels.

#![allow(clippy::unwrap_used)]

mod files_support;

use std::fs;
use std::sync::Arc;

use atfs::format::{ChunkerParameters, PackIndex, PackKind, RepositoryFormat};
use atfs::meta::{Index, IndexOptions};
use atfs::repo::{InitOptions, RepoError, Repository, layout};
use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::store::{ListRequest, MemoryStore, Operation, RecordStore, Store, list_all};
use atfs::types::{RepoUuid, Timestamp};
use files_support::{World, item, main_branch, noise, world_on, world_with};
use tempfile::tempdir;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_out_when_an_upload_failed() {
    for folder in ["data/", "index/"] {
        let fault = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), 1));
        let world = world_on(fault.clone()).await;
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("f"), noise(1, 100_000)).unwrap();
        fault.set_rules([FaultRule::first(1, Fault::Denied).on(Operation::Put).under(folder)]);
        let error = world.try_add(dir.path(), "").await.map(drop).unwrap_err();
        assert!(matches!(error, RepoError::Store(_)) && error.to_string().contains(folder), "{error}");
        assert_eq!(fault.injected().len(), 1);
        // Nothing of the failure is remembered as stored.
        let added = world.add(dir.path(), "").await;
        assert_eq!(world.content(&item(&added, "f")).await, noise(1, 100_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_remembers_is_used_only_while_its_pack_is_there() {
    let (dir, state) = (tempdir().unwrap(), tempdir().unwrap());
    let index = Index::open(state.path(), &IndexOptions::default()).unwrap();
    let world = world_with(Arc::new(MemoryStore::new()), Some(index)).await;
    fs::write(dir.path().join("f"), noise(2, 900_000)).unwrap();
    let first = world.add(dir.path(), "a").await;
    let pack = *first.referenced.data.first().unwrap();

    // Never committed, and under another path: only the index knows of it.
    world.store.reset();
    let second = world.add(dir.path(), "b").await;
    assert_eq!((world.data_bytes(), second.summary.new_bytes), (0, 0));
    assert!(second.referenced.data.contains(&pack), "a collector's fence must find it");
    assert_eq!(world.content(&item(&second, "b/f")).await, noise(2, 900_000));

    // The pack was collected: the index is believed no more.
    world.store.delete(&layout::pack(PackKind::Data, pack)).await.unwrap();
    let third = world.add(dir.path(), "c").await;
    assert!(world.data_bytes() > 900_000 && !third.referenced.data.contains(&pack));
    let fresh = world.another().await;
    assert_eq!(fresh.content(&item(&third, "c/f")).await, noise(2, 900_000));
}

/// A repository whose chunks are so short that a file of a few MiB has a manifest of two levels.
async fn of_short_chunks() -> World {
    let store = Arc::new(RecordStore::new(Arc::new(MemoryStore::new())));
    let format = RepositoryFormat {
        uuid: RepoUuid::from_random([9; 16]),
        created: Timestamp::from_micros(0),
        default_branch: main_branch(),
        chunker: ChunkerParameters { min: 1024, average: 2048, max: 4096 },
        cut_seed: [3; 32],
    };
    store.put(&layout::format(), format.encode().into()).await.unwrap();
    // A making that stopped half way is finished with the format that it finds.
    let repository =
        Repository::init(store.clone(), files_support::services(1, None), InitOptions::default())
            .await
            .unwrap();
    World { store, repository }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_read_of_a_long_manifest_loads_little_of_it() {
    let world = of_short_chunks().await;
    let dir = tempdir().unwrap();
    let len = 24 << 20;
    let mut content = noise(3, len);
    fs::write(dir.path().join("f"), &content).unwrap();
    let (added, _) = world.commit(dir.path(), "").await;
    let found = item(&added, "f");
    assert!(world.content(&found).await == content);

    let manifest: u64 = {
        let meta = world.store.calls().into_iter().filter(|c| c.operation == Operation::Put);
        meta.filter(|c| c.key.starts_with("meta/")).map(|c| c.bytes).sum()
    };
    assert!(manifest > 300_000, "{manifest} bytes of manifest");
    let fresh = world.another().await;
    let head = fresh.head().await;
    fresh.store.reset();
    for offset in [0, len / 3, len - 100] {
        let bytes = head.read(&found, offset as u64, 1000).await.unwrap();
        assert_eq!(bytes[..], content[offset..len.min(offset + 1000)]);
    }
    let got = fresh.store.bytes(Operation::GetRange);
    assert!(got < manifest / 2, "{got} of {manifest} bytes for three small reads");

    // One byte more at the end: all nodes but the last of each level are the base's.
    content.push(7);
    fs::write(dir.path().join("f"), &content).unwrap();
    world.store.reset();
    let again = world.add(dir.path(), "").await;
    assert!(again.summary.new_bytes < 60_000, "{} new bytes", again.summary.new_bytes);
    assert!(world.content(&item(&again, "f")).await == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pack_has_its_index_and_holds_blobs_in_key_order() {
    let world = files_support::world().await;
    let dir = tempdir().unwrap();
    for n in 0..60u8 {
        fs::write(dir.path().join(format!("{n:02}")), noise(n, 2000 + usize::from(n))).unwrap();
    }
    let added = world.add(dir.path(), "").await;
    let page = list_all(&*world.store, ListRequest::all("data/")).await.unwrap();
    assert_eq!(page.objects.len(), 1);
    let pack = PackIndex::of_pack(&world.store.get(&page.objects[0].key).await.unwrap()).unwrap();
    assert_eq!(
        PackIndex::decode(&world.store.get(&layout::index(pack.pack)).await.unwrap()),
        Ok(pack.clone())
    );
    let places: Vec<u64> =
        (0..60).map(|n| item(&added, &format!("{n:02}")).hints.content.unwrap().offset).collect();
    assert!(places.is_sorted());
    assert_eq!(places, pack.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>());
}
