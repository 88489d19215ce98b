//! The cache directory: what lies where, and the rule that makes it safe to find again.
//!
//! ```text
//! <dir>/lock                     held by the one process that serves the directory; holds its id
//! <dir>/v1/boot                  the boot of the machine in which everything below was written
//! <dir>/v1/files/<xx>/<name>     complete contents, read-only; <name> spells key and size
//! <dir>/v1/partial/<n>           contents in the making, sparse; known only to the process that makes them
//! <dir>/v1/slabs/<xx>/<name>     small contents where they lie in their packs, sparse; <name> spells pack and stretch
//! <dir>/v1/discarded/<n>         on the way out
//! ```
//!
//! **A name under `files/` means complete.** It is given by `rename`, after the last piece was written. A
//! process that is killed leaves whole files under `files/` and nameless ones under `partial/`, which the
//! next one throws away; the kernel's page cache does not die with the process. Power loss is another
//! matter: a name may reach the disk before the bytes do. So contents written under another boot are thrown
//! away as well, all of them, until a record of what has surely reached the disk says which may stay. Slabs are kept:
//! what is read from them is checked every time (see `slab`).

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::CacheError;
use super::key::{EntryKey, Item, SlabKey};
use super::room::{BLOCK_BYTES, blocks_of};

/// A last use older than that is written down when an entry is opened. The order of eviction after a
/// restart is that exact; more often would be a write per open.
const USE_RESOLUTION: Duration = Duration::from_secs(60);

/// The directory, locked for this process.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    files: PathBuf,
    partial: PathBuf,
    slabs: PathBuf,
    discarded: PathBuf,
    next_number: AtomicU64,
    /// Held, not used.
    _lock: File,
}

impl Layout {
    /// Opens or makes the cache directory `dir` (0700) and takes its lock. What a dead process left behind
    /// is put aside for [`Layout::delete_discarded`].
    pub(super) fn open(dir: &Path) -> Result<Self, CacheError> {
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
            partial: version.join("partial"),
            slabs: version.join("slabs"),
            discarded: version.join("discarded"),
            next_number: AtomicU64::new(0),
            _lock: lock,
        };
        make(&layout.discarded)?;
        // Numbers go on behind those that are still being deleted.
        let last = numbers(&layout.discarded).max();
        layout.next_number.store(last.map_or(0, |last| last + 1), Ordering::Relaxed);
        layout.discard(&layout.partial)?;
        layout.discard_other_boots(&version.join("boot"))?;
        make(&layout.partial)?;
        make(&layout.files)?;
        make(&layout.slabs)?;
        Ok(layout)
    }

    /// The directory, as it was given.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn discard_other_boots(&self, record: &Path) -> Result<(), CacheError> {
        // Without a boot id nothing can be told apart, so nothing is kept.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if !boot.is_empty() && fs::read_to_string(record).is_ok_and(|recorded| recorded == boot) {
            return Ok(());
        }
        if self.files.exists() {
            tracing::info!(
                "the machine was started anew: the contents of the cache {} may not all have reached the disk \
                 and are fetched again when they are read",
                self.dir.display()
            );
        }
        self.discard(&self.files)?;
        fs::write(record, boot).map_err(|e| CacheError::dir("write", record, e))
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

    fn complete_path(&self, key: &EntryKey) -> PathBuf {
        self.files.join(key.shard()).join(key.to_string())
    }

    fn partial_path(&self, number: u64) -> PathBuf {
        self.partial.join(number.to_string())
    }

    fn slab_path(&self, key: &SlabKey) -> PathBuf {
        self.slabs.join(key.shard()).join(key.to_string())
    }

    /// The complete file of `key`, open for reading only, its last use noted.
    pub(super) fn open_complete(&self, key: &EntryKey) -> io::Result<File> {
        let file = open_read_only(&self.complete_path(key))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() != key.size {
            let found = format!("{} bytes instead of {}", metadata.len(), key.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, found));
        }
        note_use(&file, &metadata);
        Ok(file)
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

    /// Deletes a slab; one that is gone is no error.
    pub(super) fn delete_slab(&self, key: &SlabKey) -> io::Result<()> {
        delete(&self.slab_path(key))
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

    /// Gives a partial file, of which every byte is there, its name, and opens it again for reading only:
    /// what is complete is never reachable through a writable descriptor.
    pub(super) fn complete(&self, number: u64, file: &File, key: &EntryKey) -> io::Result<File> {
        file.set_permissions(Permissions::from_mode(0o400))?;
        let (from, to) = (self.partial_path(number), self.complete_path(key));
        match fs::rename(&from, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // The first of its two digits.
                DirBuilder::new().mode(0o700).create(self.files.join(key.shard()))?;
                fs::rename(&from, &to)?;
            }
            other => other?,
        }
        self.open_complete(key).inspect_err(|_| {
            // Without a descriptor nobody here would know of the name.
            let _ = fs::remove_file(&to);
        })
    }

    /// Deletes a complete file; one that is gone is no error.
    pub(super) fn delete_complete(&self, key: &EntryKey) -> io::Result<()> {
        delete(&self.complete_path(key))
    }

    /// Deletes a partial file; one that is gone is no error.
    pub(super) fn delete_partial(&self, number: u64) -> io::Result<()> {
        delete(&self.partial_path(number))
    }

    /// Everything that is kept, with its blocks and its last use, shard by shard, until `stop` says so. A file that is
    /// not what its name says is deleted; one whose name says nothing is left alone.
    pub(super) fn scan(
        &self,
        stop: impl Fn() -> bool,
        mut found: impl FnMut(Item, u64, SystemTime),
    ) -> io::Result<()> {
        let mut scan = |dir: &Path, parse: fn(&str) -> Option<Item>| -> io::Result<()> {
            for shard in fs::read_dir(dir)? {
                let Ok(entries) = fs::read_dir(shard?.path()) else { continue };
                for entry in entries {
                    if stop() {
                        return Ok(());
                    }
                    let entry = entry?;
                    let Some(item) = entry.file_name().to_str().and_then(parse) else { continue };
                    let Ok(metadata) = entry.metadata() else { continue };
                    match blocks_found(&item, &metadata) {
                        Some(blocks) => {
                            found(item, blocks, metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH));
                        }
                        None => delete(&entry.path())?,
                    }
                }
            }
            Ok(())
        };
        scan(&self.files, |name| EntryKey::parse(name).map(Item::Content))?;
        scan(&self.slabs, |name| SlabKey::parse(name).map(Item::Slab))
    }
}

/// The blocks of a file that the scan found; `None` when it is not what its name says.
fn blocks_found(item: &Item, metadata: &Metadata) -> Option<u64> {
    let whole = match item {
        Item::Content(key) => (metadata.len() == key.size).then(|| blocks_of(&(0..key.size))),
        Item::Slab(_) => Some((metadata.blocks() * 512).div_ceil(BLOCK_BYTES)),
    };
    whole.filter(|_| metadata.is_file())
}

/// Notes the use of a file that was just opened, where the order of eviction after a restart finds it.
fn note_use(file: &File, metadata: &Metadata) {
    let now = SystemTime::now();
    let recent =
        metadata.accessed().is_ok_and(|used| now.duration_since(used).is_ok_and(|age| age < USE_RESOLUTION));
    if !recent {
        // Nothing else hangs on it.
        let _ = file.set_times(FileTimes::new().set_accessed(now));
    }
}

fn open_read_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
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
