//! Making and opening a repository.

#![allow(clippy::unwrap_used)]

mod refs_common;

use std::sync::Arc;

use atfs::format::{JsonValue, RecordKind};
use atfs::repo::refs::{Draft, Log};
use atfs::repo::{InitOptions, RepoError, Repository, layout};
use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::store::{ListRequest, MemoryStore, Store, StoreErrorKind};
use atfs::types::{ManualClock, RefKind, Timestamp};
use refs_common::scripted::{Fate, Scripted};
use refs_common::*;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_micros(START)))
}

async fn init(store: &Arc<dyn Store>, seed: u64) -> Result<Repository, RepoError> {
    let options = InitOptions { name: Some("slides".parse().unwrap()), ..InitOptions::default() };
    Repository::init(Arc::clone(store), services(&clock(), seed), options).await
}

#[tokio::test]
async fn a_new_repository_has_an_empty_default_branch() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let error = Repository::open(Arc::clone(&store), services(&clock(), 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "memory is not an atfs repository: it has no format.json");
    let options = InitOptions { default_branch: name("trunk"), name: None };
    Repository::init(Arc::clone(&store), services(&clock(), 1), options).await.unwrap();

    let repository = Repository::open(store, services(&clock(), 2)).await.unwrap();
    let head = repository.resolve(&revision("HEAD")).await.unwrap();
    assert_eq!(head.via.unwrap().name, name("trunk"));
    assert_eq!(head.stored.commit.totals.entries, 0);
    assert!(head.stored.commit.parents.is_empty());
    assert_eq!(repository.name().await.unwrap(), None);
    Log::of_ref(&repository, RefKind::Branch, &name("trunk")).verify().await.unwrap();
}

#[tokio::test]
async fn a_second_init_is_refused_and_changes_nothing() {
    let world = world().await;
    let before = main_head(&world.repository).await.id;
    let store: Arc<dyn Store> = Arc::clone(&world.store) as _;
    let error = init(&store, 5).await.unwrap_err();
    assert_eq!(error.to_string(), "memory already holds an atfs repository");
    // Even when its default branch was deleted.
    world.repository.delete_ref(RefKind::Branch, &name("main"), operation()).await.unwrap();
    assert!(matches!(init(&store, 5).await, Err(RepoError::AlreadyInitialised(_))));
    assert!(world.repository.find_head(RefKind::Branch, &name("main")).await.unwrap().is_none());
    assert_eq!(world.repository.resolve(&revision(&before.to_hex())).await.unwrap().id, before);
}

#[tokio::test(start_paused = true)]
async fn an_init_that_stopped_anywhere_is_finished_by_the_next() {
    // Conditional writes of an init: format.json, name, birth, first move (the probe's own come before).
    for stop in 0..4 {
        for fate in
            [Fate::Refused(StoreErrorKind::Denied), Fate::Done(StoreErrorKind::Denied), Fate::DoneInSilence]
        {
            let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let scripted = Scripted::new(Arc::clone(&memory));
            scripted.script(std::iter::repeat_n(Fate::Pass, stop).chain([fate]));
            let store: Arc<dyn Store> = scripted;
            assert!(init(&store, 1).await.is_err(), "{stop} {fate:?}");
            let finished = init(&memory, 2).await;
            // The last write was carried out: there was nothing left to finish.
            if stop == 3 && fate != Fate::Refused(StoreErrorKind::Denied) {
                assert!(matches!(finished, Err(RepoError::AlreadyInitialised(_))), "{finished:?}");
            } else {
                finished.unwrap_or_else(|e| panic!("{stop} {fate:?}: {e}"));
            }
            let repository = Repository::open(memory, services(&clock(), 3)).await.unwrap();
            assert!(main_head(&repository).await.link.record.moves == 1);
            assert_eq!(repository.name().await.unwrap().unwrap().as_str(), "slides", "{stop} {fate:?}");
            Log::of_settings(&repository).verify().await.unwrap();
            Log::of_ref(&repository, RefKind::Branch, &name("main")).verify().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_does_not_make_init_fail() {
    for stop in 0..4 {
        for kind in [StoreErrorKind::Timeout, StoreErrorKind::AlreadyExists, StoreErrorKind::Server] {
            let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let scripted = Scripted::new(Arc::clone(&memory));
            scripted.script(std::iter::repeat_n(Fate::Pass, stop).chain([Fate::Done(kind)]));
            let store: Arc<dyn Store> = scripted;
            init(&store, 1).await.unwrap_or_else(|e| panic!("{stop} {kind:?}: {e}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_inits_at_once_all_end_with_one_repository() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut tasks = Vec::new();
    for seed in 0..8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move { init(&store, seed).await }));
    }
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(RepoError::AlreadyInitialised(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!((1..=2).contains(&made), "{made} say that they made it");
    let repository = Repository::open(store, services(&clock(), 99)).await.unwrap();
    assert_eq!(main_head(&repository).await.link.record.seq, 2);
}

#[tokio::test]
async fn newer_and_damaged_repositories_are_named() {
    let world = world().await;
    let good = String::from_utf8(world.object(&layout::format()).await).unwrap();
    let open = || Repository::open(Arc::clone(&world.store) as _, services(&world.clock, 4));
    // A newer version is judged before anything else: nothing more of the file needs to make sense.
    world.put(&layout::format(), good.replace("\"version\":1", "\"version\":2,\"what\":[]")).await;
    let error = open().await.unwrap_err();
    assert!(matches!(error, RepoError::NewerFormat { .. }), "{error}");
    assert!(error.to_string().contains("needs a newer atfs"), "{error}");
    world.put(&layout::format(), &good.as_bytes()[..good.len() / 2]).await;
    assert!(matches!(open().await, Err(RepoError::Damaged { .. })));
    assert!(init(&(Arc::clone(&world.store) as _), 5).await.is_err());
    world.put(&layout::format(), good).await;
    assert!(open().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn stores_that_do_not_keep_their_conditions_are_refused_and_left_empty() {
    for fault in [Fault::IgnoredCondition, Fault::RacyCondition(std::time::Duration::from_millis(1))] {
        for seed in 0..20 {
            let memory = Arc::new(MemoryStore::new());
            let bad = FaultStore::new(Arc::clone(&memory) as _, seed);
            bad.set_rules([FaultRule::always(fault.clone())]);
            let result = init(&(Arc::new(bad) as _), seed).await;
            assert!(matches!(result, Err(RepoError::UnsafeStore(_))), "{fault:?} {seed}: {result:?}");
            let left = memory.list(&ListRequest::all("")).await.unwrap();
            assert_eq!(left.objects, [], "{fault:?} {seed}");
        }
    }
}

/// A name becomes a part of paths: a setting that is none is not used, and one that was set before stays with the others.
#[tokio::test]
async fn a_setting_that_is_no_name_is_none() {
    for (value, used) in [("\"slides\"", Some("slides")), ("\"../x\"", None), ("7", None), ("null", None)] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let options = InitOptions::default();
        let repository = Repository::init(Arc::clone(&store), services(&clock(), 1), options).await.unwrap();
        let draft = Draft {
            kind: RecordKind::Settings,
            head: None,
            operation: operation(),
            checks: Vec::new(),
            settings: [("name".to_owned(), JsonValue::parse("a setting", value.as_bytes()).unwrap())].into(),
            settings_seq: 0,
            gc_epoch: 0,
        };
        Log::of_settings(&repository).append(None, draft).await.unwrap();
        let repository = Repository::open(store, services(&clock(), 2)).await.unwrap();
        assert_eq!(repository.name().await.unwrap().as_ref().map(|name| name.as_str()), used, "{value}");
    }
}

/// `init` writes `format.json` first, so branches without it have lost it: another one would disown them.
#[tokio::test]
async fn branches_without_their_format_are_not_made_anew() {
    let world = world().await;
    let store: Arc<dyn Store> = Arc::clone(&world.store) as _;
    store.delete(&layout::format()).await.unwrap();
    for error in [
        init(&store, 5).await.unwrap_err(),
        Repository::open(Arc::clone(&store), services(&clock(), 6)).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "format.json is missing from memory");
    }
    assert!(store.get(&layout::format()).await.unwrap_err().is_not_found());
}
