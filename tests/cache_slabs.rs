//! Small contents in slabs: what they give out, what they keep over a restart, and what goes first.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::fs;
use std::os::unix::fs::FileExt;

use atfs::types::{Location, PackId};
use cache_support::{SmallDisk, content, disk_usage, files, open};

const MIB: u64 = 1 << 20;

fn at(pack: u8, offset: u64, len: u32) -> Location {
    Location { pack: PackId::from_bytes([pack; 16]), offset, len }
}

/// 80 blobs of 100 KiB one behind the other in a pack, and their bytes.
fn row(pack: u8) -> Vec<(Location, bytes::Bytes)> {
    let place = |n: u64| at(pack, n * 100 * 1024, 100 * 1024);
    (0..80).map(|n| (place(n), content(u64::from(pack) << 32 | n, 100 * 1024))).collect()
}

#[test]
fn what_was_kept_is_there_also_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100 * MIB);
    // One that begins at the very end of a slab, and one that fits no slab.
    let edge = (at(9, 8 * MIB - 1, MIB as u32), content(1, MIB as usize));
    let all: Vec<_> = row(1).into_iter().chain([edge]).collect();
    for (at, bytes) in &all {
        assert_eq!(cache.read_small(at), None);
        assert!(!cache.holds_small(at));
        assert!(cache.keep_small(at, bytes));
        assert!(cache.holds_small(at));
    }
    assert!(!cache.keep_small(&at(2, 0, 3 << 20), &content(2, 3 << 20)), "too long for a slab");
    assert!(!cache.keep_small(&at(2, 0, 10), &content(2, 11)), "not what the place says");
    let before = cache.stats();
    assert!(before.bytes_on_disk >= 8 * MIB + 800_000, "{before:?}");
    assert_eq!(before.bytes_open, 0, "reading and writing leave nothing open");
    drop(cache);
    let cache = open(dir.path(), 100 * MIB);
    assert_eq!(cache.stats().bytes_on_disk, before.bytes_on_disk, "the scan counts what was counted");
    for (at, bytes) in &all {
        assert_eq!(cache.read_small(at).as_deref(), Some(&bytes[..]));
    }
    assert_eq!(cache.read_small(&at(1, 200 * MIB, 10)), None);
    assert_eq!(files(&dir.path().join("v1/slabs")).len(), 2);
}

#[test]
fn the_limit_holds_and_the_least_recently_used_slab_goes() {
    let dir = tempfile::tempdir().unwrap();
    // Three packs' rows of 8 MiB fit, and not four.
    let cache = open(dir.path(), 27 * MIB);
    let rows: Vec<_> = (0..4).map(row).collect();
    for (n, row) in rows.iter().enumerate() {
        if n == 3 {
            // All of row 0 is used again, so it is row 1 that goes.
            assert!(row.len() == 80 && rows[0].iter().all(|(at, _)| cache.read_small(at).is_some()));
        }
        for (at, bytes) in row {
            assert!(cache.keep_small(at, bytes));
            assert!(disk_usage(&dir.path().join("v1/slabs")) <= 28 * MIB);
        }
    }
    let whole = |row: &[(Location, bytes::Bytes)]| {
        row.iter().filter(|(at, bytes)| cache.read_small(at).is_some_and(|read| read == bytes[..])).count()
    };
    assert_eq!([0, 1, 2, 3].map(|n| whole(&rows[n])), [80, 0, 80, 80]);
}

#[test]
fn a_slab_that_is_mostly_cold_is_cut_down_once_to_what_is_warm() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 27 * MIB);
    let rows: Vec<_> = (0..7).map(row).collect();
    for (at, bytes) in rows[0..3].iter().flatten() {
        assert!(cache.keep_small(at, bytes));
    }
    // Four of 80 are read; then others need the room.
    for (at, _) in &rows[0][20..24] {
        assert!(cache.read_small(at).is_some());
    }
    for (at, bytes) in rows[3..5].iter().flatten() {
        assert!(cache.keep_small(at, bytes));
    }
    let kept = rows[0].iter().filter(|(at, _)| cache.holds_small(at)).count();
    assert!((4..12).contains(&kept), "{kept} of row 0");
    for (at, bytes) in &rows[0][20..24] {
        assert_eq!(cache.read_small(at).as_deref(), Some(&bytes[..]), "the warm ones are whole");
    }
    let used = disk_usage(&dir.path().join("v1/slabs"));
    assert!(used <= 27 * MIB, "the rest was given back: {used}");
    // The accounts are the disk's.
    assert!(cache.stats().bytes_on_disk.abs_diff(used) <= MIB, "{:?} and {used}", cache.stats());
    drop(cache);
    let cache = open(dir.path(), 27 * MIB);
    for (at, bytes) in &rows[0][20..24] {
        assert_eq!(cache.read_small(at).as_deref(), Some(&bytes[..]));
    }
}

#[test]
fn a_full_disk_takes_nothing_and_is_no_error() {
    let disk = SmallDisk::new(4 * MIB);
    let cache = open(disk.path(), 100 * MIB);
    let kept = row(1).iter().filter(|(at, bytes)| cache.keep_small(at, bytes)).count();
    assert!((20..41).contains(&kept), "{kept} of 80 in 4 MiB");
    let read =
        row(1).iter().filter(|(at, bytes)| cache.read_small(at).is_some_and(|r| r == bytes[..])).count();
    assert!(read <= kept + 1, "{read} read of {kept}");
    assert!(cache.stats().disk_errors > 0);
    disk.set_read_only(nix::mount::MsFlags::MS_RDONLY);
    assert!(!cache.keep_small(&at(2, 0, 4096), &content(3, 4096)));
    disk.set_read_only(nix::mount::MsFlags::empty());
}

#[test]
fn whoever_cuts_or_deletes_a_slab_causes_misses_only() {
    let dir = tempfile::tempdir().unwrap();
    let row = row(1);
    let fill = || {
        let cache = open(dir.path(), 100 * MIB);
        assert!(row.iter().all(|(at, bytes)| cache.keep_small(at, bytes)));
        cache
    };
    drop(fill());
    let slab = files(&dir.path().join("v1/slabs"))[0].clone();
    fs::OpenOptions::new().write(true).open(&slab).unwrap().set_len(150 * 1024).unwrap();
    let cache = open(dir.path(), 100 * MIB);
    assert!(cache.read_small(&row[0].0).is_some());
    assert!(row[2..].iter().all(|(at, _)| cache.read_small(at).is_none()));
    drop(cache);
    let cache = fill();
    fs::OpenOptions::new().write(true).open(&slab).unwrap().write_all_at(b"wrong", 1000).unwrap();
    assert!(
        cache.read_small(&row[0].0).is_some_and(|read| read != row[0].1[..]),
        "it claims; the caller checks"
    );
    drop(cache);
    fs::remove_file(&slab).unwrap();
    let cache = open(dir.path(), 100 * MIB);
    assert!(row.iter().all(|(at, _)| cache.read_small(at).is_none()));
    assert_eq!(cache.stats().bytes_on_disk, 0);
}

/// Writers, readers and evictions at once, against the one thing that must hold: a place gives out its own bytes, or
/// none, or bytes that its reader can tell are others; and the limit.
#[test]
fn threads_write_read_and_evict() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 20 * MIB);
    let rows: Vec<_> = (0..6).map(row).collect();
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (cache, rows) = (&cache, &rows);
            scope.spawn(move || {
                let mut whole = 0;
                for turn in 0..1500usize {
                    let (at, bytes) = &rows[(turn / 40 + thread) % 6][(turn * 7 + thread * 13) % 80];
                    match cache.read_small(at) {
                        Some(read) if read == bytes[..] => whole += 1,
                        _ => drop(cache.keep_small(at, bytes)),
                    }
                    let stats = cache.stats();
                    assert!(stats.bytes_on_disk <= stats.bytes_limit, "{stats:?}");
                }
                assert!(whole > 100, "{whole} reads were hits");
            });
        }
    });
    let used = disk_usage(&dir.path().join("v1/slabs"));
    assert!(used <= 20 * MIB, "{used}");
    assert!(cache.stats().bytes_on_disk.abs_diff(used) <= MIB, "{:?} and {used}", cache.stats());
    assert_eq!(cache.stats().bytes_open, 0);
}
