//! What a mount shows, asked without a mount.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::sync::Arc;

use atfs::fs::{FsError, Ino, Inode, Lifetime, Lookup, Owner, Room, Slot, View};
use atfs::repo::{InitOptions, Repository};
use atfs::store::MemoryStore;
use atfs::types::Revision;
use mount_common::{services, writer};

async fn repository() -> (Repository, tempfile::TempDir) {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("dir")).unwrap();
    fs::write(source.path().join("dir/file"), "content").unwrap();
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store, services(), InitOptions::default()).await.unwrap();
    writer::commit(&repository, "work", source.path()).await;
    (repository, source)
}

fn whole(repository: &Repository) -> View {
    View::of_repository(repository.clone(), "mem".into(), "mem", Owner::default(), None)
}

async fn found(view: &View, parent: Ino, name: &str) -> Ino {
    match view.lookup(parent, name.as_bytes()).await.unwrap() {
        Lookup::Found(attr, _) => attr.ino,
        Lookup::Absent(_) => panic!("{name} is absent"),
    }
}

async fn names(view: &View, dir: Ino, from: u64, room: usize, refs: &[String]) -> Vec<(String, u64)> {
    let mut names = Vec::new();
    let mut sink = |listed: atfs::fs::Listed<'_>| {
        if names.len() == room {
            return Room::Full;
        }
        names.push((String::from_utf8_lossy(listed.name).into_owned(), listed.next));
        Room::Left
    };
    view.list(dir, from, refs, &mut sink).await.unwrap();
    names
}

#[tokio::test]
async fn one_commit() {
    let (repository, _source) = repository().await;
    let revision: Revision = "work".parse().unwrap();
    let snapshot = repository.snapshot(&repository.resolve(&revision).await.unwrap());
    let view = View::of_commit(snapshot, "mem".into(), "work".into(), Owner::default(), None);
    let dir = found(&view, Ino::ROOT, "dir").await;
    let file = found(&view, dir, "file").await;
    assert_eq!(Ino::from_raw(file.raw()).meaning(), Some(Inode::Entry(Slot::FIRST, 1)));
    let open = view.open(file).await.unwrap();
    assert_eq!(view.read(&open, 3, 100).await.unwrap(), "tent");
    assert_eq!(view.read(&open, 7, 1).await.unwrap(), "");
    assert_eq!(view.read(&open, u64::MAX, 1).await.unwrap(), "");
    // A listing goes on from any place it has named, however little room there was.
    let all = names(&view, Ino::ROOT, 0, 99, &[]).await;
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [".", "..", "dir"]);
    for (at, (_, next)) in all.iter().enumerate() {
        assert_eq!(names(&view, Ino::ROOT, *next, 99, &[]).await, all[at + 1..]);
    }
    assert!(matches!(view.lookup(dir, b"gone").await, Ok(Lookup::Absent(Lifetime::Forever))));
    assert!(matches!(view.lookup(dir, &[b'x'; 256]).await, Err(FsError::NameTooLong)));
    assert!(matches!(view.lookup(file, b"x").await, Err(FsError::NotADirectory)));
    assert!(matches!(view.open(dir).await, Err(FsError::IsADirectory)));
    assert!(matches!(view.target_of_link(file).await, Err(FsError::NotASymlink)));
    // Numbers that no answer ever held.
    for ino in [Ino::entry(Slot::FIRST, 2).unwrap(), Ino::root(Slot::new(7).unwrap()), Ino::from_raw(0)] {
        assert!(matches!(view.attr(ino).await, Err(FsError::Stale(_))), "{ino:?}");
    }
}

#[tokio::test]
async fn a_whole_repository() {
    let (repository, _source) = repository().await;
    let view = whole(&repository);
    let refs = ["mem@main".to_owned(), "mem@work".to_owned()];
    let listed = names(&view, Ino::ROOT, 0, 99, &refs).await;
    assert_eq!(
        listed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        [".", "..", "mem@main", "mem@work"]
    );
    assert_eq!(names(&view, Ino::ROOT, 3, 99, &refs).await, listed[3..]);
    let work = found(&view, Ino::ROOT, "mem@work").await;
    assert_eq!(found(&view, Ino::ROOT, "mem@work").await, work, "pinned");
    let dir = found(&view, work, "dir").await;
    let open = view.open(found(&view, dir, "file").await).await.unwrap();
    assert_eq!(view.read(&open, 0, 100).await.unwrap(), "content");
    // What may come is asked for again; what never can is not.
    assert!(matches!(view.lookup(Ino::ROOT, b"mem@later").await, Ok(Lookup::Absent(Lifetime::None))));
    for never in ["other", "mem", "mem@", "mem@a b", "mem@..", "main"] {
        let lookup = view.lookup(Ino::ROOT, never.as_bytes()).await;
        assert!(matches!(lookup, Ok(Lookup::Absent(Lifetime::Forever))), "{never}: {lookup:?}");
    }
    // The `.atfs` of the whole and of a commit in it.
    let atfs = found(&view, Ino::ROOT, ".atfs").await;
    assert!(matches!(view.lookup(atfs, b"commit").await, Ok(Lookup::Absent(_))));
    let atfs = found(&view, work, ".atfs").await;
    let open = view.open(found(&view, atfs, "ref").await).await.unwrap();
    assert_eq!(view.read(&open, 0, 100).await.unwrap(), "work\n");
}

#[tokio::test]
async fn only_names_that_can_be_revisions_ask_the_store() {
    let (repository, _source) = repository().await;
    let store = Arc::new(atfs::store::RecordStore::new(repository.store().clone()));
    let recorded = Repository::open(store.clone(), services()).await.unwrap();
    let view = whole(&recorded);
    store.reset();
    for name in ["lost+found", ".git", "main", "mem", "mem@", ".hidden", "autorun.inf", "mem@a b"] {
        view.lookup(Ino::ROOT, name.as_bytes()).await.unwrap();
    }
    assert_eq!(store.calls().len(), 0);
    found(&view, Ino::ROOT, "mem@work").await;
    let calls = store.calls().len();
    assert!(calls > 0);
    found(&view, Ino::ROOT, "mem@work").await;
    assert_eq!(store.calls().len(), calls, "what is pinned is not asked for again");
}
