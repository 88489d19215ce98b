//! Which record is believed to be the newest of a log, and what is done about all that may lie in its folder.

#![allow(clippy::unwrap_used)]

mod refs_common;

use atfs::format::RecordKind;
use atfs::repo::RepoError;
use atfs::repo::refs::Log;
use atfs::store::{Key, Store};
use atfs::types::{RefKind, Timestamp};
use refs_common::*;

fn main_log(repository: &atfs::repo::Repository) -> Log {
    Log::of_ref(repository, RefKind::Branch, &name("main"))
}

fn assert_damaged(result: Result<impl std::fmt::Debug, RepoError>, key: &Key) {
    match result {
        Err(RepoError::Damaged { object, .. }) => assert_eq!(object, key.as_str()),
        other => panic!("expected damage of {key}, got {other:?}"),
    }
}

#[tokio::test]
async fn a_head_is_the_newest_record() {
    let world = world().await;
    let id = move_branch(&world.repository, "main", "one", 1).await;
    let id2 = move_branch(&world.repository, "main", "two", 2).await;
    let head = main_head(&world.another_machine().await).await;
    assert_eq!((head.id, head.link.record.seq, head.link.record.moves), (id2, 4, 3));
    assert_eq!(head.link.record.previous_commit, Some(id));
    assert_eq!(head.stored.commit.message, "two");
}

#[tokio::test]
async fn wild_numbers_are_ignored_and_reported() {
    let world = world().await;
    let id = move_branch(&world.repository, "main", "one", 1).await;
    let good = world.object(&record_key(RefKind::Branch, "main", 3)).await;
    // Out of sequence: garbage, and a good record under a wrong number.
    let (high, higher) =
        (record_key(RefKind::Branch, "main", 500), record_key(RefKind::Branch, "main", 999_999_999_999));
    world.put(&high, good).await;
    world.put(&higher, "garbage").await;
    // Keys that are spelt otherwise; the first sorts before all records.
    let (odd, odder) = (Key::new("refs/heads/main/!"), Key::new("refs/heads/main/0.json"));
    world.put(&odd, "").await;
    world.put(&odder, "").await;

    for repository in [world.repository.clone(), world.another_machine().await] {
        let newest = main_log(&repository).newest().await.unwrap();
        assert_eq!(newest.link.unwrap().record.head.as_ref().unwrap().0, id);
        let ignored: Vec<_> = newest.ignored.iter().map(|ignored| ignored.key.clone()).collect();
        assert_eq!(ignored, [odd.clone(), odder.clone(), higher.clone(), high.clone()]);
    }
    // The log can be written on.
    let next = move_branch(&world.repository, "main", "two", 2).await;
    assert_eq!(main_head(&world.another_machine().await).await.id, next);
}

/// A record of `main` as a broken writer may make it: any number, behind any record.
fn wild(template: &[u8], seq: u64, previous: &[u8]) -> Vec<u8> {
    let mut record = atfs::format::Record::decode(template).unwrap();
    record.seq = seq;
    record.previous_record = Some(atfs::format::Record::hash_of(previous));
    record.encode()
}

#[tokio::test]
async fn a_chain_of_wild_numbers_is_ignored_too() {
    let world = world().await;
    let id = move_branch(&world.repository, "main", "one", 1).await;
    let key = |seq| record_key(RefKind::Branch, "main", seq);
    let newest = world.object(&key(3)).await;
    // Its writer read record 3, and then counted wrongly, again and again.
    let mut previous = newest.clone();
    for seq in 500..520 {
        previous = wild(&newest, seq, &previous);
        world.put(&key(seq), previous.clone()).await;
    }
    for repository in [world.another_process().await, world.another_machine().await] {
        let found = main_log(&repository).newest().await.unwrap();
        assert_eq!(found.link.unwrap().record.head.as_ref().unwrap().0, id);
        let ignored: Vec<_> = found.ignored.iter().map(|ignored| ignored.key.clone()).collect();
        assert_eq!(ignored, (500..520).rev().map(key).collect::<Vec<_>>());
    }
    // So many that nobody should guess.
    for seq in 520..540 {
        previous = wild(&newest, seq, &previous);
        world.put(&key(seq), previous.clone()).await;
    }
    let result = main_log(&world.another_machine().await).newest().await;
    assert!(matches!(result, Err(RepoError::Damaged { .. })), "{result:?}");
    // One listing does not show where the chain begins: only the whole walk does.
    for seq in 540..600 {
        previous = wild(&newest, seq, &previous);
        world.put(&key(seq), previous.clone()).await;
    }
    let log = main_log(&world.another_machine().await);
    assert_eq!(log.newest().await.unwrap().link.unwrap().record.seq, 599);
    assert!(log.verify().await.is_err());
}

#[tokio::test]
async fn a_lost_record_never_makes_the_one_before_it_the_head() {
    let world = world().await;
    for n in 1..=4 {
        move_branch(&world.repository, "main", &n.to_string(), n).await;
    }
    let key = |seq| record_key(RefKind::Branch, "main", seq);
    let head = main_head(&world.repository).await.id;
    // Records 1 to 6. Whichever is lost, a stranger learns of it or sees the head.
    for lost in 1..=5 {
        let bytes = world.object(&key(lost)).await;
        world.store.delete(&key(lost)).await.unwrap();
        let result = main_log(&world.another_machine().await).newest().await;
        match &result {
            Err(RepoError::Damaged { object, source, .. }) => {
                assert_eq!(object, key(lost + 1).as_str());
                let text = source.to_string();
                assert!(text.contains(&format!("continues record {lost}, which does not exist")), "{text}");
                assert!(text.contains("restore it from the bucket's versions"), "{text}");
                assert!(text.contains(&head.to_hex()), "the commit that can still be read: {text}");
            }
            other => panic!("record {lost} is lost: {other:?}"),
        }
        // Who has seen the head knows that only the past is gone.
        let seen = main_log(&world.another_process().await).newest().await.unwrap();
        assert_eq!(seen.link.unwrap().record.seq, 6);
        world.put(&key(lost), bytes).await;
        let repaired = main_log(&world.another_machine().await).newest().await.unwrap();
        assert_eq!(repaired.link.unwrap().record.seq, 6);
    }
    // Who has seen just the record that is lost believes what continues it.
    let seen_six = world.another_machine().await;
    assert_eq!(main_log(&seen_six).newest().await.unwrap().link.unwrap().record.seq, 6);
    for n in 5..=6 {
        move_branch(&world.repository, "main", &n.to_string(), n).await;
    }
    let seventh = world.object(&key(7)).await;
    world.store.delete(&key(6)).await.unwrap();
    assert_eq!(main_log(&seen_six).newest().await.unwrap().link.unwrap().record.seq, 8);
    // Lost together with the one above it; and what does not continue the one that was seen.
    let stranger = world.another_machine().await;
    world.store.delete(&key(7)).await.unwrap();
    assert_damaged(main_log(&stranger).newest().await, &key(8));
    world.put(&key(7), wild(&seventh, 7, b"another record 6")).await;
    assert_damaged(main_log(&stranger).newest().await, &key(7));
}

#[tokio::test]
async fn nobody_guesses_behind_too_many_strange_objects() {
    let world = world().await;
    let head = main_head(&world.repository).await;
    for n in 0..40 {
        world.put(&Key::new(format!("refs/heads/main/!{n:02}")), "").await;
    }
    let result = main_log(&world.another_machine().await).newest().await;
    assert!(matches!(result, Err(RepoError::Damaged { .. })), "{result:?}");
    // Other refs do not care.
    let side = create(&world.repository, RefKind::Branch, "side", &head).await;
    assert!(side.is_ok());
}

#[tokio::test]
async fn damage_of_the_newest_record_is_an_error_that_names_it() {
    let world = world().await;
    create(&world.repository, RefKind::Branch, "side", &main_head(&world.repository).await).await.unwrap();
    move_branch(&world.repository, "main", "one", 1).await;
    let key = record_key(RefKind::Branch, "main", 3);
    let good = world.object(&key).await;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        world.put(&key, bad).await;
        // This machine has seen the record: whatever changed is noticed.
        assert_damaged(main_log(&world.another_process().await).newest().await, &key);
        // Another machine notices what the record contradicts by itself or by its predecessor; it never sees an
        // older head.
        let stranger = world.another_machine().await;
        match main_log(&stranger).newest().await {
            Ok(newest) => assert_eq!(newest.link.unwrap().record.seq, 3),
            other => assert_damaged(other, &key),
        }
        assert!(stranger.head(RefKind::Branch, &name("side")).await.is_ok());
    }
    for cut in [0, 1, good.len() / 2, good.len() - 1] {
        world.put(&key, &good[..cut]).await;
        assert_damaged(main_log(&world.another_machine().await).newest().await, &key);
    }
    world.put(&key, good).await;
    assert!(main_log(&world.another_process().await).newest().await.is_ok());
}

#[tokio::test]
async fn a_record_of_another_log_or_repository_is_not_believed() {
    let world = world().await;
    create(&world.repository, RefKind::Branch, "side", &main_head(&world.repository).await).await.unwrap();
    let key = record_key(RefKind::Branch, "main", 3);
    let others = refs_common::world().await;
    let foreign = [
        world.object(&record_key(RefKind::Branch, "side", 2)).await,
        world.object(&record_key(RefKind::Branch, "main", 2)).await,
        others.object(&record_key(RefKind::Branch, "main", 2)).await,
    ];
    for bytes in foreign {
        world.put(&key, bytes).await;
        assert_damaged(main_log(&world.another_machine().await).newest().await, &key);
    }
}

#[tokio::test]
async fn a_record_that_does_not_continue_the_one_before_it() {
    let world = world().await;
    move_branch(&world.repository, "main", "one", 1).await;
    // A fork: the same repository, another second record.
    let key = record_key(RefKind::Branch, "main", 2);
    let mut record = atfs::format::Record::decode(&world.object(&key).await).unwrap();
    record.operation.reason = "edited".into();
    world.put(&key, record.encode()).await;
    let third = record_key(RefKind::Branch, "main", 3);
    assert_damaged(main_log(&world.another_machine().await).newest().await, &third);
}

#[tokio::test]
async fn a_log_that_went_back_is_an_error_here() {
    let world = world().await;
    move_branch(&world.repository, "main", "one", 1).await;
    world.store.delete(&record_key(RefKind::Branch, "main", 3)).await.unwrap();
    for repository in [world.repository.clone(), world.another_process().await] {
        match main_log(&repository).newest().await {
            Err(RepoError::WentBack { seen: 3, found: Some(2), log, .. }) => assert_eq!(log, "branch main"),
            other => panic!("{other:?}"),
        }
    }
    for seq in [1, 2] {
        world.store.delete(&record_key(RefKind::Branch, "main", seq)).await.unwrap();
    }
    match main_log(&world.another_process().await).newest().await {
        Err(RepoError::WentBack { seen: 3, found: None, .. }) => {}
        other => panic!("{other:?}"),
    }
    // A machine that saw nothing cannot know.
    assert!(main_log(&world.another_machine().await).newest().await.unwrap().link.is_none());
}

#[tokio::test]
async fn a_clock_set_back_does_not_turn_the_log_around() {
    let world = world().await;
    let before = main_head(&world.repository).await.link.record.when;
    world.clock.set(Timestamp::from_micros(START - 86_400_000_000));
    move_branch(&world.repository, "main", "one", 1).await;
    let head = main_head(&world.repository).await;
    assert_eq!(head.link.record.when, before);
    world.clock.set(Timestamp::from_micros(START + 1_000_000));
    move_branch(&world.repository, "main", "two", 2).await;
    assert!(main_head(&world.repository).await.link.record.when > before);
    assert!(main_log(&world.repository).verify().await.is_ok());
}

#[tokio::test]
async fn a_fence_repeats_the_head() {
    let world = world().await;
    let id = move_branch(&world.repository, "main", "one", 1).await;
    append(&main_log(&world.repository), RecordKind::Fence, None).await;
    append(&main_log(&world.repository), RecordKind::Settings, None).await;
    let head = main_head(&world.another_machine().await).await;
    assert_eq!((head.id, head.link.record.seq, head.link.record.moves), (id, 5, 2));
    let verified = main_log(&world.repository).verify().await.unwrap();
    assert_eq!((verified.records, verified.moves), (5, 2));
}

#[tokio::test]
async fn the_chain_shows_every_change_to_a_past_record() {
    let world = world().await;
    for nonce in 1..=4 {
        move_branch(&world.repository, "main", "more", nonce).await;
    }
    let keys: Vec<Key> = (1..=6).map(|seq| record_key(RefKind::Branch, "main", seq)).collect();
    let mut objects = Vec::new();
    for key in &keys {
        objects.push(world.object(key).await);
    }
    let verify = async || main_log(&world.another_machine().await).verify().await;
    assert_eq!(verify().await.unwrap().records, 6);
    for seq in 1..=5 {
        let good = &objects[seq - 1];
        // Edited so that it is still a well-formed record.
        let mut record = atfs::format::Record::decode(good).unwrap();
        record.who = "Mallory <m@example.org>".into();
        world.put(&keys[seq - 1], record.encode()).await;
        assert!(verify().await.is_err(), "record {seq} edited");
        // Exchanged with its neighbour.
        world.put(&keys[seq - 1], objects[seq].clone()).await;
        assert!(verify().await.is_err(), "record {seq} replaced");
        world.store.delete(&keys[seq - 1]).await.unwrap();
        assert!(verify().await.is_err(), "record {seq} removed");
        world.put(&keys[seq - 1], good.clone()).await;
    }
    assert_eq!(verify().await.unwrap().moves, 5);
}
