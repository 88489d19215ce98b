//! A disk that forgets: what is not what was written is found, taken off it, and fetched again.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atfs::cache::Cache;
use atfs::types::{Location, PackId};
use cache_support::{Source, TestMachine, content, file_of, key, open};

const LIMIT: u64 = 1 << 30;
const SIZE: u64 = 3_000_000;

fn source(i: u64) -> Arc<Source> {
    Source::new(content(i, SIZE as usize), 400_000)
}

async fn fill(cache: &Arc<Cache>, i: u64) -> usize {
    let source = source(i);
    assert!(cache.file(key(i), SIZE, source.clone()).read(0, usize::MAX).await.unwrap() == source.data);
    source.fetches()
}

/// Turns one bit of the file, as a disk might.
fn rot(dir: &Path, i: u64, at: u64) {
    let path = file_of(&dir.join("v1/files"), i).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    fs::set_permissions(&path, mode).unwrap();
}

fn keep_on<T>(_: &T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[tokio::test]
async fn a_turned_bit_is_found_and_the_content_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    for i in 0..4 {
        fill(&cache, i).await;
    }
    let small = Location { pack: PackId::from_bytes([7; 16]), offset: 5000, len: 100_000 };
    assert!(cache.keep_small(&small, &content(9, 100_000)));
    let used = |i| fs::metadata(file_of(&dir.path().join("v1/files"), i).unwrap()).unwrap().atime_nsec();
    let before = used(0);
    let mut calls = 0;
    let seen = cache.verify(|seen| {
        calls += 1;
        assert!(seen.bytes_read <= seen.bytes_total, "{seen:?}");
        ControlFlow::Continue(())
    });
    assert_eq!((seen.right, seen.wrong, seen.slabs, seen.slabs_unreadable, seen.unproven), (4, 0, 1, 0, 0));
    assert!(
        seen.bytes_read >= 4 * SIZE + 100_000 && calls >= 4 * source(0).pieces(),
        "{seen:?}, {calls} calls"
    );
    assert_eq!(used(0), before, "the order of eviction is not that of verification");

    // One that is idle, one that somebody has open, and one at its very end.
    rot(dir.path(), 0, 1_234_567);
    rot(dir.path(), 1, 0);
    rot(dir.path(), 2, SIZE - 1);
    let of_one = source(1);
    let open_one = cache.file(key(1), SIZE, of_one.clone());
    assert!(open_one.complete_file().is_some());
    let seen = cache.verify(keep_on);
    assert_eq!((seen.right, seen.wrong), (1, 3));
    assert_eq!(cache.stats().wrong_on_disk, 3);
    assert!(open_one.complete_file().is_none() && !open_one.is_complete());
    assert!(
        (0..3).all(|i| file_of(&dir.path().join("v1"), i).is_none()),
        "they are off the disk, with their sums"
    );
    assert!(open_one.read(0, usize::MAX).await.unwrap() == of_one.data);
    drop(open_one);
    // 1 is still in memory, from the read just now.
    for i in 0..4 {
        assert_eq!(fill(&cache, i).await > 0, i == 0 || i == 2, "file {i}");
    }
    assert_eq!(cache.verify(keep_on).right, 4);
}

#[tokio::test]
async fn it_ends_when_told_and_leaves_claims_alone() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    let cache = machine.open(dir.path(), LIMIT);
    for i in 0..3 {
        fill(&cache, i).await;
    }
    let seen = cache.verify(|_| ControlFlow::Break(()));
    assert!(seen.right == 0 && seen.bytes_read <= 400_000, "{seen:?}");
    drop(cache);
    machine.boot_again();
    let cache = machine.open(dir.path(), LIMIT);
    fill(&cache, 0).await;
    let seen = cache.verify(keep_on);
    assert_eq!((seen.right, seen.wrong, seen.unproven), (1, 0, 2));
}

#[tokio::test]
async fn the_background_goes_over_what_a_process_before_has_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    for i in 0..2 {
        fill(&cache, i).await;
    }
    drop(cache);
    rot(dir.path(), 1, 2_000_000);
    // As if its last pass had begun more than a week ago.
    fs::write(dir.path().join("v1/scrub"), "1000 256\n").unwrap();
    let cache = open(dir.path(), LIMIT);
    let deadline = Instant::now() + Duration::from_secs(60);
    while cache.stats().wrong_on_disk == 0 {
        assert!(Instant::now() < deadline, "{:?}", cache.stats());
        std::thread::yield_now();
    }
    assert_eq!(fill(&cache, 0).await, 0);
    assert!(fill(&cache, 1).await > 0);
}

#[tokio::test]
async fn pruning_takes_the_oldest_and_nothing_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    for i in 0..4 {
        fill(&cache, i).await;
    }
    let small = Location { pack: PackId::from_bytes([7; 16]), offset: 0, len: 100_000 };
    assert!(cache.keep_small(&small, &content(9, 100_000)) && cache.read_small(&small).is_some());
    let open_zero = cache.file(key(0), SIZE, source(0));
    let half = source(5);
    cache.file(key(5), SIZE, half.clone()).read(0, 10).await.unwrap();
    let info = cache.info();
    assert_eq!((info.whole.entries, info.partial.entries, info.small.entries), (4, 1, 1));
    assert_eq!(info.whole.bytes + info.partial.bytes + info.small.bytes, info.stats.bytes_on_disk);
    assert!(info.free_bytes.unwrap() <= info.disk_bytes.unwrap());
    let two_less = info.stats.bytes_on_disk - 2 * SIZE;
    let pruned = cache.prune(two_less);
    assert_eq!(pruned.bytes_before, info.stats.bytes_on_disk);
    assert!(pruned.bytes_on_disk <= two_less && pruned.bytes_on_disk > two_less - SIZE, "{pruned:?}");
    assert!(!cache.contains(key(1), SIZE) && !cache.contains(key(2), SIZE) && cache.contains(key(3), SIZE));
    let pruned = cache.prune(0);
    assert_eq!(pruned.bytes_on_disk, pruned.bytes_open, "slabs that were read a moment ago go as well");
    assert!(open_zero.is_complete() && pruned.bytes_open >= SIZE);
    drop(open_zero);
    assert_eq!(cache.prune(0).bytes_on_disk, 0);
}
