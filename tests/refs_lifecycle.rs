//! Branches and tags: birth in two records, end, and what a listing shows.

#![allow(clippy::unwrap_used)]

mod refs_common;

use std::sync::Arc;

use atfs::format::{Record, RecordKind};
use atfs::repo::refs::Log;
use atfs::repo::{RepoError, layout};
use atfs::store::{Key, Store, StoreErrorKind};
use atfs::types::RefKind;
use refs_common::scripted::{Fate, Scripted};
use refs_common::*;

async fn kinds(world: &World, branch: &str) -> Vec<RecordKind> {
    let log = Log::of_ref(&world.repository, RefKind::Branch, &name(branch));
    let mut history = log.history().await.unwrap();
    let mut kinds = Vec::new();
    while let Some(link) = history.next().await.unwrap() {
        kinds.insert(0, link.record.kind);
    }
    kinds
}

#[tokio::test]
async fn a_branch_is_born_moves_dies_and_is_born_again() {
    use RecordKind::*;
    let world = world().await;
    let first = main_head(&world.repository).await;
    let side = create(&world.repository, RefKind::Branch, "side", &first).await.unwrap();
    assert_eq!((side.id, side.link.record.seq, side.link.record.moves), (first.id, 2, 1));
    let again = create(&world.another_machine().await, RefKind::Branch, "side", &first).await;
    assert!(matches!(again, Err(RepoError::RefExists { .. })), "{again:?}");
    // A tag of the same name is another ref.
    create(&world.repository, RefKind::Tag, "side", &first).await.unwrap();

    move_branch(&world.repository, "side", "one", 1).await;
    let deleted = world.repository.delete_ref(RefKind::Branch, &name("side"), operation()).await.unwrap();
    assert_eq!(deleted.stored.commit.message, "one");
    for result in [
        world.repository.head(RefKind::Branch, &name("side")).await,
        world.repository.delete_ref(RefKind::Branch, &name("side"), operation()).await,
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, RepoError::NoSuchRef { .. }), "{error}");
        assert_eq!(error.to_string(), "branch side does not exist in memory");
    }
    let born = create(&world.repository, RefKind::Branch, "side", &first).await.unwrap();
    assert_eq!((born.link.record.seq, born.link.record.moves), (6, 3));
    assert_eq!(kinds(&world, "side").await, [Birth, Move, Move, Delete, Birth, Move]);
    assert!(Log::of_ref(&world.repository, RefKind::Branch, &name("side")).verify().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_birth_that_stopped_half_way_is_no_branch_and_is_finished_by_the_next_creation() {
    use RecordKind::*;
    let world = world().await;
    let first = main_head(&world.repository).await;
    let store = Scripted::new(Arc::clone(&world.store) as _);
    let broken = world.through(Arc::clone(&store) as _).await;
    store.script([Fate::Pass, Fate::Refused(StoreErrorKind::Denied)]);
    assert!(create(&broken, RefKind::Branch, "side", &first).await.is_err());
    assert_eq!(kinds(&world, "side").await, [Birth]);

    assert!(world.repository.find_head(RefKind::Branch, &name("side")).await.unwrap().is_none());
    let listed = world.repository.list_refs(RefKind::Branch).await.unwrap().refs;
    assert_eq!(listed.iter().map(|listed| listed.name.as_str()).collect::<Vec<_>>(), ["main"]);
    create(&world.repository, RefKind::Branch, "side", &first).await.unwrap();
    assert_eq!(kinds(&world, "side").await, [Birth, Move]);
}

#[tokio::test(start_paused = true)]
async fn one_of_many_creators_wins() {
    let world = world().await;
    let first = main_head(&world.repository).await;
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (repository, first) = (world.another_machine().await, first.clone());
        tasks.push(tokio::spawn(async move { create(&repository, RefKind::Branch, "side", &first).await }));
    }
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(RepoError::RefExists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(kinds(&world, "side").await, [RecordKind::Birth, RecordKind::Move]);
}

#[tokio::test]
async fn the_collectors_epoch_is_read_behind_the_birth() {
    let world = world().await;
    let first = main_head(&world.repository).await;
    world.put(&layout::record(layout::GC_EPOCH_PREFIX, 3), "{}").await;
    world.put(&layout::record(layout::SETTINGS_PREFIX, 2), "{}").await;
    let store = Scripted::new(Arc::clone(&world.store) as _);
    let repository = world.through(Arc::clone(&store) as _).await;
    store.take_calls();
    let side = create(&repository, RefKind::Branch, "side", &first).await.unwrap();
    assert_eq!((side.link.record.gc_epoch, side.link.record.settings_seq), (3, 2));
    let calls = store.take_calls();
    let birth = calls.iter().position(|(letter, _)| *letter == 'N').unwrap();
    let epoch = calls.iter().rposition(|(_, key)| key == layout::GC_EPOCH_PREFIX).unwrap();
    let first_move = calls.iter().rposition(|(letter, _)| *letter == 'N').unwrap();
    assert!(birth < epoch && epoch < first_move, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fence_between_birth_and_first_move_does_not_lose_the_branch() {
    use RecordKind::*;
    let world = world().await;
    let first = main_head(&world.repository).await;
    let log = Log::of_ref(&world.repository, RefKind::Branch, &name("side"));
    append(&log, Birth, None).await;
    append(&log, Fence, None).await;
    create(&world.repository, RefKind::Branch, "side", &first).await.unwrap();
    assert_eq!(kinds(&world, "side").await, [Birth, Fence, Birth, Move]);
    assert!(log.verify().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_moved_meanwhile_is_not_deleted() {
    let world = world().await;
    create(&world.repository, RefKind::Branch, "side", &main_head(&world.repository).await).await.unwrap();
    // The deletion is sent behind a record that is not the newest any more.
    let store = Scripted::new(Arc::clone(&world.store) as _);
    let slow = world.through(Arc::clone(&store) as _).await;
    store.script([Fate::Refused(StoreErrorKind::Timeout)]);
    let deletion = async { slow.delete_ref(RefKind::Branch, &name("side"), operation()).await };
    let mover = async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        move_branch(&world.repository, "side", "theirs", 1).await
    };
    let (deleted, id) = tokio::join!(deletion, mover);
    match deleted {
        Err(RepoError::RefMoved { now, .. }) => assert_eq!(now, id),
        other => panic!("{other:?}"),
    }
    assert!(world.repository.head(RefKind::Branch, &name("side")).await.is_ok());
}

#[tokio::test]
async fn a_listing_shows_what_exists_and_reports_what_is_strange() {
    let world = world().await;
    let first = main_head(&world.repository).await;
    for branch in ["ingest/2026", "z", "gone", "broken"] {
        create(&world.repository, RefKind::Branch, branch, &first).await.unwrap();
    }
    world.repository.delete_ref(RefKind::Branch, &name("gone"), operation()).await.unwrap();
    world.put(&record_key(RefKind::Branch, "broken", 2), "garbage").await;
    for strange in ["refs/heads/loose", "refs/heads/a%2Fb/1.json", "refs/heads/HEAD/1.json"] {
        world.put(&Key::new(strange), "{}").await;
    }
    world.put(&Key::new("refs/heads/deep/er/999999999998.json"), "{}").await;
    let list = world.another_machine().await.list_refs(RefKind::Branch).await.unwrap();
    let names: Vec<_> = list.refs.iter().map(|listed| (listed.name.as_str(), listed.head.is_ok())).collect();
    assert_eq!(names, [("broken", false), ("ingest/2026", true), ("main", true), ("z", true)]);
    assert_eq!(list.strange, ["refs/heads/loose", "refs/heads/HEAD/", "refs/heads/a%2Fb/"]);
    assert!(world.repository.list_refs(RefKind::Tag).await.unwrap().refs.is_empty());
}

#[tokio::test]
async fn records_hold_the_commit_as_a_whole() {
    let world = world().await;
    let first = main_head(&world.repository).await;
    create(&world.repository, RefKind::Tag, "v1", &first).await.unwrap();
    let key = record_key(RefKind::Tag, "v1", 2);
    let record = Record::decode(&world.object(&key).await).unwrap();
    assert_eq!(record.head, Some((first.id, first.stored.clone())));
    // The object says the same.
    assert_eq!(world.repository.commit(first.id).await.unwrap(), first.stored);
    world.store.delete(&layout::commit(first.id)).await.unwrap();
    assert!(matches!(world.repository.commit(first.id).await, Err(RepoError::Missing { .. })));
    world.put(&layout::commit(first.id), "{}").await;
    assert!(matches!(world.repository.commit(first.id).await, Err(RepoError::Damaged { .. })));
}
