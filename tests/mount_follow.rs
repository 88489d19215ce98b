//! A mount that moves with its branch: new look-ups see the new commit, open files keep their bytes, and no file is ever a
//! mixture.
#![allow(clippy::unwrap_used)]

mod mount_common;
mod refs_common;

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use atfs::daemon::client::MountOrder;
use atfs::fs::ProfileChoice;
use mount_common::{Fixture, wait_until};
use refs_common::tree::commit_edits;

/// Bytes that say which version of which file they are, everywhere.
fn noise(version: u64, name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key(name).update(&version.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn follow(fixture: &Fixture, interval: Duration) -> PathBuf {
    let order = MountOrder { follow: Some(interval), ..fixture.order(Some("main")) };
    fixture.try_mount(&order).unwrap_or_else(|e| panic!("{e}\n{}", fixture.log())).mount_point
}

fn add(fixture: &Fixture, files: &[(&str, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = fixture.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let mut source = fixture.source().into_os_string();
    source.push("/.");
    fixture.add("", Path::new(&source));
}

#[test]
fn new_look_ups_see_the_new_commit_and_open_files_keep_their_bytes() {
    let fixture = Fixture::new();
    let (small, long) = (100_000, 9 << 20);
    add(&fixture, &[("d/small", noise(1, "small", small)), ("d/long", noise(1, "long", long))]);
    let mnt = follow(&fixture, Duration::from_millis(200));
    let commit = || fs::read_to_string(mnt.join(".atfs/commit")).unwrap();
    let first = commit();
    let mut open = fs::File::open(mnt.join("d/long")).unwrap();
    let mut begun = vec![0; 2 << 20];
    open.read_exact(&mut begun).unwrap();
    let mut open_small = fs::File::open(mnt.join("d/small")).unwrap();
    assert!(fs::metadata(mnt.join("d/new")).is_err(), "not there yet, and remembered as absent");
    let dir = fs::File::open(mnt.join("d")).unwrap();

    add(
        &fixture,
        &[
            ("d/small", noise(2, "small", small + 1)),
            ("d/long", noise(2, "long", long)),
            ("d/new", b"new".to_vec()),
        ],
    );
    wait_until("the mount moves", || commit() != first);
    // Names are believed for half the interval.
    wait_until("a name that was absent", || fs::read(mnt.join("d/new")).is_ok_and(|bytes| bytes == b"new"));
    assert!(fs::read(mnt.join("d/small")).unwrap() == noise(2, "small", small + 1));
    assert!(fs::read(mnt.join("d/long")).unwrap() == noise(2, "long", long));
    assert_eq!(fs::metadata(mnt.join("d/small")).unwrap().len(), small as u64 + 1);
    // What was open is what it was.
    begun.clear();
    open.seek(SeekFrom::Start(0)).unwrap();
    open.read_to_end(&mut begun).unwrap();
    assert!(begun == noise(1, "long", long));
    begun.clear();
    open_small.read_to_end(&mut begun).unwrap();
    assert!(begun == noise(1, "small", small));
    // A directory that was open before: names below it are those of now.
    let through = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir)));
    assert_eq!(fs::read(through.join("new")).unwrap(), b"new");
    let mut names: Vec<_> = fs::read_dir(&through).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["long", "new", "small"]);

    fixture.atfs(&[
        "rm".as_ref(),
        format!("{}@main:d/new", fixture.url()).as_ref(),
        "-m".as_ref(),
        "x".as_ref(),
    ]);
    wait_until("a name that is gone", || fs::metadata(mnt.join("d/new")).is_err());
    assert!(fixture.counter(&mnt, "moves") >= 2);
    let status = atfs::daemon::client::running(&fixture.cache_dir()).unwrap().unwrap().mounts.remove(0);
    assert_eq!(status.commit.unwrap().to_hex(), commit().trim());
}

#[test]
fn a_thousand_moves_with_readers_show_no_mixture_and_never_go_back() {
    let fixture = Fixture::new();
    const NAMES: [&str; 8] = ["a", "b", "c", "d0", "e", "f", "g", "h"];
    let moves: u64 = std::env::var("ATFS_MOVES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    // 500 bytes that all tell the version: one that is mixed tells two.
    let text = |version: u64| format!("{version:09};").repeat(50);
    let change = |version: u64| {
        let text = text(version);
        let edits: Vec<_> = NAMES.iter().map(|name| (*name, Some(&*text))).collect();
        fixture.runtime.block_on(commit_edits(&fixture.repository, &edits)).unwrap();
    };
    change(1);
    let mnt = follow(&fixture, Duration::from_millis(40));
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let written = AtomicU64::new(1);
    let version_in = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap();
        let first = &text[..10];
        assert_eq!(text, first.repeat(50), "a mixture");
        first[..9].parse::<u64>().unwrap()
    };
    std::thread::scope(|scope| {
        for reader in 0..3usize {
            let (mnt, done, reads, written) = (&mnt, &done, &reads, &written);
            scope.spawn(move || {
                let mut seen = [0; NAMES.len()];
                let mut turn = reader;
                while !done.load(Ordering::Relaxed) {
                    let at = turn % NAMES.len();
                    turn += 1;
                    let version = version_in(&fs::read(mnt.join(NAMES[at])).unwrap());
                    assert!(version >= seen[at], "{}: {version} after {}", NAMES[at], seen[at]);
                    assert!(version <= written.load(Ordering::SeqCst) + 1);
                    seen[at] = version;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let names = fs::read_dir(&mnt).unwrap().filter(|entry| entry.is_ok()).count();
                assert_eq!(names, NAMES.len());
            }
        });
        for version in 2..=moves {
            change(version);
            written.store(version, Ordering::SeqCst);
        }
        let last = || version_in(&fs::read(mnt.join("a")).unwrap());
        wait_until("the last version", || last() == moves);
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) > 100);
    assert!(fixture.counter(&mnt, "moves") > 10);
    assert_eq!(fixture.counter(&mnt, "errors"), 0);
    // Those that the kernel still knows an inode of; it forgets them when it looks the names up again.
    let held = fixture.counter(&mnt, "commits_held");
    assert!(held <= 2 * NAMES.len() as u64, "{held} commits are held");
    // The mount goes at once: nothing is stuck in it.
    fixture.unmount();
}

#[test]
fn while_the_store_is_away_it_shows_what_it_showed_and_then_moves_on() {
    let fixture = Fixture::new();
    add(&fixture, &[("f", b"one".to_vec())]);
    let mnt = follow(&fixture, Duration::from_millis(100));
    assert_eq!(fs::read(mnt.join("f")).unwrap(), b"one");
    let away = fixture.path("away");
    fs::rename(fixture.path("data"), &away).unwrap();
    wait_until("it notices", || fixture.counter(&mnt, "moves_unknown") > 0);
    assert_eq!(fs::read(mnt.join("f")).unwrap(), b"one");
    // It counts, then it says so.
    wait_until("the log says so", || fixture.log().contains("where the branch is cannot be learnt"));
    fs::rename(&away, fixture.path("data")).unwrap();
    add(&fixture, &[("f", b"two".to_vec())]);
    wait_until("it moves again", || fs::read(mnt.join("f")).unwrap() == b"two");
}

#[test]
fn only_a_branch_can_be_followed() {
    let fixture = Fixture::new();
    add(&fixture, &[("f", b"one".to_vec())]);
    for revision in [Some("main~1"), None] {
        let order = MountOrder { follow: Some(Duration::from_secs(1)), ..fixture.order(revision) };
        let error = fixture.try_mount(&order).unwrap_err().to_string();
        assert!(
            error.contains("only a branch can be followed") || error.contains("follows nothing"),
            "{error}"
        );
    }
    let order = MountOrder {
        follow: Some(Duration::from_secs(1)),
        profile: ProfileChoice::SmallFiles,
        ..fixture.order(Some("main"))
    };
    let error = fixture.try_mount(&order).unwrap_err().to_string();
    assert!(error.contains("must see opens"), "{error}");
}
