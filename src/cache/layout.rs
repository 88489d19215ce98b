//! The cache directory: what lies where, and the rule that makes it safe to find again.
//!
//! ```text
//! <dir>/lock                     held by the one process that serves the directory; holds its id
//! <dir>/v1/files/<xx>/<name>     complete contents, read-only; <name> spells key and size
//! <dir>/v1/sums/<xx>/<name>      what the pieces of each of them hash to (see `sums`)
//! <dir>/v1/partial/<n>           contents in the making, sparse; known only to the process that makes them
//! <dir>/v1/slabs/<xx>/<name>     small contents where they lie in their packs, sparse; <name> spells pack and stretch
//! <dir>/v1/scrub                 how far the scrub is (see `scrub`)
//! <dir>/v1/discarded/<n>         on the way out
//! ```
//!
//! **A name under `files/` means complete.** It is given by `rename`, after the last piece was written and the sums
//! beside it. A process that is killed leaves whole files under `files/` and nameless ones under `partial/`, which the
//! next one throws away; the kernel's page cache does not die with the process.
//!
//! **After a power cut it is a claim.** A name may reach the disk before the bytes do. So a content that became complete
//! in another boot is trusted only if it is marked as durable (see `durable`); otherwise it is opened as a claim, which is
//! checked piece by piece. Sums of this boot never stand beside a claim: who writes them has the claim checked, or out of
//! the way. A content without sums can be checked by nobody, and is deleted. Slabs need none of this: what is read from them
//! is checked every time (see `slab`).

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::CacheError;
use super::blocks::{BLOCK_BYTES, blocks_of};
use super::durable::is_marked;
use super::key::{EntryKey, Item, SlabKey};
use super::machine::Machine;
use super::sums::{self, Boot};

/// A last use older than that is written down when an entry is opened. The order of eviction after a
/// restart is that exact; more often would be a write per open.
const USE_RESOLUTION: Duration = Duration::from_secs(60);

/// The directory, locked for this process.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    pub(super) files: PathBuf,
    pub(super) sums: PathBuf,
    partial: PathBuf,
    slabs: PathBuf,
    discarded: PathBuf,
    scrub: PathBuf,
    next_number: AtomicU64,
    machine: Arc<dyn Machine>,
    /// `None`: nothing is known to be of this boot.
    pub(super) boot: Option<Boot>,
    /// Held, and what syncs ask for: opened before anything was written, so that no error is missed.
    lock: File,
}

/// A file that is open to be read past the page cache.
#[derive(Debug)]
pub(super) struct PastCache {
    pub(super) file: File,
    /// Whether that is so, and reads must be aligned: not every file system can.
    pub(super) direct: bool,
}

/// A file that the scan found.
pub(super) struct Scanned {
    pub(super) item: Item,
    pub(super) blocks: u64,
    pub(super) used: SystemTime,
    /// Nothing is to be done for it to outlive a power cut.
    pub(super) is_durable: bool,
}

/// Directories of contents: two hexadecimal digits.
pub(super) const SHARDS: u16 = 256;

impl Layout {
    /// Opens or makes the cache directory `dir` (0700) and takes its lock. What a dead process left behind
    /// is put aside for [`Layout::delete_discarded`].
    pub(super) fn open(dir: &Path, machine: Arc<dyn Machine>) -> Result<Self, CacheError> {
        let make = |dir: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|e| CacheError::dir("make the cache directory", dir, e))
        };
        make(dir)?;
        let lock = take_lock(dir)?;
        let version = dir.join("v1");
        let layout = Self {
            dir: dir.to_path_buf(),
            files: version.join("files"),
            sums: version.join("sums"),
            partial: version.join("partial"),
            slabs: version.join("slabs"),
            discarded: version.join("discarded"),
            scrub: version.join("scrub"),
            next_number: AtomicU64::new(0),
            boot: machine.boot_id().map(|id| Boot::of(&id)),
            machine,
            lock,
        };
        make(&layout.discarded)?;
        // Numbers go on behind those that are still being deleted.
        let last = numbers(&layout.discarded).max();
        layout.next_number.store(last.map_or(0, |last| last + 1), Ordering::Relaxed);
        layout.discard(&layout.partial)?;
        for dir in [&layout.partial, &layout.files, &layout.sums, &layout.slabs] {
            make(dir)?;
        }
        Ok(layout)
    }

    /// The directory, as it was given.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the directory is where it was: its disk may have gone, and may come back.
    pub(super) fn is_there(&self) -> bool {
        self.files.is_dir()
    }

    /// Returns when all that was written before is on the disk.
    ///
    /// # Errors
    /// Something may be lost that was written since the last time.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.machine.sync(&self.lock)
    }

    /// Puts a directory aside, to be deleted in the background.
    fn discard(&self, dir: &Path) -> Result<(), CacheError> {
        let aside = self.discarded.join(self.number().to_string());
        match fs::rename(dir, aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CacheError::dir("put aside", dir, e)),
            _ => Ok(()),
        }
    }

    /// Deletes what was put aside; slow when it is much.
    pub(super) fn delete_discarded(&self) -> io::Result<()> {
        for number in numbers(&self.discarded) {
            fs::remove_dir_all(self.discarded.join(number.to_string()))?;
        }
        Ok(())
    }

    fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Where a file may be written that is to get a name.
    pub(super) fn new_partial_path(&self) -> PathBuf {
        self.partial_path(self.number())
    }

    pub(super) fn partial_path(&self, number: u64) -> PathBuf {
        self.partial.join(number.to_string())
    }

    fn slab_path(&self, key: &SlabKey) -> PathBuf {
        self.slabs.join(key.shard()).join(key.to_string())
    }

    /// How far the scrub was; `None` when nobody knows.
    pub(super) fn read_scrub(&self) -> Option<String> {
        fs::read_to_string(&self.scrub).ok()
    }

    /// Notes how far the scrub is. What cannot be noted is scrubbed again.
    pub(super) fn write_scrub(&self, text: &str) {
        let _ = fs::write(&self.scrub, text);
    }

    /// The slab's file if there is one, open for reading only, its last use noted.
    pub(super) fn open_slab(&self, key: &SlabKey) -> io::Result<File> {
        let file = open_read_only(&self.slab_path(key))?;
        note_use(&file, &file.metadata()?);
        Ok(file)
    }

    /// The slab's file, open to be written, made if there is none.
    pub(super) fn create_slab(&self, key: &SlabKey) -> io::Result<File> {
        let path = self.slab_path(key);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        match options.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // The first of its two digits; another thread may make it as well.
                let _ = DirBuilder::new().mode(0o700).create(self.slabs.join(key.shard()));
                options.open(&path)
            }
            other => other,
        }
    }

    /// The slab, to be read through.
    pub(super) fn open_slab_to_check(&self, key: &SlabKey) -> io::Result<PastCache> {
        open_past_cache(&self.slab_path(key))
    }

    /// Deletes a slab; one that is gone is no error.
    pub(super) fn delete_slab(&self, key: &SlabKey) -> io::Result<()> {
        self.delete(&self.slab_path(key))
    }

    /// A new file for a content of `size` bytes, all of it missing.
    pub(super) fn create_partial(&self, size: u64) -> io::Result<(u64, File)> {
        let number = self.number();
        let path = self.partial_path(number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(e) = file.set_len(size) {
            let _ = fs::remove_file(&path);
            return Err(e);
        }
        Ok((number, file))
    }

    /// A partial file that was made before.
    pub(super) fn open_partial(&self, number: u64) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.partial_path(number))
    }

    /// Deletes a partial file; one that is gone is no error.
    pub(super) fn delete_partial(&self, number: u64) -> io::Result<()> {
        self.delete(&self.partial_path(number))
    }

    /// Deletes a file; one that is gone is no error, unless everything is: then it may come back.
    pub(super) fn delete(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.is_there() => Ok(()),
            done => done,
        }
    }

    /// Everything that is kept, shard by shard, until `stop` says so. A file that is not what its name says is deleted; one
    /// whose name says nothing is left alone.
    pub(super) fn scan(&self, stop: impl Fn() -> bool, mut found: impl FnMut(Scanned)) -> io::Result<()> {
        for shard in fs::read_dir(&self.files)? {
            let shard = shard?.path();
            let mut sums = self.sums_of(&shard);
            each(&shard, &stop, EntryKey::parse, |path, key, metadata| {
                match sums.remove(&key).zip(content_blocks(&key, metadata)) {
                    Some((sums, content)) => {
                        found(Scanned {
                            item: Item::Content(key),
                            blocks: content + sums,
                            used: last_use(metadata),
                            is_durable: is_marked(metadata.mode()),
                        });
                        Ok(())
                    }
                    None => self.delete(path).and_then(|()| self.delete(&self.sums_path(&key))),
                }
            })?;
            // Left by a process that ended between the two.
            for key in sums.into_keys().filter(|_| !stop()) {
                if !self.complete_path(&key).exists() {
                    self.delete(&self.sums_path(&key))?;
                }
            }
        }
        for shard in fs::read_dir(&self.slabs)? {
            each(&shard?.path(), &stop, SlabKey::parse, |path, key, metadata| {
                if !metadata.is_file() {
                    return self.delete(path);
                }
                let blocks = (metadata.blocks() * 512).div_ceil(BLOCK_BYTES);
                found(Scanned { item: Item::Slab(key), blocks, used: last_use(metadata), is_durable: true });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The blocks of the sums of a shard of contents.
    fn sums_of(&self, shard: &Path) -> HashMap<EntryKey, u64> {
        let dir = shard.file_name().map(|shard| self.sums.join(shard)).unwrap_or_default();
        let mut sums = HashMap::new();
        let _ = each(
            &dir,
            || false,
            EntryKey::parse,
            |_, key, metadata| {
                sums.insert(key, sums::file_blocks(metadata.len()));
                Ok(())
            },
        );
        sums
    }
}

/// Calls `file` for every entry of `shard` whose name `parse` knows; a shard that cannot be read has none.
fn each<K>(
    shard: &Path,
    stop: impl Fn() -> bool,
    parse: fn(&str) -> Option<K>,
    mut file: impl FnMut(&Path, K, &Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(shard) else { return Ok(()) };
    for entry in entries {
        if stop() {
            return Ok(());
        }
        let entry = entry?;
        let Some(key) = entry.file_name().to_str().and_then(parse) else { continue };
        if let Ok(metadata) = entry.metadata() {
            file(&entry.path(), key, &metadata)?;
        }
    }
    Ok(())
}

/// The blocks of a content that the scan found; `None` when it is not what its name says. A claim may have lost its end.
fn content_blocks(key: &EntryKey, metadata: &Metadata) -> Option<u64> {
    let fits = match is_marked(metadata.mode()) {
        true => metadata.len() == key.size,
        false => metadata.len() <= key.size,
    };
    (fits && metadata.is_file()).then(|| blocks_of(&(0..key.size)))
}

fn last_use(metadata: &Metadata) -> SystemTime {
    metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Notes the use of a file that was just opened, where the order of eviction after a restart finds it.
pub(super) fn note_use(file: &File, metadata: &Metadata) {
    let now = SystemTime::now();
    let recent =
        metadata.accessed().is_ok_and(|used| now.duration_since(used).is_ok_and(|age| age < USE_RESOLUTION));
    if !recent {
        // Nothing else hangs on it.
        let _ = file.set_times(FileTimes::new().set_accessed(now));
    }
}

pub(super) fn open_read_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Opens a file so that what is read of it stays out of the page cache, and its last use what it was.
pub(super) fn open_past_cache(path: &Path) -> io::Result<PastCache> {
    let open = |flags| OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | flags).open(path);
    match open(libc::O_NOATIME | libc::O_DIRECT) {
        Ok(file) => Ok(PastCache { file, direct: true }),
        // The file system cannot.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            Ok(PastCache { file: open(libc::O_NOATIME)?, direct: false })
        }
        Err(e) => Err(e),
    }
}

/// Gives a file its name in a shard, which is made if it is not there.
pub(super) fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(shard) = to.parent() {
                // Another thread may make it as well.
                let _ = DirBuilder::new().mode(0o700).create(shard);
            }
            fs::rename(from, to)
        }
        done => done,
    }
}

/// The entries of `dir` whose names are numbers.
fn numbers(dir: &Path) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The lock is on a descriptor for reading, so that it does not keep an administrator from remounting the
/// disk read-only.
fn take_lock(dir: &Path) -> Result<File, CacheError> {
    let path = dir.join("lock");
    let lock = match open_read_only(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .and_then(|_| open_read_only(&path))
        }
        other => other,
    };
    let mut lock = lock.map_err(|e| CacheError::dir("open", &path, e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            let pid = match pid.trim() {
                "" => "unknown".to_owned(),
                pid => pid.to_owned(),
            };
            return Err(CacheError::InUse { dir: dir.display().to_string(), pid });
        }
        Err(TryLockError::Error(e)) => return Err(CacheError::dir("lock", &path, e)),
    }
    let written = fs::write(&path, format!("{}\n", std::process::id()));
    written.map_err(|e| CacheError::dir("write", &path, e))?;
    Ok(lock)
}
