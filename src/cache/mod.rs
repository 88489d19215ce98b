//! The SSD cache of file contents, bounded in bytes: large ones in files of their own, by content, filled piece by
//! piece; small ones in slabs, by where they lie in their packs.
//!
//! # What must always be true
//! - **Never wrong bytes.** A piece comes in already verified; a byte counts as there only after the write
//!   of it succeeded; a file has a name under `files/` only when every byte of it is there, and then only
//!   read-only descriptors of it exist. What a slab gives out is verified each time, by whoever asked.
//! - **Trouble with the disk is not the reader's.** What cannot be written is served from memory, what
//!   cannot be read is fetched again; the log says so once a minute.
//! - **The limit holds** at every moment, by our own count, which runs ahead of the disk.
//! - **A piece is fetched once**, however many readers wait for it, and a reader who goes away disturbs
//!   nobody.
//! - **The directory is the catalogue.** What exists is found by its name, with no database that could
//!   disagree. A scan in the background adds up what is there and in which order it was used; `open` waits
//!   for it half a second, and goes on without it in a directory of millions (until it ends, existing
//!   contents are served and new ones are not kept).
//! - **What is believed was proven**: by this process, by the boot of the machine, by a finished `syncfs`, or by a sum. And
//!   the disk is read again now and then, since it may forget.
//!
//! # Who calls whom
//! [`CachedFile`] (`file`) answers reads; it *claims* pieces (`fetch`), which a [`Pieces`] fetches and an
//! `entry` keeps on disk, if `room` grants the blocks; `small` answers for small contents out of a `slab`, `lend` for parts of
//! long ones. `room` has the disk and the `accounts`, and lets go in the order of `order`, but none of which there is a `hold`, under the
//! limit and above the `floor`. `evict`, `prune`, `distrust`, `holdings` and `scan` are what is done with it; it imports none of them.
//! `room`, `entry` and `slab` know each other: who is open asks for his blocks, and the accounts close him. `layout` spells every path,
//! `contents` those of complete files, `listing` finds them all. What makes a complete file believable: `sums`, `mark`, `durable`,
//! `check`, `scrub`. `keeper` has the threads.
//!
//! No lock is held over a wait for the network. Locks nest in one order only: pieces under way, then an entry's marks; the
//! accounts are taken with neither, except that closing an entry reads its marks. The sums of a claim are held over the
//! comparison of some pieces, by threads that may wait, and all others may be taken meanwhile.
//!
//! # Not here
//! Adoption of committed files will go beside [`Cache::insert`].

mod accounts;
mod blocks;
mod check;
mod contents;
mod distrust;
mod durable;
mod entry;
mod error;
mod evict;
mod fetch;
mod file;
mod files;
mod floor;
mod health;
mod hold;
mod holdings;
mod idle;
mod keeper;
mod key;
mod layout;
mod lend;
mod listing;
mod lock;
mod machine;
mod mark;
mod order;
mod past_cache;
mod pieces;
mod prune;
mod recent;
mod room;
mod scan;
mod scrub;
mod slab;
mod slabs;
mod small;
mod stats;
mod sums;
mod touched;
mod trouble;
mod unasked;

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

pub use check::Verified;
pub use error::CacheError;
pub use file::{CachedFile, Filled};
pub use health::CacheHealth;
pub use hold::Hold;
pub use key::ContentKey;
pub use machine::{Machine, ThisMachine};
pub use pieces::{FetchError, MAX_PIECE_BYTES, Pieces};
pub use stats::{CacheInfo, CacheStats, Holding, Pruned};
pub use unasked::LONGEST_STRETCH;

use blocks::BLOCK_BYTES;
use file::Pin;
use floor::{Disk, Floor};
use keeper::Threads;
use key::EntryKey;
use layout::Layout;
use recent::Recent;
use room::Room;
use stats::Counters;

/// How long [`Cache::open`] waits for the scan: long enough for some 100,000 entries, short enough to go
/// unnoticed.
const SCAN_PATIENCE: Duration = Duration::from_millis(500);

/// How the cache is to behave.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// What the contents may take on disk, in bytes; from 512 MiB on what the file system needs for them is
    /// included (below that its directories, 1 MiB in all, come on top). With less than a piece nothing is
    /// kept.
    pub limit_bytes: u64,
    /// What stays free on the file system, in bytes, whatever the limit says; `None`: 5 % of it, at most 1 GiB.
    pub floor_bytes: Option<u64>,
    /// The machine it runs on.
    pub machine: Arc<dyn Machine>,
}

impl CacheOptions {
    /// A cache of at most `limit_bytes` on this machine.
    pub fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, floor_bytes: None, machine: Arc::new(ThisMachine) }
    }
}

/// The cache of one directory, which no other process serves meanwhile.
pub struct Cache {
    room: Arc<Room>,
    recent: Recent,
    scan: ScanThread,
    /// Held, not used: those that go on for as long as the cache is open.
    _threads: Threads,
}

/// The thread that reads the directory.
struct ScanThread {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Cache {
    /// Opens or makes the cache in `dir`.
    ///
    /// # Errors
    /// [`CacheError::InUse`] when another process has it; [`CacheError::Dir`] when it cannot be made,
    /// locked or written.
    pub fn open(dir: &Path, options: &CacheOptions) -> Result<Arc<Self>, CacheError> {
        let layout = Layout::open(dir, Arc::clone(&options.machine))?;
        let floor = Floor::new(dir, options.floor_bytes);
        let room = Arc::new(Room::new(layout, options.limit_bytes, floor));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("atfs-cache-scan".into()).spawn({
            let (room, stop) = (Arc::clone(&room), Arc::clone(&stop));
            move || room.scan(|| stop.load(Ordering::Relaxed))
        });
        let no_thread = |e| CacheError::dir("start a thread to read", dir, e);
        let thread = thread.map_err(no_thread)?;
        let scan = ScanThread { stop, thread: Mutex::new(Some(thread)) };
        let mut threads = Threads::default();
        for (name, run) in
            [("atfs-cache-keep", keeper::keep as fn(&Room, &_)), ("atfs-cache-scrub", scrub::run)]
        {
            let room = Arc::clone(&room);
            threads.start(name, move |stop| run(&room, stop)).map_err(no_thread)?;
        }
        room.wait_for_scan(SCAN_PATIENCE);
        Ok(Arc::new(Self { room, recent: Recent::default(), scan, _threads: threads }))
    }

    /// Opens the content `key` of `size` bytes; what of it is not on disk is fetched by `pieces` when it is
    /// read. Opens a file, and never waits for the network.
    pub fn file(self: &Arc<Self>, key: ContentKey, size: u64, pieces: Arc<dyn Pieces>) -> CachedFile {
        CachedFile::new(self.pin(EntryKey { content: key, size }), pieces)
    }

    /// Puts in a content that is at hand, verified: a neighbour in a pack that was fetched for another
    /// file. `true` if it is on disk now, all of it. Writes, so not for a thread that must not wait for the
    /// disk.
    pub fn insert(self: &Arc<Self>, key: ContentKey, bytes: &Bytes) -> bool {
        let size = bytes.len() as u64;
        let pin = self.pin(EntryKey { content: key, size });
        pin.entry().is_whole() || pin.entry().in_flight.land(&pin, 0..size, bytes)
    }

    /// Whether all of a content is on disk. A hint: it may be evicted before it is opened.
    pub fn contains(self: &Arc<Self>, key: ContentKey, size: u64) -> bool {
        self.pin(EntryKey { content: key, size }).entry().is_whole()
    }

    /// The counters, now.
    pub fn stats(&self) -> CacheStats {
        self.room.stats()
    }

    /// Whether it keeps what it is given.
    pub fn health(&self) -> CacheHealth {
        self.room.health.look()
    }

    /// What it holds and what its disk has. Looks at every entry.
    pub fn info(&self) -> CacheInfo {
        let [whole, partial, small] = self.room.holdings();
        let disk = Disk::of(self.room.layout.dir());
        CacheInfo {
            stats: self.stats(),
            whole,
            partial,
            small,
            floor_bytes: self.room.floor.bytes,
            free_bytes: disk.map(|disk| disk.free),
            disk_bytes: disk.map(|disk| disk.total),
        }
    }

    /// Evicts what was not used for the longest time until at most `bytes` are on disk, but nothing that is open. Deletes
    /// files, so it may take its time.
    pub fn prune(&self, bytes: u64) -> Pruned {
        let before = self.stats().bytes_on_disk;
        self.room.prune(bytes / BLOCK_BYTES);
        let CacheStats { bytes_on_disk, bytes_open, bytes_held, .. } = self.stats();
        Pruned { bytes_before: before, bytes_on_disk, bytes_open, bytes_held }
    }

    /// Reads everything that is on disk and compares it with what was written, as fast as the disk can; what is wrong is
    /// taken off it. `progress` is called after every piece; it may end it.
    pub fn verify(&self, progress: impl FnMut(&Verified) -> ControlFlow<()>) -> Verified {
        self.room.verify(progress)
    }

    /// Sees to it that what became complete outlives a power cut: what the background does every 45 seconds.
    pub fn make_durable(&self) {
        self.room.mark_durable();
    }

    /// Makes room on the disk if others have filled it: what the background does every 5 seconds.
    pub fn tend(&self) {
        self.room.tend_floor();
    }

    /// Waits until the directory has been read, however long that takes: until then nothing new is kept.
    pub fn wait_until_ready(&self) {
        let thread = self.scan.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn pin(self: &Arc<Self>, key: EntryKey) -> Pin {
        let pin = Pin::new(Arc::clone(self), self.room.pin(key));
        pin.entry().open(&self.room);
        pin
    }

    fn counters(&self) -> &Counters {
        &self.room.counters
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // The lock is given back only when nobody uses the directory any more.
        self.scan.stop.store(true, Ordering::Relaxed);
        self.wait_until_ready();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("dir", &self.room.layout.dir()).finish()
    }
}
