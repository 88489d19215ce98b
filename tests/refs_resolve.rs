//! What people write, and which commit it means.

#![allow(clippy::unwrap_used)]

mod refs_common;

use std::sync::Arc;
use std::time::Duration;

use atfs::format::RecordKind;
use atfs::repo::refs::{Log, Via};
use atfs::repo::{RepoError, Repository};
use atfs::store::RecordStore;
use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::types::{CommitId, RefKind, Timestamp};
use refs_common::*;

async fn id(repository: &Repository, text: &str) -> CommitId {
    repository.resolve(&revision(text)).await.unwrap_or_else(|e| panic!("{text}: {e}")).id
}

async fn error(repository: &Repository, text: &str) -> String {
    match repository.resolve(&revision(text)).await {
        Ok(resolved) => panic!("{text} is {}", resolved.id),
        Err(error) => error.to_string(),
    }
}

/// `main` with commits 0 (from init) to 4, an hour apart.
async fn history() -> (World, Vec<CommitId>) {
    let world = world().await;
    let mut ids = vec![main_head(&world.repository).await.id];
    for n in 1..=4 {
        world.clock.advance_micros(3_600_000_000);
        ids.push(move_branch(&world.repository, "main", "more", n).await);
    }
    (world, ids)
}

#[tokio::test]
async fn ancestors_and_parents() {
    let (world, ids) = history().await;
    let repository = world.another_machine().await;
    for (text, expected) in [
        ("main", 4),
        ("HEAD", 4),
        ("main~", 3),
        ("main^", 3),
        ("main~0", 4),
        ("main^0", 4),
        ("main~2^", 1),
        ("main~4", 0),
    ] {
        assert_eq!(id(&repository, text).await, ids[expected], "{text}");
    }
    assert!(error(&repository, "main~5").await.ends_with("is the first commit"));
    assert!(error(&repository, "main^2").await.ends_with("has 1 parent(s)"));
    let merge = stored_commit(&repository, "merge", &[ids[4], ids[2]], 9).await;
    assert_eq!(id(&repository, &format!("{}^2", merge.0)).await, ids[2]);
    assert_eq!(id(&repository, &format!("{}^2~1", merge.0)).await, ids[1]);
}

#[tokio::test]
async fn where_a_ref_stood() {
    let (world, ids) = history().await;
    // Records that are no moves do not count.
    append(&Log::of_ref(&world.repository, RefKind::Branch, &name("main")), RecordKind::Fence, None).await;
    let repository = world.another_machine().await;
    for n in 0..=4 {
        assert_eq!(id(&repository, &format!("main@{{{n}}}")).await, ids[4 - n], "{n} moves ago");
    }
    assert_eq!(id(&repository, "main@{1}~1").await, ids[2]);
    assert!(error(&repository, "main@{5}").await.contains("branch main has moved 5 time(s)"));

    let hour = |n: i64| Timestamp::from_micros(START + n * 3_600_000_000);
    for n in 0..=4 {
        for later in [0, 1, 1_799_999_999] {
            let at = Timestamp::from_micros(hour(n).as_micros() + later);
            assert_eq!(id(&repository, &format!("main@{{{at}}}")).await, ids[n as usize], "{at}");
        }
    }
    assert_eq!(id(&repository, "main@{2100-01-01}").await, ids[4]);
    assert!(error(&repository, "main@{2020-01-01}").await.contains("branch main did not exist at"));
    // Where a commit stood is no question.
    assert!(error(&repository, &format!("{}@{{1}}", ids[4])).await.contains("needs a branch or a tag"));
}

#[tokio::test]
async fn a_ref_that_was_gone_for_a_while() {
    let (world, ids) = history().await;
    let first = main_head(&world.repository).await;
    create(&world.repository, RefKind::Branch, "side", &first).await.unwrap();
    world.clock.advance_micros(1_000_000);
    world.repository.delete_ref(RefKind::Branch, &name("side"), operation()).await.unwrap();
    let gone = world.repository.services().clock.now();
    world.clock.advance_micros(1_000_000);
    assert!(error(&world.repository, "side").await.contains("names no branch, tag or commit"));
    let newest = main_head(&world.repository).await;
    create(&world.repository, RefKind::Branch, "side", &newest).await.unwrap();
    assert_eq!(id(&world.repository, "side@{1}").await, ids[4]);
    assert!(error(&world.repository, &format!("side@{{{gone}}}")).await.contains("did not exist at"));
}

#[tokio::test]
async fn a_branch_comes_before_a_tag_before_an_id() {
    let (world, ids) = history().await;
    let repository = &world.repository;
    let hex = ids[1].to_hex();
    let prefix = &hex[..8];
    assert_eq!(id(repository, prefix).await, ids[1]);
    assert_eq!(repository.resolve(&revision(&hex)).await.unwrap().via, None);
    let point = async |kind, text: &str| {
        let at = repository.resolve(&revision(text)).await.unwrap();
        repository.create_ref(kind, &name(prefix), (at.id, at.stored), operation()).await.unwrap()
    };
    point(RefKind::Tag, "main~1").await;
    assert_eq!(id(repository, prefix).await, ids[3]);
    point(RefKind::Branch, "main").await;
    let resolved = repository.resolve(&revision(prefix)).await.unwrap();
    assert_eq!(resolved.id, ids[4]);
    assert_eq!(resolved.via, Some(Via { kind: RefKind::Branch, name: name(prefix), seq: 2 }));
}

#[tokio::test]
async fn an_ambiguous_prefix_names_the_candidates() {
    let world = world().await;
    // Enough commits that two share four digits: the birthday of 65,536.
    let mut ids = Vec::new();
    for n in 0..2000u32 {
        ids.push(commit(&format!("commit {n}"), &[], 1));
    }
    ids.sort_by_key(|(id, _)| *id);
    let twins = ids.windows(2).find(|pair| pair[0].0.to_hex()[..4] == pair[1].0.to_hex()[..4]).unwrap();
    for (id, stored) in twins {
        world.put(&atfs::repo::layout::commit(*id), stored.encode()).await;
    }
    let prefix = &twins[0].0.to_hex()[..4];
    match world.repository.resolve(&revision(prefix)).await {
        Err(RepoError::AmbiguousPrefix { candidates, .. }) => {
            assert_eq!(candidates, [twins[0].0, twins[1].0]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(id(&world.repository, &twins[1].0.to_hex()).await, twins[1].0);
}

#[tokio::test]
async fn an_unknown_name_suggests_near_ones() {
    let (world, _) = history().await;
    let head = main_head(&world.repository).await;
    create(&world.repository, RefKind::Tag, "release-2026", &head).await.unwrap();
    let text = error(&world.repository, "mainn").await;
    assert_eq!(text, "mainn names no branch, tag or commit of memory: did you mean main?");
    assert!(error(&world.repository, "relaese-2026").await.ends_with("did you mean release-2026?"));
    assert!(error(&world.repository, "xyz").await.ends_with("commit of memory"));
    assert!(error(&world.repository, "ffff").await.ends_with("commit of memory"));
}

#[tokio::test]
async fn a_log_of_commits() {
    let (world, mut ids) = history().await;
    let start = world.repository.resolve(&revision("main")).await.unwrap();
    let mut walk = world.repository.first_parents(&start);
    let mut seen = Vec::new();
    while let Some((id, _)) = walk.next().await.unwrap() {
        seen.push(id);
    }
    ids.reverse();
    assert_eq!(seen, ids);
}

/// Latency is what a mount of a far store costs: whatever is named is there after two requests one after the other.
#[tokio::test(start_paused = true)]
async fn a_branch_a_tag_and_an_id_take_two_requests_in_sequence() {
    let (world, ids) = history().await;
    for (kind, text, at) in [(RefKind::Branch, "other", "main~2"), (RefKind::Tag, "v1", "main~1")] {
        let at = world.repository.resolve(&revision(at)).await.unwrap();
        world.repository.create_ref(kind, &name(text), (at.id, at.stored), operation()).await.unwrap();
    }
    let network = FaultStore::new(Arc::clone(&world.store) as _, 1);
    network.set_rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_millis(30)))]);
    let recorder = Arc::new(RecordStore::new(Arc::new(network)));
    let full = ids[1].to_hex();
    for (text, expected, requests) in [
        // The listing and two records.
        ("main", ids[4], 3),
        // The same, and a listing of tags.
        ("other", ids[2], 4),
        ("v1", ids[3], 4),
        // Three listings and the commit.
        (&*full, ids[1], 4),
        (&full[..12], ids[1], 4),
    ] {
        let repository = world.through(Arc::clone(&recorder) as _).await;
        recorder.reset();
        assert_eq!(id(&repository, text).await, expected, "{text}");
        let calls = recorder.calls();
        assert_eq!((calls.len(), recorder.depth()), (requests, 2), "{text}: {calls:#?}");
    }
}
