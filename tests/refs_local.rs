//! The same on a real folder, with real time, threads, and notes beside a real index.

#![allow(clippy::unwrap_used)]

mod refs_common;

use std::path::Path;
use std::sync::Arc;

use atfs::meta::{Index, IndexOptions};
use atfs::repo::refs::{Log, settle_attempts};
use atfs::repo::{InitOptions, RepoError, Repository, Services};
use atfs::store::{LocalStore, Store, create_local_root};
use atfs::types::{OsRandom, RefKind, SystemClock};
use refs_common::name;
use refs_common::tree::*;

fn machine(state: &Path) -> Services {
    Services {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        index: Some(Index::open(state, &IndexOptions::default()).unwrap()),
        who: "Ada <ada@example.org>".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_on_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (root, state) = (dir.path().join("repository"), dir.path().join("state"));
    create_local_root(&root).unwrap();
    let store = || -> Arc<dyn Store> { Arc::new(LocalStore::open(&root).unwrap()) };
    Repository::init(store(), machine(&state), InitOptions::default()).await.unwrap();
    let again = Repository::init(store(), machine(&state), InitOptions::default()).await;
    assert!(matches!(again, Err(RepoError::AlreadyInitialised(_))), "{again:?}");

    let writers: Vec<_> = (0..16)
        .map(|writer| {
            // Processes of one machine: each opens the index and the repository for itself.
            let (store, services) = (store(), machine(&state));
            tokio::spawn(async move {
                let repository = Repository::open(store, services).await.unwrap();
                let file = format!("new/{writer}");
                commit_edits(&repository, &[("new", Some("")), (&file, Some("x"))]).await.unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let repository = Repository::open(store(), machine(&state)).await.unwrap();
    assert_eq!(contents_of(&repository, "main").await.len(), 17);
    let verified = Log::of_ref(&repository, RefKind::Branch, &name("main")).verify().await.unwrap();
    assert_eq!((verified.records, verified.moves), (18, 17));
    assert!(settle_attempts(&repository).await.unwrap().is_empty());
}
