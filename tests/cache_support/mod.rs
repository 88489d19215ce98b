//! What the cache tests share: contents, and a fetcher that counts, waits and fails on demand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atfs::cache::{Cache, CacheError, CacheOptions, ContentKey, FetchError, Machine, Pieces};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

/// Bytes of one request of a fill: two pieces and more, of those that these tests have.
pub const RUN: u64 = 250_000;

/// Random bytes that `seed` determines.
pub fn content(seed: u64, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub fn key(seed: u64) -> ContentKey {
    ContentKey::shared(*blake3::hash(&seed.to_le_bytes()).as_bytes())
}

/// Without a floor: what is on the disk beside the cache is none of the tests' business.
pub fn options(limit_bytes: u64) -> CacheOptions {
    CacheOptions { floor_bytes: Some(0), ..CacheOptions::new(limit_bytes) }
}

pub fn open(dir: &Path, limit_bytes: u64) -> Arc<Cache> {
    open_with(dir, &options(limit_bytes))
}

/// The file of a content that [`key`] names.
pub fn file_of(dir: &Path, seed: u64) -> Option<PathBuf> {
    let hex = blake3::hash(&seed.to_le_bytes()).to_hex();
    files(dir).into_iter().find(|file| file.to_str().is_some_and(|name| name.contains(&*hex)))
}

/// A machine that is started anew when the test says so, and whose disk fails when the test says so.
#[derive(Default)]
pub struct TestMachine {
    boot: AtomicUsize,
    pub syncs: AtomicUsize,
    pub fails: AtomicBool,
    pub nameless: AtomicBool,
    /// What happens elsewhere during the next sync.
    pub meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for TestMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestMachine")
    }
}

impl TestMachine {
    pub fn boot_again(&self) {
        self.boot.fetch_add(1, Ordering::SeqCst);
    }

    pub fn open(self: &Arc<Self>, dir: &Path, limit_bytes: u64) -> Arc<Cache> {
        open_with(dir, &CacheOptions { machine: self.clone(), ..options(limit_bytes) })
    }
}

impl Machine for TestMachine {
    fn boot_id(&self) -> Option<String> {
        let named = !self.nameless.load(Ordering::SeqCst);
        named.then(|| format!("boot {}", self.boot.load(Ordering::SeqCst)))
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if let Some(meanwhile) = self.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }
}

pub fn open_with(dir: &Path, options: &CacheOptions) -> Arc<Cache> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Cache::open(dir, options) {
            Ok(cache) => {
                cache.wait_until_ready();
                return cache;
            }
            // A lock that this test gave back is held on for a moment by a child that another test is just
            // starting: it has copies of all our descriptors until it executes.
            Err(CacheError::InUse { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What everything below `dir` takes on disk, in bytes, as `du` counts it. A file that goes meanwhile
/// counts nothing.
pub fn disk_usage(dir: &Path) -> u64 {
    let own = fs::symlink_metadata(dir).map_or(0, |metadata| metadata.blocks() * 512);
    let Ok(entries) = fs::read_dir(dir) else { return own };
    own + entries.flatten().map(|entry| disk_usage(&entry.path())).sum::<u64>()
}

/// A small disk of its own (a tmpfs, so the tests that use it need root), gone with the value.
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    pub fn new(size_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size_bytes},mode=700");
        let mounted = nix::mount::mount(
            Some("atfs-test"),
            dir.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(&*options),
        );
        mounted.expect("mounting a tmpfs (run the tests as root)");
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What is in use of it, in bytes: one number for all files at one moment, deleted ones that are open
    /// included.
    pub fn used(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(self.path()).unwrap();
        (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
    }

    pub fn set_read_only(&self, flag: nix::mount::MsFlags) {
        let flags = nix::mount::MsFlags::MS_REMOUNT | flag;
        nix::mount::mount(None::<&str>, self.path(), None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// The regular files below `dir`.
pub fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(_) => found.push(entry.path()),
            Err(_) => {}
        }
    }
    found
}

#[derive(Debug, thiserror::Error)]
#[error("the store said no to {0:?}")]
pub struct Refused(pub Range<u64>);

/// A content in memory, cut unevenly, that counts what is fetched of it.
pub struct Source {
    pub data: Bytes,
    cuts: Vec<u64>,
    fetched: Mutex<HashMap<u64, usize>>,
    /// What was asked for together.
    pub runs: Mutex<Vec<Vec<Range<u64>>>>,
    /// A fetch takes one permit and keeps it: without permits fetches wait.
    pub gate: Semaphore,
    /// How many of the next fetches are refused.
    pub refuse: AtomicUsize,
    pub lookups: AtomicUsize,
}

impl Source {
    /// Pieces of `piece` bytes, now and then shorter.
    pub fn new(data: Bytes, piece: u64) -> Arc<Self> {
        let mut cuts = vec![0];
        while *cuts.last().unwrap() < data.len() as u64 {
            let len = if cuts.len() % 3 == 2 { piece / 2 + 1 } else { piece };
            cuts.push((cuts.last().unwrap() + len).min(data.len() as u64));
        }
        Arc::new(Self {
            data,
            cuts,
            fetched: Mutex::default(),
            runs: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            refuse: AtomicUsize::new(0),
            lookups: AtomicUsize::new(0),
        })
    }

    pub fn size(&self) -> u64 {
        self.data.len() as u64
    }

    pub fn pieces(&self) -> usize {
        self.cuts.len() - 1
    }

    /// Closes the gate: from now on fetches wait for permits.
    pub fn close_gate(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// How often each piece was asked for.
    pub fn fetched(&self) -> HashMap<u64, usize> {
        self.fetched.lock().unwrap().clone()
    }

    /// The pieces that hold bytes of `range`, by their first byte.
    pub fn pieces_in(&self, range: Range<u64>) -> std::collections::BTreeSet<u64> {
        let pieces = self.cuts.windows(2).filter(|cut| cut[0] < range.end && cut[1] > range.start);
        pieces.map(|cut| cut[0]).collect()
    }

    pub fn fetches(&self) -> usize {
        self.fetched.lock().unwrap().values().sum()
    }
}

#[async_trait]
impl Pieces for Source {
    async fn piece_at(&self, offset: u64) -> Result<Range<u64>, FetchError> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        // Somewhere behind an await, as a real one is.
        tokio::task::yield_now().await;
        let next = self.cuts.partition_point(|&cut| cut <= offset);
        Ok(self.cuts[next - 1]..self.cuts[next])
    }

    async fn fetch(&self, piece: Range<u64>) -> Result<Bytes, FetchError> {
        *self.fetched.lock().unwrap().entry(piece.start).or_default() += 1;
        self.gate.acquire().await.unwrap().forget();
        let refused = self.refuse.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if refused.is_ok() {
            return Err(FetchError::new(Refused(piece)));
        }
        Ok(self.data.slice(piece.start as usize..piece.end as usize))
    }

    async fn fetch_run(&self, run: &[Range<u64>]) -> Vec<Result<Bytes, FetchError>> {
        self.runs.lock().unwrap().push(run.to_vec());
        join_all(run.iter().map(|piece| self.fetch(piece.clone()))).await
    }
}
