//! A piece is fetched once, however many readers, and a failure or a reader who goes away harms nobody else.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use atfs::cache::{CacheError, FetchError, Filled, Pieces};
use bytes::Bytes;
use cache_support::{RUN, Refused, Source, content, files, key, open};
use futures_util::future::join_all;

const LIMIT: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_readers_each_piece_is_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(content(1, 5_000_000), 300_000);
    source.close_gate();
    let readers: Vec<_> = (0..64usize)
        .map(|i| {
            let (cache, source) = (cache.clone(), source.clone());
            tokio::spawn(async move {
                let file = cache.file(key(1), source.size(), source.clone());
                // Each in an order and in steps of its own.
                let step = 70_000 + 1_000 * i;
                let mut offsets: Vec<usize> = (0..source.data.len()).step_by(step).collect();
                offsets.rotate_left(i % 7);
                for offset in offsets {
                    let bytes = file.read(offset as u64, step).await.unwrap();
                    assert_eq!(bytes, source.data[offset..(offset + step).min(source.data.len())]);
                }
            })
        })
        .collect();
    // Every reader's first piece is waited for before anything comes in.
    while cache.stats().misses < 64 {
        tokio::task::yield_now().await;
    }
    source.gate.add_permits(1 << 20);
    for reader in join_all(readers).await {
        reader.unwrap();
    }
    let fetched = source.fetched();
    assert_eq!(fetched.len(), source.pieces());
    assert!(fetched.values().all(|&n| n == 1), "{fetched:?}");
    let stats = cache.stats();
    assert_eq!((stats.pieces_fetched, stats.bytes_fetched), (source.pieces() as u64, source.size()));
    assert_eq!((stats.pieces_not_kept, stats.disk_errors), (0, 0));
}

#[tokio::test]
async fn a_failed_fetch_reaches_all_who_wait_and_the_next_read_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(content(1, 100_000), 100_000);
    source.close_gate();
    source.refuse.store(1, Ordering::SeqCst);
    let file = cache.file(key(1), source.size(), source.clone());
    let readers: Vec<_> = (0..8u64)
        .map(|i| {
            let file = file.clone();
            tokio::spawn(async move { file.read(i * 10, 10).await })
        })
        .collect();
    while cache.stats().misses < 8 {
        tokio::task::yield_now().await;
    }
    source.gate.add_permits(2);
    for reader in join_all(readers).await {
        match reader.unwrap() {
            Err(CacheError::Fetch(error)) => {
                assert_eq!(error.downcast_ref::<Refused>().unwrap().0, 0..100_000);
                assert_eq!(error.to_string(), "the store said no to 0..100000");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(source.fetches(), 1);
    assert_eq!(file.read(5, 20).await.unwrap(), source.data[5..25]);
    assert_eq!(source.fetches(), 2);
}

#[tokio::test]
async fn a_reader_who_goes_away_does_not_take_the_fetch_with_him() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(content(1, 100_000), 100_000);
    source.close_gate();
    let file = cache.file(key(1), source.size(), source.clone());
    let (first, second) = (file.clone(), file.clone());
    let first = tokio::spawn(async move { first.read(0, 10).await });
    while source.fetches() < 1 {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn(async move { second.read(10, 10).await });
    while cache.stats().misses < 2 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    source.gate.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap(), source.data[10..20]);
    assert_eq!(source.fetches(), 1);

    // With nobody left to wait it goes on all the same, and keeps what it fetched.
    let source = Source::new(content(2, 100_000), 100_000);
    source.close_gate();
    let file = cache.file(key(2), source.size(), source.clone());
    let alone = tokio::spawn(async move { file.read(0, 10).await });
    while source.fetches() < 1 {
        tokio::task::yield_now().await;
    }
    alone.abort();
    source.gate.add_permits(1);
    while cache.stats().pieces_fetched < 2 || cache.stats().entries_open > 1 {
        tokio::task::yield_now().await;
    }
    assert!(cache.contains(key(2), 100_000));
}

#[tokio::test]
async fn another_repositorys_failure_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let (theirs, ours) = (Source::new(content(1, 5000), 5000), Source::new(content(1, 5000), 5000));
    theirs.close_gate();
    theirs.refuse.store(1, Ordering::SeqCst);
    let their_file = cache.file(key(1), 5000, theirs.clone());
    let our_file = cache.file(key(1), 5000, ours.clone());
    let them = tokio::spawn(async move { their_file.read(0, 10).await });
    while theirs.fetches() < 1 {
        tokio::task::yield_now().await;
    }
    let us = tokio::spawn(async move { our_file.read(0, 10).await });
    while cache.stats().misses < 2 {
        tokio::task::yield_now().await;
    }
    theirs.gate.add_permits(1);
    assert!(them.await.unwrap().is_err());
    assert_eq!(us.await.unwrap().unwrap(), ours.data[..10]);
    assert_eq!((theirs.fetches(), ours.fetches()), (1, 1));
}

/// A fetcher that breaks its contract in one way.
struct Broken {
    piece: Range<u64>,
    answer: Option<usize>,
}

#[async_trait]
impl Pieces for Broken {
    async fn piece_at(&self, _: u64) -> Result<Range<u64>, FetchError> {
        Ok(self.piece.clone())
    }

    async fn fetch(&self, _: Range<u64>) -> Result<Bytes, FetchError> {
        Ok(Bytes::from(vec![0; self.answer.expect("a fetcher that panics")]))
    }
}

#[tokio::test]
async fn a_fetcher_that_errs_is_an_error_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    for (piece, answer, says) in [
        (0..100, Some(99), "came with 99"),
        (0..100, Some(101), "came with 101"),
        (0..100, None, "without an answer"),
        (20..100, Some(80), "bytes 20..100"),
        (0..2000, Some(2000), "bytes 0..2000"),
        (0..0, Some(0), "bytes 0..0"),
    ] {
        let file = cache.file(key(1), 1000, Arc::new(Broken { piece, answer }));
        let error = file.read(10, 10).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!file.is_complete());
    }
    let huge = Broken { piece: 0..1 << 40, answer: Some(1) };
    let error = cache.file(key(1), 1 << 40, Arc::new(huge)).read(10, 10).await.unwrap_err();
    assert!(error.to_string().contains("bytes 0.."), "{error}");
    // The time of the last scrub is noted by a thread of its own.
    let left =
        files(dir.path()).into_iter().filter(|file| !file.ends_with("lock") && !file.ends_with("scrub"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    // The entry is none the worse for it.
    let source = Source::new(content(1, 1000), 300);
    let file = cache.file(key(1), 1000, source.clone());
    assert_eq!(file.read(0, 1000).await.unwrap(), source.data);
}

#[tokio::test]
async fn a_fill_asks_for_neighbours_together_and_each_piece_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    // Cut at 100,000, 150,001, 250,001, 350,001, 400,002, 500,002, 600,002, 650,003, ...
    let source = Source::new(content(1, 1_000_000), 100_000);
    let file = cache.file(key(1), source.size(), source.clone());
    file.read(260_000, 1).await.unwrap();
    source.refuse.store(1, Ordering::SeqCst);
    let failed = file.fill(0..u64::MAX, 250_001, 1).await.unwrap_err();
    assert!(failed.to_string().contains("said no"), "{failed}");
    assert_eq!(*source.runs.lock().unwrap(), [[0..100_000, 100_000..150_001, 150_001..250_001]]);
    assert!(file.try_read(100_000, &mut [0; 150_001]).is_some(), "the others are kept");
    source.runs.lock().unwrap().clear();

    assert_eq!(file.fill(0..700_000, 250_001, 4).await.unwrap(), Filled::Whole);
    assert_eq!(file.read(0, 700_000).await.unwrap(), source.data[..700_000]);
    let runs = source.runs.lock().unwrap().clone();
    assert_eq!(
        runs,
        [
            vec![350_001..400_002, 400_002..500_002, 500_002..600_002],
            vec![600_002..650_003, 650_003..750_003]
        ]
    );
    let fetched = source.fetched();
    assert!(fetched.iter().all(|(&at, &times)| times == 1 + usize::from(at == 0)), "{fetched:?}");
}

#[tokio::test]
async fn what_is_on_disk_is_read_without_asking_how_the_file_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(content(1, 1_000_000), 100_000);
    let file = cache.file(key(1), source.size(), source.clone());
    let mut buf = vec![0; 50_000];
    assert_eq!(file.try_read(0, &mut buf), None);
    assert_eq!(file.fill(100_000..350_000, RUN, 4).await.unwrap(), Filled::Whole);
    let lookups = source.lookups.load(Ordering::Relaxed);
    assert_eq!(file.try_read(120_000, &mut buf), Some(50_000));
    assert_eq!(buf, source.data[120_000..170_000]);
    assert_eq!(file.read(100_001, 200_000).await.unwrap(), source.data[100_001..300_001]);
    assert_eq!(source.lookups.load(Ordering::Relaxed), lookups);
    assert_eq!(file.try_read(90_000, &mut buf), None);
    assert!(file.complete_file().is_none(), "a hole would read as zeros");

    assert_eq!(file.fill(0..u64::MAX, RUN, 3).await.unwrap(), Filled::Whole);
    assert!(file.is_complete());
    assert!(source.fetched().values().all(|&n| n == 1));
    assert_eq!(file.try_read(999_990, &mut buf), Some(10));
    assert_eq!(file.try_read(1_000_000, &mut buf), Some(0));
    assert_eq!(file.try_read(u64::MAX, &mut buf), Some(0));
    assert!(file.read(u64::MAX, usize::MAX).await.unwrap().is_empty());
    let whole = file.read(0, usize::MAX).await.unwrap();
    assert_eq!(whole, source.data);
}

#[tokio::test]
async fn a_complete_file_is_handed_out_for_reading_only() {
    use std::io::{Seek, Write};
    use std::os::unix::fs::{FileExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(content(1, 300_000), 100_000);
    let file = cache.file(key(1), source.size(), source.clone());
    file.fill(0..u64::MAX, RUN, 1).await.unwrap();
    let complete = file.complete_file().unwrap();
    assert!((&*complete).write(b"x").is_err(), "opened for reading");
    assert!(complete.set_len(1).is_err());
    assert_eq!(complete.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    let mut bytes = vec![0; 300_000];
    complete.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, source.data);
    (&*complete).rewind().unwrap();
    // No descriptor of this process can write it: the one that filled it is closed.
    let writable = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten().filter(|info| {
        let fd = info.file_name();
        let target = std::fs::read_link(std::path::Path::new("/proc/self/fd").join(fd)).unwrap_or_default();
        let flags = std::fs::read_to_string(info.path()).unwrap_or_default();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("0").trim();
        let flags = i32::from_str_radix(flags, 8).unwrap();
        target.starts_with(dir.path().join("v1")) && flags & libc::O_ACCMODE != libc::O_RDONLY
    });
    assert_eq!(writable.count(), 0);
}

#[tokio::test]
async fn contents_put_in_are_found_and_a_fetch_under_way_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let bytes = content(1, 50_000);
    assert!(cache.insert(key(1), &bytes));
    assert!(cache.insert(key(1), &bytes), "again");
    let source = Source::new(bytes.clone(), 50_000);
    let file = cache.file(key(1), 50_000, source.clone());
    assert_eq!(file.read(0, 50_000).await.unwrap(), bytes);
    assert_eq!(source.fetches(), 0);

    let source = Source::new(content(2, 50_000), 50_000);
    source.close_gate();
    let file = cache.file(key(2), 50_000, source.clone());
    let reader = tokio::spawn(async move { file.read(0, 10).await });
    while source.fetches() < 1 {
        tokio::task::yield_now().await;
    }
    assert!(!cache.insert(key(2), &source.data));
    source.gate.add_permits(1);
    assert_eq!(reader.await.unwrap().unwrap(), source.data[..10]);
    assert!(cache.contains(key(2), 50_000));
    assert!(!cache.contains(key(2), 49_999), "another size is another content");
}

#[tokio::test]
async fn the_empty_content_reads_as_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(Bytes::new(), 10);
    let file = cache.file(key(1), 0, source.clone());
    assert!(file.is_complete() && file.complete_file().is_none());
    assert!(file.read(0, 100).await.unwrap().is_empty());
    assert_eq!(file.try_read(0, &mut [0; 10]), Some(0));
    assert_eq!(file.fill(0..u64::MAX, RUN, 4).await.unwrap(), Filled::Whole);
    assert_eq!(source.fetches(), 0);
}
