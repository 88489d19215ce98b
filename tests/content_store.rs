//! Content below files: uploads that fail, chunks that the node's index remembers, manifests of several levels.

#![allow(clippy::unwrap_used)]

mod files_support;

use std::fs;
use std::sync::Arc;

use atfs::format::{ChunkerParameters, Content, EntryBody, PackIndex, PackKind, RepositoryFormat};
use atfs::meta::{Index, IndexOptions};
use atfs::repo::change::{Change, Committed, Directories, NewCommit, Referenced, remove};
use atfs::repo::files::Added;
use atfs::repo::{InitOptions, RepoError, Repository, layout};
use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::store::{ListRequest, MemoryStore, Operation, RecordStore, Store, list_all};
use atfs::types::{RepoUuid, Timestamp};
use files_support::{World, item, main_branch, noise, path, world_on, world_with};
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
    cut_by(&*store, ChunkerParameters { min: 1024, average: 2048, max: 4096 }).await;
    // A making that stopped half way is finished with the format that it finds.
    let repository =
        Repository::init(store.clone(), files_support::services(1, None), InitOptions::default())
            .await
            .unwrap();
    World { store, repository }
}

/// Whoever opens the repository from now on cuts files by these parameters.
async fn cut_by(store: &dyn Store, chunker: ChunkerParameters) {
    let format = RepositoryFormat {
        uuid: RepoUuid::from_random([9; 16]),
        created: Timestamp::from_micros(0),
        default_branch: main_branch(),
        chunker,
        cut_seed: [3; 32],
    };
    store.put(&layout::format(), format.encode().into()).await.unwrap();
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
async fn chunks_that_lie_together_come_in_one_request() {
    let world = of_short_chunks().await;
    let dir = tempdir().unwrap();
    let content = noise(4, 3 << 20);
    fs::write(dir.path().join("f"), &content).unwrap();
    let (added, _) = world.commit(dir.path(), "").await;
    let found = item(&added, "f");
    let fresh = world.another().await;
    let head = fresh.head().await;
    let (mut chunks, mut at) = (Vec::new(), 0);
    while at < content.len() as u64 {
        let chunk = head.chunk_at(&found, at).await.unwrap();
        at = chunk.end;
        chunks.push(chunk);
    }
    fresh.store.reset();
    // All but one, which somebody else fetches: the others do not come by themselves for that.
    let left_out = chunks.remove(7);
    for (range, bytes) in chunks.iter().zip(head.read_chunks(&found, &chunks).await) {
        assert_eq!(bytes.unwrap(), content[range.start as usize..range.end as usize]);
    }
    assert_eq!(fresh.store.count(Operation::GetRange), 1, "{:?}", fresh.store.calls());
    head.read(&found, left_out.start, 1).await.unwrap();
    assert_eq!(fresh.store.count(Operation::GetRange), 2, "it was left out");
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

/// Two writers of one repository who cut long files differently, as programs of two makers may.
#[tokio::test(flavor = "multi_thread")]
async fn equal_bytes_are_no_conflict_however_they_are_cut() {
    let world = of_short_chunks().await;
    cut_by(&*world.store, ChunkerParameters { min: 2048, average: 8192, max: 65_536 }).await;
    let other = world.another().await;
    let dir = tempdir().unwrap();
    let file = dir.path().join("f");
    let (v1, v2) = (noise(5, 3 << 20), noise(6, 20 << 20));
    let manifest = |added: &Added| match item(added, "f").entry.body {
        EntryBody::File { content: Content::Manifest(id), .. } => id,
        other => panic!("{other:?}"),
    };
    let commit = async |change: Change, added: &Added| {
        change.commit(&added.edits, &added.referenced, &NewCommit::new("add", "")).await
    };
    let nothing_left =
        |result: Result<Committed, RepoError>| matches!(result, Err(RepoError::NothingToCommit { .. }));
    let conflicts = |result: Result<Committed, RepoError>| matches!(result, Err(RepoError::Conflict { .. }));

    fs::write(&file, &v1).unwrap();
    let (first, _) = world.commit(dir.path(), "").await;

    // Changed to the same on both sides.
    let slow = other.change().await;
    fs::write(&file, &v2).unwrap();
    world.commit(dir.path(), "").await;
    let theirs = world.add(dir.path(), "").await;
    let ours = other.add(dir.path(), "").await;
    assert_ne!(manifest(&theirs), manifest(&ours), "cut alike, so this shows nothing");
    assert!(nothing_left(commit(slow.clone(), &ours).await));
    assert!(world.content(&item(&theirs, "f")).await == v2);

    // One byte differs, the last.
    let mut almost = v2.clone();
    *almost.last_mut().unwrap() ^= 1;
    fs::write(&file, &almost).unwrap();
    assert!(conflicts(commit(slow.clone(), &other.add(dir.path(), "").await).await));
    // Other sizes are not even looked at.
    fs::write(&file, &v2[..v2.len() - 1]).unwrap();
    let ours = other.add(dir.path(), "").await;
    other.store.reset();
    assert!(conflicts(commit(slow.clone(), &ours).await));
    assert!(!other.store.calls().iter().any(|call| call.key.starts_with("data/")));

    // Left as it was, but cut anew: that is no change of content, so theirs holds.
    fs::write(&file, &v1).unwrap();
    let anew = other.add(dir.path(), "").await;
    assert_ne!(manifest(&first), manifest(&anew));
    commit(slow.clone(), &anew).await.unwrap();
    assert!(world.content(&item(&theirs, "f")).await == v2);
    // Nor does it keep the file from being removed by them.
    let slow = other.change().await;
    let removed = remove(&slow.snapshot(), &[path("f")], Directories::Refuse).await.unwrap();
    let referenced = Referenced::default();
    world.change().await.commit(&removed, &referenced, &NewCommit::new("rm", "")).await.unwrap();
    fs::write(&file, &v2).unwrap();
    let anew = other.add(dir.path(), "").await;
    assert!(nothing_left(commit(slow, &anew).await));
}
