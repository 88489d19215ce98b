//! The limit holds at every moment, what is open stays, and what was used last stays longest.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use atfs::cache::{CacheHealth, CachedFile, Filled};
use cache_support::{RUN, SmallDisk, Source, content, files, key, open};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What the sums of a content of some hundred pieces take.
const SUMS: u64 = 4096;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_random_reads_with_evictions_under_open_files() {
    const LIMIT: u64 = 6 << 20;
    const FILES: u64 = 40;
    let disk = Arc::new(SmallDisk::new(64 << 20));
    let cache = open(disk.path(), LIMIT);
    let sources: Arc<Vec<_>> = Arc::new(
        (0..FILES).map(|i| Source::new(content(i, 20_000 + 17_000 * i as usize), 64 << 10)).collect(),
    );
    // Four times the limit, and what eight readers hold open is half of it at most.
    assert!(sources.iter().map(|s| s.size()).sum::<u64>() > 2 * LIMIT);

    let (most, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = {
        let (most, done, disk) = (most.clone(), done.clone(), disk.clone());
        std::thread::spawn(move || {
            let mut looks = 0u64;
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(disk.used(), Ordering::Relaxed);
                looks += 1;
            }
            looks
        })
    };
    let readers: Vec<_> = (0..8u64)
        .map(|reader| {
            let (cache, sources) = (cache.clone(), sources.clone());
            tokio::spawn(async move {
                let mut random = ChaCha8Rng::seed_from_u64(reader);
                let mut held: Vec<(usize, CachedFile)> = Vec::new();
                for _ in 0..125 {
                    let i = (random.next_u64() % FILES) as usize;
                    let source = &sources[i];
                    held.push((i, cache.file(key(i as u64), source.size(), source.clone())));
                    // What was opened before is still what it was, however much was evicted since.
                    for (i, file) in &held {
                        let data = &sources[*i].data;
                        let at = random.next_u64() as usize % data.len();
                        let len = 1 + random.next_u64() as usize % 200_000;
                        let bytes = file.read(at as u64, len).await.unwrap();
                        assert_eq!(bytes, data[at..(at + len).min(data.len())], "file {i} at {at}");
                        if let Some(complete) = file.complete_file() {
                            use std::os::unix::fs::FileExt;
                            let mut buf = vec![0; data.len()];
                            complete.read_exact_at(&mut buf, 0).unwrap();
                            assert!(buf == *data, "file {i}, by its descriptor");
                        }
                    }
                    if held.len() > 1 {
                        held.remove(0);
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(watch.join().unwrap() > 1000, "or nobody watched");
    let most = most.load(Ordering::Relaxed);
    assert!(most <= LIMIT, "{most} bytes on disk");
    assert!(most > LIMIT * 9 / 10, "{most}: the room is used");
    let stats = cache.stats();
    assert!(stats.evictions > 100, "{stats:?}");
    assert!(stats.bytes_on_disk <= LIMIT && stats.bytes_limit == LIMIT);
    assert_eq!((stats.entries_open, stats.bytes_open, stats.disk_errors), (0, 0, 0));
    // The account runs ahead of the disk, by the blocks that neighbouring pieces share, the lock, and
    // how far the scrub is.
    let (counted, used) = (stats.bytes_on_disk + 8192, disk.used());
    assert!(used <= counted && counted <= used + LIMIT / 10, "{used} on disk, {counted} counted");
}

async fn fetch_all(cache: &Arc<atfs::cache::Cache>, i: u64, source: &Arc<Source>) -> usize {
    let before = source.fetches();
    let file = cache.file(key(i), source.size(), source.clone());
    assert_eq!(file.read(0, usize::MAX).await.unwrap(), source.data);
    source.fetches() - before
}

#[tokio::test]
async fn the_least_recently_used_goes_first_also_after_a_restart() {
    const SIZE: u64 = 100 << 10;
    // Five files with their sums, and the file system's part.
    let limit = 5 * SIZE + 16 * 4096;
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<_> = (0..8).map(|i| Source::new(content(i, SIZE as usize), SIZE)).collect();
    {
        let cache = open(dir.path(), limit);
        for i in [0, 1, 2, 3, 4] {
            assert_eq!(fetch_all(&cache, i, &sources[i as usize]).await, 1);
        }
        assert_eq!(fetch_all(&cache, 0, &sources[0]).await, 0, "used again");
        assert_eq!(fetch_all(&cache, 5, &sources[5]).await, 1);
        assert!(!cache.contains(key(1), SIZE), "the oldest made room");
        assert!(cache.contains(key(0), SIZE));
        assert_eq!(cache.stats().evictions, 1);
    }
    // The last uses as they might be after an hour: 3, 0, 5, 2, 4.
    for (minutes, i) in [(50, 3u64), (40, 0), (30, 5), (20, 2), (10, 4)] {
        let hex = blake3::hash(&i.to_le_bytes()).to_hex();
        let file = files(&dir.path().join("v1/files"));
        let file = file.iter().find(|f| f.to_str().unwrap().contains(&*hex)).unwrap();
        let used = std::time::SystemTime::now() - std::time::Duration::from_secs(minutes * 60);
        let times = std::fs::FileTimes::new().set_accessed(used);
        std::fs::File::open(file).unwrap().set_times(times).unwrap();
    }
    let cache = open(dir.path(), limit);
    assert_eq!(cache.stats().bytes_on_disk, 5 * (SIZE + SUMS));
    assert_eq!(fetch_all(&cache, 3, &sources[3]).await, 0, "used now");
    for (newcomer, goes) in [(6, 0), (7, 5)] {
        assert_eq!(fetch_all(&cache, newcomer, &sources[newcomer as usize]).await, 1);
        assert!(!cache.contains(key(goes), SIZE), "{goes}");
    }
    assert!([2, 3, 4, 6, 7].iter().all(|&i| cache.contains(key(i), SIZE)));
    drop(cache);

    // A lower limit takes hold at the next start.
    let cache = open(dir.path(), 2 * SIZE + 16 * 4096);
    assert_eq!(cache.stats().bytes_on_disk, 2 * (SIZE + SUMS));
    assert_eq!(files(&dir.path().join("v1/files")).len(), 2);
}

#[tokio::test]
async fn a_file_larger_than_the_cache_is_read_right_and_partly_kept() {
    const LIMIT: u64 = 1 << 20;
    let disk = SmallDisk::new(64 << 20);
    let cache = open(disk.path(), LIMIT);
    let source = Source::new(content(1, 3 << 20), 100_000);
    let file = cache.file(key(1), source.size(), source.clone());
    for round in 0..2 {
        let before = source.fetches();
        for at in (0..source.data.len()).step_by(10_000) {
            let bytes = file.read(at as u64, 10_000).await.unwrap();
            assert_eq!(bytes, source.data[at..(at + 10_000).min(source.data.len())]);
            assert!(disk.used() <= LIMIT);
        }
        // Ten reads per piece, and each piece that is not kept is fetched once in a pass.
        let expected = if round == 0 { source.pieces() } else { source.pieces() * 7 / 10 };
        assert!(source.fetches() - before <= expected, "{} fetches", source.fetches() - before);
    }
    assert!(cache.stats().bytes_on_disk > LIMIT * 8 / 10, "{:?}", cache.stats());
    assert_eq!(file.fill(0..u64::MAX, RUN, 4).await.unwrap(), Filled::NoRoom);
    assert!(!file.is_complete());

    // Closed, it makes room for another.
    drop(file);
    let other = Source::new(content(2, 500_000), 100_000);
    fetch_all(&cache, 2, &other).await;
    assert!(cache.contains(key(2), 500_000));
}

#[tokio::test]
async fn what_is_open_is_not_evicted_and_then_nothing_else_is_kept() {
    const LIMIT: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let (a, b) = (Source::new(content(1, 900_000), 100_000), Source::new(content(2, 900_000), 100_000));
    let open_file = cache.file(key(1), a.size(), a.clone());
    assert_eq!(open_file.fill(0..u64::MAX, RUN, 2).await.unwrap(), Filled::Whole);
    fetch_all(&cache, 2, &b).await;
    assert!(!cache.contains(key(2), b.size()));
    assert!(matches!(cache.health(), CacheHealth::Full { .. }), "{:?}", cache.health());
    assert!(open_file.is_complete() && cache.stats().evictions == 0);
    assert_eq!(cache.stats().bytes_open, 900_000u64.div_ceil(4096) * 4096 + SUMS);
    drop(open_file);
    assert_eq!(cache.stats().bytes_open, 0);
    fetch_all(&cache, 2, &b).await;
    assert!(cache.contains(key(2), b.size()));
    assert_eq!(cache.health(), CacheHealth::Ok);
    assert_eq!(cache.stats().evictions, 1);
}

#[tokio::test]
async fn a_partial_file_keeps_its_pieces_while_nobody_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1 << 20);
    let source = Source::new(content(1, 500_000), 100_000);
    for at in [0u64, 260_000, 420_000] {
        let file = cache.file(key(1), source.size(), source.clone());
        file.read(at, 10).await.unwrap();
    }
    assert_eq!(source.fetches(), 3);
    let file = cache.file(key(1), source.size(), source.clone());
    assert_eq!(file.read(0, 500_000).await.unwrap(), source.data);
    assert_eq!(source.fetches(), source.pieces());
    assert!(file.is_complete());
    assert_eq!(cache.stats().bytes_on_disk, 500_000u64.div_ceil(4096) * 4096 + SUMS);
}
