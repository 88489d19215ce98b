//! What must stay free of the disk stays free, whoever fills it.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::fs;
use std::sync::Arc;

use atfs::cache::{Cache, CacheOptions};
use cache_support::{SmallDisk, Source, content, key, open_with};

const MIB: u64 = 1 << 20;
const DISK: u64 = 16 * MIB;
const FLOOR: u64 = 4 * MIB;
const SIZE: u64 = 600_000;

fn open(disk: &SmallDisk) -> Arc<Cache> {
    let options = CacheOptions { floor_bytes: Some(FLOOR), ..CacheOptions::new(1 << 40) };
    open_with(disk.path(), &options)
}

fn free(disk: &SmallDisk) -> u64 {
    DISK - disk.used()
}

async fn read(cache: &Arc<Cache>, i: u64) -> bool {
    let source = Source::new(content(i, SIZE as usize), 100_000);
    let file = cache.file(key(i), SIZE, source.clone());
    for at in (0..SIZE).step_by(50_000) {
        let bytes = file.read(at, 50_000).await.unwrap();
        assert!(bytes == source.data[at as usize..(at + 50_000).min(SIZE) as usize]);
    }
    assert!(source.fetched().values().all(|&times| times <= 1), "fetched twice");
    file.is_complete()
}

#[tokio::test]
async fn nothing_is_kept_that_would_leave_less_free() {
    let disk = SmallDisk::new(DISK);
    let cache = open(&disk);
    for i in 0..40 {
        assert!(read(&cache, i).await, "the oldest makes room for {i}");
        assert!(free(&disk) >= FLOOR, "{} free after {i}", free(&disk));
    }
    let stats = cache.stats();
    assert!(stats.evictions >= 18 && stats.disk_errors == 0, "{stats:?}");
    assert!(free(&disk) < FLOOR + 3 * MIB, "{} free: the rest is used", free(&disk));
    assert!(!cache.contains(key(0), SIZE) && cache.contains(key(39), SIZE));
}

#[tokio::test]
async fn what_others_need_is_given_back_and_no_more() {
    let disk = SmallDisk::new(DISK);
    let cache = open(&disk);
    for i in 0..30 {
        read(&cache, i).await;
    }
    let before = cache.stats().bytes_on_disk;
    fs::write(disk.path().join("foreign"), vec![1; 3 << 20]).unwrap();
    cache.tend();
    let after = cache.stats().bytes_on_disk;
    assert!(free(&disk) >= FLOOR, "{} free", free(&disk));
    assert!(before - after <= 3 * MIB + 2 * SIZE, "{} went for 3 MiB", before - after);
    assert!(cache.contains(key(29), SIZE), "the newest stays");
    cache.tend();
    assert_eq!(cache.stats().bytes_on_disk, after, "once is enough");

    // More than we can give back: all goes, and reads go on.
    let last = Source::new(content(29, SIZE as usize), 100_000);
    let held = cache.file(key(29), SIZE, last);
    for more in ["more 1", "more 2", "more 3"] {
        fs::write(disk.path().join(more), vec![1; 3 << 20]).unwrap();
        cache.tend();
    }
    let stats = cache.stats();
    assert_eq!(stats.bytes_on_disk, stats.bytes_open, "only what is open is left");
    assert!(held.complete_file().is_some());
    assert!(!read(&cache, 50).await, "nothing is kept now");
    assert_eq!(cache.stats().disk_errors, 0);
    fs::remove_file(disk.path().join("more 1")).unwrap();
    cache.tend();
    assert!(read(&cache, 50).await, "with room again it is kept again");
    assert!(free(&disk) >= FLOOR);
}
