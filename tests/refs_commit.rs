//! From edits to a commit on a branch that others move too.

#![allow(clippy::unwrap_used)]

mod refs_common;

use std::sync::Arc;

use atfs::format::EntryHints;
use atfs::repo::change::{Directories, EmptyCommit, NewCommit, Referenced, remove, rename};
use atfs::repo::refs::Log;
use atfs::repo::{Placed, RepoError, layout};
use atfs::store::Store;
use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::types::{PackId, RefKind};
use refs_common::scripted::Scripted;
use refs_common::tree::*;
use refs_common::*;

#[tokio::test]
async fn a_commit_holds_the_edits_on_top_of_its_parent() {
    let world = world().await;
    let first = main_head(&world.repository).await.id;
    let one = commit_edits(&world.repository, &[("a", Some("1")), ("d", Some("")), ("d/b", Some("2"))]).await;
    let one = one.unwrap();
    assert_eq!(one.stored.commit.parents, [first]);
    assert_eq!((one.stored.commit.totals.entries, one.stored.commit.totals.files), (3, 2));
    assert_eq!((one.seq, one.races), (3, 0));
    let two = commit_edits(&world.repository, &[("a", None), ("d/c", Some("3"))]).await.unwrap();
    let there = world.another_machine().await;
    assert_eq!(main_head(&there).await.id, two.id);
    assert_eq!(contents_of(&there, "main").await, tree(&[("d", ""), ("d/b", "2"), ("d/c", "3")]));
    assert_eq!(contents_of(&there, "main~1").await, tree(&[("a", "1"), ("d", ""), ("d/b", "2")]));
    assert_eq!(contents_of(&there, "main~2").await, tree(&[]));
    Log::of_ref(&there, RefKind::Branch, &name("main")).verify().await.unwrap();
}

#[tokio::test]
async fn what_a_record_refers_to_is_written_before_it() {
    let world = world().await;
    let store = Scripted::new(Arc::clone(&world.store) as _);
    let repository = world.through(Arc::clone(&store) as _).await;
    repository.ensure_probed().await.unwrap();
    let change = begin(&repository).await;
    store.take_calls();
    finish(change, &[("a", Some("1"))]).await.unwrap();
    let calls = store.take_calls();
    let place = |letter: char, begins: &str| {
        calls.iter().rposition(|(l, key)| *l == letter && key.starts_with(begins)).unwrap_or_else(|| {
            panic!("no {letter} of {begins} in {calls:?}");
        })
    };
    let order = [place('P', "meta/"), place('P', "commits/"), place('N', "refs/heads/main/")];
    assert!(order.is_sorted(), "{calls:?}");
}

#[tokio::test]
async fn changes_to_different_paths_meet_without_conflict() {
    let world = world().await;
    commit_edits(&world.repository, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]).await.unwrap();
    let slow = begin(&world.another_machine().await).await;
    commit_edits(&world.repository, &[("a", Some("2")), ("new", Some("")), ("new/x", Some("x"))])
        .await
        .unwrap();
    commit_edits(&world.repository, &[("same", Some("s")), ("c", None)]).await.unwrap();
    let done = finish(
        slow,
        &[
            ("b", Some("2")),
            ("new", Some("")),
            ("new/y", Some("y")),
            ("same", Some("s")),
            ("c", None),
            // Not changed at all, though named: theirs holds.
            ("a", Some("1")),
        ],
    )
    .await
    .unwrap();
    assert_eq!(done.races, 1);
    assert_eq!(done.stored.commit.parents, [world.repository.resolve(&revision("main~1")).await.unwrap().id]);
    let expected = [("a", "2"), ("b", "2"), ("new", ""), ("new/x", "x"), ("new/y", "y"), ("same", "s")];
    assert_eq!(contents_of(&world.repository, "main").await, tree(&expected));
}

#[tokio::test]
async fn a_conflict_names_every_path_and_changes_nothing() {
    let world = world().await;
    let base = [("a", Some("1")), ("b", Some("1")), ("d", Some("")), ("d/x", Some("1")), ("e", Some(""))];
    commit_edits(&world.repository, &base).await.unwrap();
    let slow = begin(&world.another_machine().await).await;
    let theirs = [("a", Some("2")), ("b", None), ("d/new", Some("1")), ("e", Some("a file now"))];
    let theirs = commit_edits(&world.repository, &theirs).await.unwrap();
    let ours = [
        ("a", Some("3")),
        ("b", Some("3")),
        ("d", None),
        ("d/x", None),
        ("e/y", Some("1")),
        ("fine", Some("1")),
    ];
    match finish(slow, &ours).await {
        Err(RepoError::Conflict { branch, paths }) => {
            assert_eq!(branch, name("main"));
            assert_eq!(paths, ["a", "b", "d/new", "e/y"].map(path));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(main_head(&world.another_machine().await).await.id, theirs.id);
}

#[tokio::test]
async fn nothing_to_commit() {
    let world = world().await;
    commit_edits(&world.repository, &[("a", Some("1"))]).await.unwrap();
    for changes in [&[][..], &[("a", Some("1"))], &[("gone", None)]] {
        let result = commit_edits(&world.repository, changes).await;
        assert!(matches!(result, Err(RepoError::NothingToCommit { .. })), "{result:?}");
    }
    // Somebody else did exactly the same meanwhile.
    let slow = begin(&world.another_machine().await).await;
    commit_edits(&world.repository, &[("a", Some("2"))]).await.unwrap();
    assert!(matches!(finish(slow, &[("a", Some("2"))]).await, Err(RepoError::NothingToCommit { .. })));

    let allowed = NewCommit { empty: EmptyCommit::Allow, ..NewCommit::new("test", "a marker") };
    let marker =
        begin(&world.repository).await.commit(&edits(&[]), &Referenced::default(), &allowed).await.unwrap();
    assert_eq!(marker.stored.commit.message, "a marker");
    assert_eq!(contents_of(&world.repository, "main").await, tree(&[("a", "2")]));
}

#[tokio::test(start_paused = true)]
async fn sixteen_writers_at_once_all_get_through() {
    let world = world().await;
    let mut tasks = Vec::new();
    for writer in 0..16 {
        let network = Arc::new(FaultStore::new(Arc::clone(&world.store) as _, writer));
        network.set_rules([FaultRule::always(Fault::Jitter(std::time::Duration::from_millis(50)))]);
        let repository = world.through(network).await;
        tasks.push(tokio::spawn(async move {
            for n in 0..3 {
                let file = format!("new/{writer}-{n}");
                commit_edits(&repository, &[("new", Some("")), (&file, Some("x"))]).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let found = contents_of(&world.another_machine().await, "main").await;
    assert_eq!(found.len(), 1 + 16 * 3);
    let log = Log::of_ref(&world.repository, RefKind::Branch, &name("main"));
    assert_eq!(log.verify().await.unwrap().moves, 1 + 16 * 3);
}

#[tokio::test]
async fn packs_are_looked_at_again_when_a_collector_began() {
    let world = world().await;
    let pack = PackId::from_bytes([5; 16]);
    let location = atfs::types::Location { pack, offset: 32, len: 4 };
    let text = "x".repeat(600);
    let body = atfs::format::EntryBody::File {
        size: 600,
        content: atfs::format::Content::Chunk(atfs::types::ChunkId::of(text.as_bytes())),
    };
    let hints = EntryHints { content: Some(location), xattrs: None };
    let entry = atfs::format::Entry { body, ..placed("x").entry };
    let mut edits = edits(&[]);
    edits.put(key("big"), Placed { entry, hints }).unwrap();
    let new = NewCommit::new("test", "refers to a pack");
    let raise = async |epoch| world.put(&layout::record(layout::GC_EPOCH_PREFIX, epoch), "{}").await;

    let change = begin(&world.repository).await;
    raise(1).await;
    match change.commit(&edits, &Referenced::default(), &new).await {
        Err(RepoError::Missing { object, .. }) => {
            assert_eq!(object, layout::pack(atfs::format::PackKind::Data, pack).as_str());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(main_head(&world.repository).await.link.record.seq, 2);

    let change = begin(&world.repository).await;
    raise(2).await;
    world.put(&layout::pack(atfs::format::PackKind::Data, pack), "it is there").await;
    // A pack that only the maker of the content knows of.
    let mut hidden = Referenced::default();
    hidden.data.insert(PackId::from_bytes([6; 16]));
    let result = change.clone().commit(&edits, &hidden, &new).await;
    assert!(matches!(result, Err(RepoError::Missing { .. })), "{result:?}");
    change.commit(&edits, &Referenced::default(), &new).await.unwrap();
    assert_eq!(main_head(&world.repository).await.link.record.gc_epoch, 2);
}

#[tokio::test]
async fn files_and_directories_are_removed_and_renamed() {
    let world = world().await;
    let base = [("a", Some("1")), ("d", Some("")), ("d/e", Some("")), ("d/e/f", Some("2")), ("g", Some(""))];
    commit_edits(&world.repository, &base).await.unwrap();
    let snapshot = begin(&world.repository).await.snapshot();
    let commit = async |edits: &atfs::repo::Edits| {
        let new = NewCommit::new("test", "");
        begin(&world.repository).await.commit(edits, &Referenced::default(), &new).await.unwrap();
        contents_of(&world.repository, "main").await
    };
    for (bad, reason) in
        [("nope", "does not exist"), ("a/b", "does not exist"), ("d", "is a directory"), ("", "root")]
    {
        let error = remove(&snapshot, &[path(bad)], Directories::Refuse).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    for (from, to, reason) in [
        ("nope", "x", "does not exist"),
        ("d", "d/e/x", "into itself"),
        ("a", "g", "exists already"),
        ("a", "nope/x", "does not exist"),
        ("d", "a/x", "is not a directory"),
        ("a", "", "root"),
    ] {
        let error = rename(&snapshot, &path(from), &path(to)).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{from} {to}: {error}");
    }
    let too_long = path(&vec!["x".repeat(255); 15].join("/"));
    let edits = rename(&snapshot, &path("d"), &path("g/moved")).await.unwrap();
    assert!(rename(&snapshot, &path("a"), &too_long).await.is_err());
    let expected = [("a", "1"), ("g", ""), ("g/moved", ""), ("g/moved/e", ""), ("g/moved/e/f", "2")];
    assert_eq!(commit(&edits).await, tree(&expected));
    let snapshot = begin(&world.repository).await.snapshot();
    let edits = remove(&snapshot, &[path("g/moved"), path("a")], Directories::Recurse).await.unwrap();
    assert_eq!(commit(&edits).await, tree(&[("g", "")]));
}

#[tokio::test]
async fn a_branch_that_was_deleted_meanwhile_does_not_come_back() {
    let world = world().await;
    let slow = begin(&world.another_machine().await).await;
    world.repository.delete_ref(RefKind::Branch, &name("main"), operation()).await.unwrap();
    let result = finish(slow, &[("a", Some("1"))]).await;
    assert!(matches!(result, Err(RepoError::NoSuchRef { .. })), "{result:?}");
    assert!(world.repository.find_head(RefKind::Branch, &name("main")).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_written_into_what_is_no_directory() {
    let world = world().await;
    commit_edits(&world.repository, &[("a", Some("1")), ("d", Some("")), ("d/e", Some("2"))]).await.unwrap();
    let before = main_head(&world.repository).await.id;
    for changes in [
        &[("nope/x", Some("1"))][..],
        &[("a/x", Some("1"))],
        &[("n", Some("a file")), ("n/x", Some("1"))],
        &[("d", None), ("d/e", None), ("d/x", Some("1"))],
    ] {
        let result = commit_edits(&world.repository, changes).await;
        assert!(matches!(result, Err(RepoError::BadPath { .. })), "{changes:?}: {result:?}");
    }
    assert_eq!(main_head(&world.repository).await.id, before);
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused() {
    let world = world().await;
    let new = NewCommit::new("test", "x".repeat((1 << 20) + 1));
    let change = begin(&world.repository).await;
    let result = change.commit(&edits(&[("a", Some("1"))]), &Referenced::default(), &new).await;
    assert!(matches!(result, Err(RepoError::Unstorable(_))), "{result:?}");
}

#[tokio::test]
async fn a_failure_at_any_write_leaves_the_old_head_or_the_new_one() {
    for nth in 1..20 {
        let world = world().await;
        let before = commit_edits(&world.repository, &[("a", Some("1"))]).await.unwrap().id;
        let network = Arc::new(FaultStore::new(Arc::clone(&world.store) as _, 1));
        let repository = world.through(Arc::clone(&network) as _).await;
        let change = begin(&repository).await;
        let rules = [atfs::store::Operation::Put, atfs::store::Operation::PutNew]
            .map(|operation| FaultRule::nth(nth, Fault::Denied).on(operation));
        network.set_rules(rules);
        let result = finish(change, &[("b", Some("2"))]).await;
        let there = world.another_machine().await;
        let head = main_head(&there).await.id;
        match result {
            Ok(done) => {
                assert_eq!(head, done.id);
                assert_eq!(contents_of(&there, "main").await, tree(&[("a", "1"), ("b", "2")]));
                assert!(nth > 3, "a pack, its index, the commit, the record: nothing of it can be left out");
                return;
            }
            Err(_) => {
                assert_eq!(head, before);
                assert_eq!(contents_of(&there, "main").await, tree(&[("a", "1")]));
            }
        }
        // The next command goes on as if nothing had been.
        commit_edits(&there, &[("b", Some("2"))]).await.unwrap();
    }
    panic!("no commit ever succeeded");
}

#[tokio::test]
async fn the_store_is_probed_before_the_first_write_of_a_day() {
    let world = world().await;
    let store = Scripted::new(Arc::clone(&world.store) as _);
    let repository = world.through(Arc::clone(&store) as _).await;
    store.take_calls();
    let probed = |calls: &[(char, String)]| calls.iter().any(|(_, key)| key.starts_with("probe/"));
    begin(&repository).await;
    assert!(probed(&store.take_calls()));
    begin(&repository).await;
    assert!(!probed(&store.take_calls()));
    world.clock.advance_micros(86_400_000_000);
    begin(&repository).await;
    assert!(probed(&store.take_calls()));
    let left = world.store.list(&atfs::store::ListRequest::all("probe/")).await.unwrap();
    assert_eq!(left.objects, []);
}
