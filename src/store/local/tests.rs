use std::fs;
use std::time::{Duration, SystemTime};

use super::*;

fn store() -> (tempfile::TempDir, LocalStore) {
    let folder = tempfile::tempdir().expect("scratch folder");
    let store = LocalStore::open(folder.path()).expect("it exists");
    (folder, store)
}

fn key(text: &str) -> Key {
    Key::new(text)
}

#[tokio::test]
async fn the_root_is_created_only_when_told() {
    let scratch = tempfile::tempdir().expect("scratch folder");
    let root = scratch.path().join("a/b");
    assert_eq!(LocalStore::open(&root).expect_err("missing").kind(), StoreErrorKind::NoBucket);
    create_local_root(&root).expect("create");
    create_local_root(&root).expect("again");
    let store = LocalStore::open(&root).expect("open");
    store.put(&key("x/y"), Bytes::from_static(b"1")).await.expect("put");
    fs::remove_dir_all(&root).expect("remove");
    // A disk that is not mounted: no answer may look like an empty repository, and nothing may create one.
    let kinds = [
        store.get(&key("x/y")).await.expect_err("get").kind(),
        store.put(&key("x/y"), Bytes::new()).await.expect_err("put").kind(),
        store.put_new(&key("z"), Bytes::new()).await.expect_err("put_new").kind(),
        store.list(&ListRequest::all("")).await.expect_err("list").kind(),
        store.delete(&key("x/y")).await.expect_err("delete").kind(),
    ];
    assert_eq!(kinds, [StoreErrorKind::NoBucket; 5]);
    assert!(!root.exists());
    fs::write(&root, b"").expect("a file");
    assert_eq!(LocalStore::open(&root).expect_err("a file").kind(), StoreErrorKind::NoBucket);
    assert_eq!(create_local_root(&root).expect_err("a file").kind(), StoreErrorKind::Io);
}

#[tokio::test]
async fn unfinished_files_are_neither_listed_nor_kept() {
    let (folder, store) = store();
    let unfinished = folder.path().join(path::TEMPORARY);
    fs::create_dir(&unfinished).expect("folder");
    let yesterday = SystemTime::now() - Duration::from_secs(25 * 3600);
    for (name, time) in [("stale", yesterday), ("fresh", SystemTime::now())] {
        let file = File::create(unfinished.join(name)).expect("file");
        file.set_modified(time).expect("time");
    }
    assert_eq!(store.list(&ListRequest::all("")).await.expect("list"), ListPage::default());
    store.put(&key("a"), Bytes::from_static(b"1")).await.expect("put");
    store.put_new(&key("b"), Bytes::from_static(b"2")).await.expect("create");
    store.put_new(&key("b"), Bytes::from_static(b"3")).await.expect_err("taken");
    let left: Vec<_> = fs::read_dir(&unfinished).expect("read").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["fresh"]);
    let page = store.list(&ListRequest::all("")).await.expect("list");
    assert_eq!(page.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(store.list(&ListRequest::all(".atfs-tmp/")).await.expect("list").objects.len(), 0);
}

#[tokio::test]
async fn a_key_that_is_also_a_folder_is_named() {
    let (_folder, store) = store();
    store.put(&key("a/b"), Bytes::from_static(b"1")).await.expect("put");
    for error in [
        store.put(&key("a"), Bytes::new()).await.expect_err("put over a folder"),
        store.put_new(&key("a"), Bytes::new()).await.expect_err("create over a folder"),
        store.put(&key("a/b/c"), Bytes::new()).await.expect_err("put under a file"),
        store.put_new(&key("a/b/c"), Bytes::new()).await.expect_err("create under a file"),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Io, "{error}");
        assert!(error.to_string().contains("a file where a folder is needed"), "{error}");
    }
    assert!(store.get(&key("a")).await.expect_err("a folder").is_not_found());
    assert!(store.get(&key("a/b/c")).await.expect_err("under a file").is_not_found());
    store.delete(&key("a")).await.expect("a folder is no object");
    store.delete(&key("a/b/c")).await.expect("nothing is there");
    assert_eq!(store.get(&key("a/b")).await.expect("untouched"), "1");
}

#[tokio::test]
async fn empty_folders_are_no_groups() {
    let (folder, store) = store();
    fs::create_dir_all(folder.path().join("empty/deeper")).expect("folders");
    store.put(&key("full/x/y"), Bytes::from_static(b"1")).await.expect("put");
    let page = store.list(&ListRequest::folded("")).await.expect("list");
    assert_eq!(page.groups, ["full/"]);
}

#[tokio::test]
async fn a_removed_directory_is_made_again() {
    let (folder, store) = store();
    store.put_new(&key("d/a"), Bytes::from_static(b"1")).await.expect("create");
    fs::remove_dir_all(folder.path().join("d")).expect("remove");
    store.put_new(&key("d/a"), Bytes::from_static(b"2")).await.expect("create again");
    assert_eq!(store.get(&key("d/a")).await.expect("get"), "2");
}

#[tokio::test]
async fn links_are_followed_and_loops_end() {
    let (folder, store) = store();
    let elsewhere = tempfile::tempdir().expect("scratch folder");
    fs::write(elsewhere.path().join("f"), b"x").expect("file");
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("away")).expect("link");
    fs::create_dir(folder.path().join("d")).expect("folder");
    std::os::unix::fs::symlink(folder.path().join("d"), folder.path().join("d/loop")).expect("link");
    std::os::unix::fs::symlink("/nowhere", folder.path().join("dangling")).expect("link");
    let page = store.list(&ListRequest::all("")).await.expect("list");
    assert_eq!(page.objects.len(), 1);
    assert_eq!(page.objects[0].key.as_str(), "away/f");
}
