//! The cache's disk full, read-only, gone or lying: every read is answered with the right bytes from the
//! store.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::fs;
use std::sync::Arc;

use atfs::cache::{Cache, CacheError, CacheHealth, CachedFile};
use cache_support::{SmallDisk, Source, content, files, key, open, options};
use nix::mount::MsFlags;

const LIMIT: u64 = 1 << 30;

fn file(cache: &Arc<Cache>, i: u64, source: &Arc<Source>) -> CachedFile {
    cache.file(key(i), source.size(), source.clone())
}

/// Reads all of it in steps as a mount would.
async fn read_all(file: &CachedFile, source: &Source) {
    for at in (0..source.data.len()).step_by(10_000) {
        let bytes = file.read(at as u64, 10_000).await.unwrap();
        assert!(bytes == source.data[at..(at + 10_000).min(source.data.len())], "at {at}");
    }
}

#[tokio::test]
async fn a_full_disk_is_answered_from_the_store_and_makes_the_oldest_go() {
    // Far less than the limit.
    let disk = SmallDisk::new(2 << 20);
    let cache = open(disk.path(), LIMIT);
    let sources: Vec<_> = (0..6).map(|i| Source::new(content(i, 600_000), 100_000)).collect();
    for (i, source) in sources.iter().enumerate() {
        let file = file(&cache, i as u64, source);
        read_all(&file, source).await;
    }
    let stats = cache.stats();
    assert!(stats.evictions > 0, "{stats:?}");
    assert!(cache.contains(key(5), 600_000), "the newest was kept in place of the oldest");
    assert!(sources.iter().all(|s| s.fetched().values().all(|&n| n == 1)), "and nothing was fetched twice");

    // Full of what is not ours.
    drop(cache);
    fs::remove_dir_all(disk.path().join("v1")).unwrap();
    let cache = open(disk.path(), LIMIT);
    let _ = fs::write(disk.path().join("foreign"), vec![1; 4 << 20]);
    let source = Source::new(content(9, 600_000), 100_000);
    let file = file(&cache, 9, &source);
    read_all(&file, &source).await;
    assert!(cache.stats().disk_errors > 0);
    assert!(source.fetched().values().all(|&n| n == 1), "pieces are held long enough to be read");
    assert_eq!(cache.stats().bytes_on_disk, 0);
    // With room again it is kept again.
    fs::remove_file(disk.path().join("foreign")).unwrap();
    drop(file);
    let file = self::file(&cache, 9, &source);
    read_all(&file, &source).await;
    assert!(file.is_complete());
}

#[tokio::test]
async fn a_disk_that_turns_read_only_serves_what_it_has() {
    let disk = SmallDisk::new(8 << 20);
    let cache = open(disk.path(), LIMIT);
    let sources: Vec<_> = (0..3).map(|i| Source::new(content(i, 600_000), 100_000)).collect();
    read_all(&file(&cache, 0, &sources[0]), &sources[0]).await;
    let half = file(&cache, 1, &sources[1]);
    half.read(0, 10).await.unwrap();
    // A descriptor that is open for writing would keep the file system writable.
    drop(half);
    disk.set_read_only(MsFlags::MS_RDONLY);
    let before = sources[0].fetches();
    for (i, source) in sources.iter().enumerate() {
        read_all(&file(&cache, i as u64, source), source).await;
    }
    assert_eq!(sources[0].fetches(), before, "served from the disk");
    assert!(cache.stats().disk_errors > 0);
    match cache.health() {
        CacheHealth::Failing { reason, .. } => assert!(reason.contains("Read-only"), "{reason}"),
        other => panic!("{other:?}"),
    }
    // Writable again, it keeps again.
    disk.set_read_only(MsFlags::empty());
    for (i, source) in sources.iter().enumerate().skip(1) {
        let file = file(&cache, i as u64, source);
        read_all(&file, source).await;
        assert!(file.is_complete() && file.complete_file().is_some(), "file {i}");
    }
    assert_eq!(cache.health(), CacheHealth::Ok);
    disk.set_read_only(MsFlags::MS_RDONLY);
    drop(cache);
    // Opening it is refused, with the reason.
    match Cache::open(disk.path(), &options(LIMIT)) {
        Err(CacheError::Dir { source, path, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            assert!(path.starts_with(disk.path().to_str().unwrap()));
        }
        other => panic!("{other:?}"),
    }
    disk.set_read_only(MsFlags::empty());
    let cache = open(disk.path(), LIMIT);
    assert!(cache.contains(key(0), 600_000));
}

#[tokio::test]
async fn a_directory_that_vanishes_under_us() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let sources: Vec<_> = (0..4).map(|i| Source::new(content(i, 600_000), 100_000)).collect();
    let open_complete = file(&cache, 0, &sources[0]);
    read_all(&open_complete, &sources[0]).await;
    read_all(&file(&cache, 1, &sources[1]), &sources[1]).await;
    let half = file(&cache, 2, &sources[2]);
    half.read(0, 10).await.unwrap();
    fs::remove_dir_all(dir.path()).unwrap();

    for (i, source) in sources.iter().enumerate() {
        read_all(&file(&cache, i as u64, source), source).await;
    }
    assert_eq!(sources[0].fetches(), sources[0].pieces(), "an open file is read on");
    read_all(&half, &sources[2]).await;
    assert!(sources[2].fetched().values().all(|&n| n == 1));
    assert!(cache.stats().disk_errors > 0);
    assert!(!dir.path().exists(), "nobody builds a directory that was taken away");
}

#[tokio::test]
async fn a_disk_that_goes_away_and_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let (dir, away) = (place.path().join("cache"), place.path().join("away"));
    let cache = open(&dir, LIMIT);
    let sources: Vec<_> = (0..4).map(|i| Source::new(content(i, 600_000), 100_000)).collect();
    for i in [0, 1] {
        read_all(&file(&cache, i, &sources[i as usize]), &sources[i as usize]).await;
    }
    let counted = cache.stats().bytes_on_disk;
    fs::rename(&dir, &away).unwrap();
    let before = sources[0].fetches();
    for i in [0, 2] {
        read_all(&file(&cache, i, &sources[i as usize]), &sources[i as usize]).await;
    }
    assert!(sources[0].fetches() > before, "read from the store");
    assert!(cache.stats().disk_errors > 0);
    assert_eq!(cache.stats().bytes_on_disk, counted, "what may come back stays counted");
    cache.prune(0);
    fs::rename(&away, &dir).unwrap();
    let before = sources[0].fetches();
    // What was to be evicted in the meantime could not be, and may be used no more; nothing is lost for what comes.
    for i in [2, 3] {
        let file = file(&cache, i, &sources[i as usize]);
        read_all(&file, &sources[i as usize]).await;
        assert!(file.complete_file().is_some(), "kept again");
    }
    assert_eq!(sources[0].fetches(), before);
    drop(cache);
    let cache = open(&dir, LIMIT);
    assert!((0..4).all(|i| cache.contains(key(i), 600_000)));
}

#[tokio::test]
async fn a_cached_file_that_cannot_be_read_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(content(1, 600_000), 100_000);
    let handle = file(&cache, 1, &source);
    read_all(&handle, &source).await;
    assert!(handle.is_complete());
    // Cut short behind our back, while it is open: reads of it end early.
    let path = files(&dir.path().join("v1/files")).pop().unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(&mut fs::metadata(&path).unwrap().permissions(), 0o600);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(250_000).unwrap();
    assert_eq!(handle.read(200_000, 100_000).await.unwrap(), source.data[200_000..300_000]);
    read_all(&handle, &source).await;
    assert!(!handle.is_complete() && cache.stats().disk_errors > 0);
    assert!(!path.exists(), "the bad file is gone");
    assert_eq!(cache.stats().bytes_on_disk, 0);
    // Opened anew it is kept again.
    drop(handle);
    let handle = file(&cache, 1, &source);
    read_all(&handle, &source).await;
    assert!(handle.is_complete());
}

#[tokio::test]
async fn no_free_descriptor_costs_a_fetch_and_not_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LIMIT);
    let source = Source::new(content(1, 200_000), 100_000);
    read_all(&file(&cache, 1, &source), &source).await;
    let before = source.fetches();
    // A directory that cannot be entered stands for every error that says nothing against the file (root
    // passes permissions by, so it is a loop of links).
    let files_dir = dir.path().join("v1/files");
    let aside = dir.path().join("aside");
    fs::rename(&files_dir, &aside).unwrap();
    std::os::unix::fs::symlink("files", &files_dir).unwrap();
    {
        let handle = file(&cache, 1, &source);
        read_all(&handle, &source).await;
        assert!(source.fetches() > before);
    }
    fs::remove_file(&files_dir).unwrap();
    fs::rename(&aside, &files_dir).unwrap();
    let before = source.fetches();
    read_all(&file(&cache, 1, &source), &source).await;
    assert_eq!(source.fetches(), before, "the file was still there");
}
