//! A commit to a local directory: the same as what was added, resumable, never outside the target.

#![allow(clippy::unwrap_used)]

mod files_support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use atfs::format::PackKind;
use atfs::repo::files::{ExportSummary, Owners, export};
use atfs::repo::{RepoError, layout};
use atfs::store::{Operation, Store};
use atfs::types::{NoProgress, RepoPath};
use files_support::{World, noise, path, world};
use tempfile::tempdir;

async fn try_out(world: &World, from: &str, to: &Path) -> Result<ExportSummary, RepoError> {
    try_out_as(world, from, to, Owners::Leave).await
}

async fn try_out_as(
    world: &World,
    from: &str,
    to: &Path,
    owners: Owners,
) -> Result<ExportSummary, RepoError> {
    let from = RepoPath::from_user(from).unwrap();
    export(&world.head().await, &from, to, owners, Arc::new(NoProgress)).await
}

async fn out(world: &World, from: &str, to: &Path) -> ExportSummary {
    try_out(world, from, to).await.unwrap()
}

/// What `stat`, `readlink` and `read` say of everything below `dir`.
fn listing(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.unwrap();
        let meta = entry.path().symlink_metadata().unwrap();
        let content = match meta.file_type() {
            kind if kind.is_file() => blake3::hash(&fs::read(entry.path()).unwrap()).to_string(),
            kind if kind.is_symlink() => fs::read_link(entry.path()).unwrap().display().to_string(),
            _ => String::new(),
        };
        let name = entry.path().strip_prefix(dir).unwrap().display().to_string();
        // The target itself is the user's.
        if !name.is_empty() {
            let times = (meta.mtime(), meta.mtime_nsec());
            lines.push(format!("{name} {:o} {times:?} {content}", meta.mode()));
        }
    }
    lines
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("a/b/empty")).unwrap();
    for n in 0..200 {
        fs::write(root.join(format!("a/{n}")), noise(n as u8, 600 + n * 90)).unwrap();
    }
    fs::write(root.join("a/b/none"), b"").unwrap();
    fs::write(root.join("a/b/inline"), b"short").unwrap();
    fs::write(root.join("long"), noise(77, 21 << 20)).unwrap();
    symlink("../../..", root.join("a/b/up")).unwrap();
    symlink("/etc/passwd", root.join("a/absolute")).unwrap();
    xattr::set(root.join("long"), "user.k", b"v").unwrap();
    fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(root.join("a/7"), fs::Permissions::from_mode(0o400)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_is_what_went_in() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    world.commit(&from, "data").await;
    world.store.reset();
    let summary = out(&world, "data", &to).await;
    assert_eq!(listing(&from), listing(&to));
    assert_eq!((summary.files, summary.directories, summary.symlinks, summary.present), (203, 3, 2, 0));
    assert_eq!(xattr::get(to.join("long"), "user.k").unwrap().as_deref(), Some(&b"v"[..]));
    // 200 short files that lie together, and 21 MiB in windows.
    let gets = world.store.count(Operation::GetRange);
    assert!(gets < 30, "{gets} requests");

    // Once more: nothing is fetched but nodes. A file that differs comes again, one that was added stays.
    fs::write(to.join("a/3"), b"edited").unwrap();
    fs::write(to.join("own"), b"own").unwrap();
    let again = out(&world, "data", &to).await;
    assert_eq!((again.files, again.present), (1, 202));
    assert_eq!(fs::read(to.join("own")).unwrap(), b"own");
    fs::remove_file(to.join("own")).unwrap();
    assert_eq!(listing(&from), listing(&to));

    // A single file: under a new name, and into a directory.
    out(&world, "data/a/5", &dir.path().join("five")).await;
    out(&world, "data/a/5", &to.join("a/b/empty")).await;
    for name in ["five", "to/a/b/empty/5"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), noise(5, 600 + 5 * 90));
    }
    let error = try_out(&world, "data/none", &to).await.unwrap_err();
    assert!(matches!(error, RepoError::NoSuchPath { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_lie_in_the_target_are_never_followed() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let (from, to, outside) = (dir.path().join("from"), dir.path().join("to"), dir.path().join("outside"));
    fs::create_dir_all(from.join("d")).unwrap();
    fs::write(from.join("d/f"), b"new").unwrap();
    fs::write(from.join("top"), b"new").unwrap();
    symlink("elsewhere", from.join("link")).unwrap();
    world.commit(&from, "").await;

    fs::create_dir_all(&to).unwrap();
    fs::create_dir_all(outside.join("d")).unwrap();
    for name in ["d/f", "top", "link"] {
        fs::write(outside.join(name), b"old").unwrap();
    }
    let before = listing(&outside);
    // A link in place of a file, and of a link: replaced, not written through.
    symlink(outside.join("top"), to.join("top")).unwrap();
    symlink(outside.join("link"), to.join("link")).unwrap();
    out(&world, "", &to).await;
    assert_eq!(fs::read(to.join("top")).unwrap(), b"new");
    assert!(to.join("top").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("elsewhere"));
    // A link in place of a directory: refused.
    fs::remove_dir_all(to.join("d")).unwrap();
    symlink(outside.join("d"), to.join("d")).unwrap();
    let error = try_out(&world, "", &to).await.unwrap_err();
    assert!(matches!(&error, RepoError::Local { path, .. } if path.ends_with("/d")), "{error}");
    assert_eq!(listing(&outside), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_everything_else_reads() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let from = dir.path().join("from");
    fs::create_dir_all(&from).unwrap();
    for n in 0..4 {
        fs::write(from.join(n.to_string()), noise(n, 100_000)).unwrap();
    }
    let (added, _) = world.commit(&from, "").await;
    let broken = files_support::item(&added, "2");
    let place = broken.hints.content.unwrap();
    let key = layout::pack(PackKind::Data, place.pack);
    let mut bytes = world.store.get(&key).await.unwrap().to_vec();
    bytes[usize::try_from(place.offset).unwrap() + 500] ^= 1;
    world.store.put(&key, bytes.into()).await.unwrap();

    let error = try_out(&world, "", &dir.path().join("all")).await.unwrap_err();
    let atfs::format::EntryBody::File { content: atfs::format::Content::Chunk(id), .. } = broken.entry.body
    else {
        panic!("a chunk")
    };
    assert!(matches!(error, RepoError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(key.as_str()) && text.contains(&id.to_hex()), "{text}");
    assert!(!dir.path().join("all/2").exists(), "nothing stands under the name");
    for n in [0u8, 1, 3] {
        out(&world, &n.to_string(), &dir.path().join("one")).await;
        assert_eq!(fs::read(dir.path().join("one")).unwrap(), noise(n, 100_000));
    }
    assert_eq!(path("2").to_string(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_removed_and_what_another_one_writes_is_not() {
    let world = world().await;
    let dir = tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("d/e")).unwrap();
    fs::write(from.join("d/e/f"), noise(1, 2000)).unwrap();
    world.commit(&from, "").await;
    out(&world, "", &to).await;
    let unfinished = |n: u8| format!(".atfs-export-{}", format!("{n:02x}").repeat(16));
    for folder in ["", "d", "d/e"] {
        fs::write(to.join(folder).join(unfinished(0xa1)), b"half").unwrap();
        // One that was about to get its name.
        fs::write(to.join(folder).join(unfinished(0xa2)), b"whole").unwrap();
        let mode = fs::Permissions::from_mode(0o400);
        fs::set_permissions(to.join(folder).join(unfinished(0xa2)), mode).unwrap();
        symlink("target", to.join(folder).join(unfinished(0xa3))).unwrap();
    }
    // Another run is at work, and people may use such names too.
    let live = fs::File::create(to.join("d").join(unfinished(0xb1))).unwrap();
    live.lock().unwrap();
    let own =
        [".atfs-export-", ".atfs-export-notes", &unfinished(0xc1).to_uppercase(), &(unfinished(0xc2) + "0")];
    for name in own {
        fs::write(to.join("d").join(name), b"own").unwrap();
    }
    fs::create_dir(to.join("d").join(unfinished(0xc3))).unwrap();

    fs::remove_file(to.join("d/e/f")).unwrap();
    let again = out(&world, "", &to).await;
    assert_eq!((again.files, again.present), (1, 0));
    let mut left: Vec<_> = walkdir::WalkDir::new(&to)
        .into_iter()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .filter(|name| name.to_lowercase().starts_with(".atfs-export-"))
        .collect();
    left.sort();
    let mut expected: Vec<String> = own.iter().map(ToString::to_string).collect();
    expected.extend([unfinished(0xb1), unfinished(0xc3)]);
    expected.sort();
    assert_eq!(left, expected);
    // When that run has died its file goes too.
    drop(live);
    out(&world, "d", &to.join("d")).await;
    assert!(!to.join("d").join(unfinished(0xb1)).exists());
}

/// Needs root: nobody else may give files away.
#[tokio::test(flavor = "multi_thread")]
async fn owners_are_restored_for_root_when_asked_for() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    let world = world().await;
    let dir = tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("d")).unwrap();
    fs::write(from.join("d/f"), b"short").unwrap();
    fs::write(from.join("d/g"), noise(2, 2000)).unwrap();
    symlink("f", from.join("d/link")).unwrap();
    fs::set_permissions(from.join("d/f"), fs::Permissions::from_mode(0o640)).unwrap();
    for (n, name) in ["d", "d/f", "d/g", "d/link"].iter().enumerate() {
        std::os::unix::fs::lchown(from.join(name), Some(4000 + n as u32), Some(5000 + n as u32)).unwrap();
    }
    let owners = |root: &Path| {
        ["d", "d/f", "d/g", "d/link"].map(|name| {
            let metadata = root.join(name).symlink_metadata().unwrap();
            (metadata.uid(), metadata.gid())
        })
    };
    world.commit(&from, "").await;

    out(&world, "", &to).await;
    assert_eq!(owners(&to), [(0, nix::unistd::getegid().as_raw()); 4]);
    // A second name elsewhere of a file whose owner is to change: that one is not touched.
    fs::hard_link(to.join("d/f"), dir.path().join("elsewhere")).unwrap();
    let restored = try_out_as(&world, "", &to, Owners::Restore).await.unwrap();
    assert_eq!((restored.files, restored.present, restored.without_owners), (2, 0, 0));
    assert_eq!(owners(&to), owners(&from));
    assert_eq!(listing(&from), listing(&to));
    assert_eq!(dir.path().join("elsewhere").metadata().unwrap().uid(), 0);
    // Then it is all there.
    let again = try_out_as(&world, "", &to, Owners::Restore).await.unwrap();
    assert_eq!((again.files, again.present), (0, 2));
    let again = out(&world, "", &to).await;
    assert_eq!((again.files, again.present), (0, 2));
    // A single file and a single link too.
    for name in ["d/f", "d/link"] {
        let one = dir.path().join("one");
        try_out_as(&world, name, &one, Owners::Restore).await.unwrap();
        assert_eq!(one.symlink_metadata().unwrap().uid(), from.join(name).symlink_metadata().unwrap().uid());
        fs::remove_file(one).unwrap();
    }
}
