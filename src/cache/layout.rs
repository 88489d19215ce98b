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

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::CacheError;
use super::files::{note_use, open_read_only};
use super::key::SlabKey;
use super::lock::take_lock;
use super::machine::Machine;
use super::past_cache::{PastCache, open_past_cache};
use super::sums::Boot;

/// The directory, locked for this process.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    pub(super) files: PathBuf,
    pub(super) sums: PathBuf,
    partial: PathBuf,
    pub(super) slabs: PathBuf,
    discarded: PathBuf,
    scrub: PathBuf,
    next_number: AtomicU64,
    machine: Arc<dyn Machine>,
    /// `None`: nothing is known to be of this boot.
    pub(super) boot: Option<Boot>,
    /// Held, and what syncs ask for: opened before anything was written, so that no error is missed.
    lock: File,
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
}

/// The entries of `dir` whose names are numbers.
fn numbers(dir: &Path) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
