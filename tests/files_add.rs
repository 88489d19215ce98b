//! Local trees into a repository: what is kept, what is refused, what is stored twice (nothing).

#![allow(clippy::unwrap_used)]

mod files_support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use atfs::format::{Content, EntryBody, EntryKind, TreeKey, Xattrs};
use atfs::repo::RepoError;
use atfs::repo::files::{AddItem, add};
use atfs::store::Operation;
use atfs::types::{NoProgress, Progress, Stage};
use files_support::{World, item, noise, path, world};
use tempfile::tempdir;

fn touch(path: &Path, seconds: i64, nanos: i64) {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;
    let time = TimeSpec::new(seconds, nanos);
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}

async fn holds(world: &World, added: &atfs::repo::files::Added, to: &str, expected: &[u8]) {
    let found = item(added, to);
    assert!(world.content(&found).await == expected, "{to}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_kept_as_it_is() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let root = dir.path().join("tree");
    fs::create_dir_all(root.join("a/b/empty")).unwrap();
    let long = noise(1, 5 << 20);
    let odd = std::ffi::OsStr::from_bytes(b"odd \xff\n name");
    let sizes: [(&str, usize); 6] = [
        ("none", 0),
        ("inline", 512),
        ("chunk", 513),
        ("a/one", 1 << 20),
        ("a/two", (1 << 20) + 1),
        ("a/b/x", 9),
    ];
    for (name, len) in sizes {
        fs::write(root.join(name), noise(2, len)).unwrap();
    }
    fs::write(root.join("a/long"), &long).unwrap();
    fs::write(root.join(odd), b"odd").unwrap();
    symlink("../nowhere", root.join("a/link")).unwrap();
    symlink("b", root.join("a/dirlink")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    fs::set_permissions(root.join("chunk"), fs::Permissions::from_mode(0o6751)).unwrap();
    touch(&root.join("chunk"), -5, 123_456_789);

    let added = world.add(&root, "x/tree").await;
    for (name, len) in sizes {
        holds(&world, &added, &format!("x/tree/{name}"), &noise(2, len)).await;
    }
    holds(&world, &added, "x/tree/a/long", &long).await;
    let key =
        TreeKey::of(&path("x/tree").join(atfs::types::Name::new(odd.as_bytes()).unwrap()).unwrap()).unwrap();
    assert!(added.edits.get(&key).is_some());

    let chunk = item(&added, "x/tree/chunk").entry;
    assert_eq!((chunk.mode, chunk.mtime.seconds, chunk.mtime.nanos), (0o751, -5, 123_456_789));
    let kinds = [
        ("x", EntryKind::Directory),
        ("x/tree", EntryKind::Directory),
        ("x/tree/a/b/empty", EntryKind::Directory),
        ("x/tree/a/link", EntryKind::Symlink),
        ("x/tree/a/dirlink", EntryKind::Symlink),
    ];
    for (name, kind) in kinds {
        assert_eq!(item(&added, name).entry.kind(), kind, "{name}");
    }
    let EntryBody::Symlink { target } = item(&added, "x/tree/a/link").entry.body else { panic!("a link") };
    assert_eq!(&target[..], b"../nowhere");
    let content = |name: &str| match item(&added, name).entry.body {
        EntryBody::File { content, .. } => content,
        _ => panic!("a file"),
    };
    assert_eq!(content("x/tree/none"), Content::Empty);
    assert!(matches!(content("x/tree/inline"), Content::Inline(_)));
    assert!(matches!(content("x/tree/a/one"), Content::Chunk(_)));
    assert!(matches!(content("x/tree/a/two"), Content::Manifest(_)));

    let summary = added.summary;
    assert_eq!((summary.files, summary.directories, summary.symlinks), (8, 4, 2));
    assert_eq!((summary.skipped_fifos, summary.skipped_sockets, summary.skipped_devices), (1, 1, 0));
    // 8 files, 4 directories (tree, a, b, empty), 2 links, and the directory above that did not exist.
    assert_eq!(added.edits.iter().count(), 8 + 4 + 2 + 1);
    // All of this fits into one data pack and one meta pack.
    let put = |folder: &str| {
        let calls = world.store.calls();
        calls
            .into_iter()
            .filter(|c| c.operation == Operation::Put && c.key.starts_with(folder))
            .collect::<Vec<_>>()
    };
    let (data, meta) = (&added.referenced.data, &added.referenced.meta);
    assert_eq!((data.len(), put("data/").len()), (1, 1));
    assert!(meta.iter().all(|id| put("meta/").iter().any(|call| call.key.ends_with(&id.to_hex()))));
    assert!(data.iter().all(|id| put("data/")[0].key.ends_with(&id.to_hex())));
    assert!(data.iter().chain(meta).all(|id| put("index/").iter().any(|c| c.key.ends_with(&id.to_hex()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_users_are_kept_and_no_others() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, b"x").unwrap();
    let long = noise(3, 3000);
    for (name, value) in [("user.a", &b"1"[..]), ("user.atfs.hash", b"2"), ("user.long", &long)] {
        if let Err(error) = xattr::set(&file, name, value) {
            panic!("the file system of {} has no attributes: {error}", dir.path().display());
        }
    }
    let added = world.add(&file, "f").await;
    let found = item(&added, "f");
    assert!(matches!(found.entry.xattrs, Xattrs::Blob(_)) && found.hints.xattrs.is_some());
    let list = world.head().await.xattrs(&found).await.unwrap();
    assert_eq!(list.0, [(b"user.a".to_vec(), b"1".to_vec()), (b"user.long".to_vec(), long)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_is_stored_once() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let content = noise(4, 3 << 20);
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), &content).unwrap();
    }
    world.store.reset();
    let first = world.add(dir.path(), "").await;
    let stored = world.data_bytes();
    assert!(stored < (3 << 20) + (64 << 10), "{stored}");
    assert!(first.summary.new_bytes < (3 << 20) + (64 << 10));
    holds(&world, &first, "c", &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_against_the_base_is_stored() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let name = dir.path().join("log");
    let mut content = noise(5, 20 << 20);
    fs::write(&name, &content).unwrap();
    fs::write(dir.path().join("small"), noise(6, 100_000)).unwrap();
    world.commit(dir.path(), "").await;

    let more = noise(7, 1 << 20);
    File::options().append(true).open(&name).unwrap().write_all(&more).unwrap();
    content.extend_from_slice(&more);
    world.store.reset();
    let (added, _) = world.commit(dir.path(), "").await;
    let stored = world.data_bytes();
    assert!(stored > 1 << 20 && stored <= 6 << 20, "{stored} bytes for 1 MiB more");
    holds(&world, &added, "log", &content).await;

    world.store.reset();
    let again = world.add(dir.path(), "").await;
    assert_eq!((again.summary.new_bytes, world.store.count(Operation::Put)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_added_is_named() {
    let world = world().await;
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("f"), b"x").unwrap();
    world.commit(dir.path(), "top").await;

    let missing = world.try_add(&dir.path().join("nothing"), "n").await.map(drop).unwrap_err();
    assert!(matches!(&missing, RepoError::Local { path, .. } if path.ends_with("nothing")), "{missing}");
    for (from, to, reason) in [
        ("f", "top/d", "is a directory there"),
        ("f", "top/f/below", "is not a directory"),
        ("f", ".atfs", "kept for mounts"),
        ("f", ".atfs/x", "kept for mounts"),
        ("f", "", "only a directory"),
    ] {
        let error = world.try_add(&dir.path().join(from), to).await.map(drop).unwrap_err();
        assert!(matches!(error, RepoError::BadPath { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let twice = ["f", "d"].map(|name| AddItem { from: dir.path().join(name), to: path("same") });
    let error = add(&world.head().await, twice.into(), Arc::new(NoProgress)).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("written twice"), "{error}");
    let deep = dir.path().join("d").join("x".repeat(255));
    fs::write(&deep, b"x").unwrap();
    // With the name of 255 bytes this makes paths of 4,095 and of 4,096 bytes.
    let longest = vec!["y".repeat(255); 15].join("/");
    assert_eq!(world.add(&dir.path().join("d"), &longest).await.summary.files, 1);
    let too_long = [&vec!["y".repeat(255); 14].join("/"), "/", &"y".repeat(254), "/y"].concat();
    let error = world.try_add(&dir.path().join("d"), &too_long).await.map(drop).unwrap_err();
    assert!(matches!(&error, RepoError::Path(path) if path.is_too_long()), "{error}");
}

/// Appends to a file whenever a byte of it was read and reported: the file never stands still.
#[derive(Debug)]
struct Restless(std::path::PathBuf);

impl Progress for Restless {
    fn begin(&self, _: Stage, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, stage: Stage, _: u64, _: u64) {
        if stage == Stage::Scan {
            File::options().append(true).open(&self.0).unwrap().write_all(b"more").unwrap();
        }
    }
    fn end(&self, _: Stage) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grew_since_it_was_found_is_read_as_it_is() {
    let world = world().await;
    let dir = tempdir().unwrap();
    // Found as one chunk, and longer than that when it is opened.
    let name = dir.path().join("f");
    fs::write(&name, noise(8, 1 << 20)).unwrap();
    let item_to_add = AddItem { from: name.clone(), to: path("f") };
    let progress = Arc::new(Restless(name.clone()));
    let added = add(&world.head().await, vec![item_to_add], progress).await.unwrap();
    let found = item(&added, "f");
    assert!(matches!(&found.entry.body, EntryBody::File { content: Content::Manifest(_), .. }));
    assert!(world.content(&found).await == fs::read(&name).unwrap());
}

/// A file whose path is short enough for a repository, and too long for a system call with that of `root` before it.
fn very_deep(root: &Path) {
    use nix::fcntl::{OFlag, open, openat};
    use nix::sys::stat::{Mode, mkdirat};
    let mut at = open(root, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..15 {
        let name = "x".repeat(255);
        mkdirat(&at, name.as_str(), Mode::S_IRWXU).unwrap();
        at = openat(&at, name.as_str(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    openat(&at, "y".repeat(245).as_str(), OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRUSR).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_too_long_for_the_system_is_named_with_the_limit() {
    let world = world().await;
    let dir = tempdir().unwrap();
    very_deep(dir.path());
    let error = world.try_add(dir.path(), "").await.map(drop).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, RepoError::Local { .. }) && text.contains("at most 4095"), "{text}");
    assert!(text.contains(&dir.path().display().to_string()) && text.len() < 1500, "{text}");
}
