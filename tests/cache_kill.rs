//! A process that is killed while it fills the cache: what is complete is found and right, what is not is
//! never taken for it, and the directory is free at once.
//!
//! The other process is this test binary, told by an environment variable which role to play.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use atfs::cache::{Cache, CacheError};
use cache_support::{RUN, Source, content, files, key, open, options};

const DIR: &str = "ATFS_TEST_CACHE_DIR";
const FILES: u64 = 30;
const HALF: u64 = FILES;
const LIMIT: u64 = 1 << 30;

fn source(i: u64) -> Arc<Source> {
    Source::new(content(i, 1_000_000 + 10_000 * i as usize), 32 << 10)
}

/// Not a test of its own: fills files from both ends, four at a time, and says which are complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a role that the other tests start in a process of its own"]
async fn role() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let cache = open(Path::new(&dir), LIMIT);
    // One is half there whenever we are killed: all of it but a piece in the middle.
    let half = source(HALF);
    let half_file = cache.file(key(HALF), half.size(), half.clone());
    half_file.fill(0..100_000, RUN, 4).await.unwrap();
    half_file.fill(200_000..u64::MAX, RUN, 4).await.unwrap();
    println!("open");
    let fillers: Vec<_> = (0..4)
        .map(|filler| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for i in (filler..FILES).step_by(4) {
                    let source = source(i);
                    let file = cache.file(key(i), source.size(), source.clone());
                    for at in (0..source.size()).step_by(10_000) {
                        file.read(source.size() - 1 - at, 1).await.unwrap();
                        file.read(at, 1).await.unwrap();
                    }
                    assert!(file.is_complete());
                    println!("complete {i}");
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.unwrap();
    }
    println!("done");
    // Until it is killed: the lock is held.
    std::future::pending::<()>().await;
}

fn start(dir: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The first word may stand behind the test harness's own.
    let words = lines.filter_map(|line| {
        let at = ["open", "complete ", "done"].iter().find_map(|word| line.find(word))?;
        Some(line[at..].to_owned())
    });
    (child, words)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_filling() {
    // Killed after so many files were complete: others are half there.
    for kill_after in [1, 4, 9, 17] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, mut words) = start(dir.path());
        let mut complete: Vec<u64> = Vec::new();
        while complete.len() < kill_after {
            if let Some(i) = words.next().unwrap().strip_prefix("complete ") {
                complete.push(i.parse().unwrap());
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        complete.extend(words.filter_map(|word| word.strip_prefix("complete ")?.parse::<u64>().ok()));
        assert!(!files(&dir.path().join("v1/partial")).is_empty());

        let cache = open(dir.path(), LIMIT);
        assert_eq!(files(&dir.path().join("v1/partial")), Vec::<PathBuf>::new());
        assert_eq!(files(&dir.path().join("v1/discarded")), Vec::<PathBuf>::new());
        let mut whole = 0;
        for i in 0..=HALF {
            let source = source(i);
            let was_complete = cache.contains(key(i), source.size());
            assert!(was_complete || !complete.contains(&i), "file {i} was complete and is gone");
            whole += usize::from(was_complete);
            let file = cache.file(key(i), source.size(), source.clone());
            assert_eq!(file.complete_file().is_some(), was_complete);
            assert!(file.read(0, usize::MAX).await.unwrap() == source.data, "file {i}");
            assert_eq!(source.fetches() == 0, was_complete);
        }
        assert!(whole >= kill_after && !complete.contains(&HALF));
        assert_eq!(cache.stats().disk_errors, 0);
    }
}

#[test]
fn a_second_process_is_refused_by_name_and_a_killed_ones_directory_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut words) = start(dir.path());
    while words.next().unwrap() != "open" {}
    let options = options(LIMIT);
    match Cache::open(dir.path(), &options) {
        Err(CacheError::InUse { pid, .. }) => assert_eq!(pid, child.id().to_string()),
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let cache = open(dir.path(), LIMIT);
    let error = Cache::open(dir.path(), &options).unwrap_err().to_string();
    assert!(error.contains(&format!("is in use by process {}", std::process::id())), "{error}");
    drop(cache);
    open(dir.path(), LIMIT);
}

#[tokio::test]
async fn a_name_that_is_not_what_it_says_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<_> = (0..3).map(source).collect();
    {
        let cache = open(dir.path(), LIMIT);
        for (i, source) in sources.iter().enumerate() {
            let file = cache.file(key(i as u64), source.size(), source.clone());
            file.fill(0..u64::MAX, RUN, 4).await.unwrap();
        }
    }
    let found = files(&dir.path().join("v1/files"));
    assert_eq!(found.len(), 3);
    // One is cut short while nobody looks, one while the cache is open, and one is a link to another file.
    let cut = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, "short").unwrap();
        name
    };
    let names = [cut(&found[0])];
    std::fs::write(dir.path().join("v1/files/README"), "not ours").unwrap();
    let cache = open(dir.path(), LIMIT);
    assert!(dir.path().join("v1/files/README").exists(), "what is not ours is left alone");
    cut(&found[1]);
    std::fs::rename(&found[2], dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &found[2]).unwrap();
    for (i, source) in sources.iter().enumerate() {
        let before = source.fetches();
        let file = cache.file(key(i as u64), source.size(), source.clone());
        assert!(file.read(0, usize::MAX).await.unwrap() == source.data);
        assert!(source.fetches() > before, "file {i} {names:?}");
    }
    let on_disk: u64 = sources.iter().map(|s| (s.size().div_ceil(4096) + 1) * 4096).sum();
    // The link is neither followed nor deleted as ours, and what was fetched instead of it is not kept.
    assert!(cache.stats().bytes_on_disk <= on_disk, "{:?}", cache.stats());
}

#[tokio::test]
async fn the_directory_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cache");
    let cache = open(&place, LIMIT);
    let source = source(1);
    cache.file(key(1), source.size(), source.clone()).fill(0..u64::MAX, RUN, 4).await.unwrap();
    let mut pending = vec![place];
    while let Some(path) = pending.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            assert_eq!(metadata.permissions().mode() & 0o777, 0o700, "{}", path.display());
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let kept = files(&dir.path().join("cache/v1/files")).pop().unwrap();
    assert_eq!(
        std::fs::metadata(kept).unwrap().permissions().mode() & 0o377,
        0,
        "nobody writes what is complete"
    );
}
