//! Giving a whole, flushed file its name; see the module above for the argument.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::error::Failure;
use super::path::{self, TEMPORARY};
use crate::store::StoreErrorKind;
use crate::types::{OsRandom, Random};

/// A temporary file this old has no writer any more: an object of 64 MiB takes seconds.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// How many flushed directories are remembered; forgetting one costs a flush. A repository has 2 x 256 and one per ref.
const REMEMBERED: usize = 100_000;

/// What a write does when the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// It fails.
    Keep,
    /// It replaces.
    Replace,
}

#[derive(Debug)]
pub(super) struct Writer {
    root: PathBuf,
    temporary: PathBuf,
    cleaned: Once,
    /// Directories below the root whose own names this process has seen flushed.
    flushed: Mutex<HashSet<PathBuf>>,
}

/// A temporary file; its name goes when this is dropped.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone already; what cannot be removed is cleaned when it is stale.
        let _ = fs::remove_file(&self.path);
    }
}

impl Writer {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            temporary: root.join(TEMPORARY),
            cleaned: Once::new(),
            flushed: Mutex::default(),
        }
    }

    pub(super) fn write(&self, key: &str, body: &[u8], existing: Existing) -> Result<(), Failure> {
        let target = path::of_key(&self.root, key)?;
        // A taken name is the common answer of a race for a ref: worth one look before a flush. The answer is the
        // link's alone.
        if existing == Existing::Keep && fs::symlink_metadata(&target).is_ok() {
            return Err(taken(&target));
        }
        let mut temporary = self.temporary()?;
        temporary.file.write_all(body)?;
        temporary.file.sync_all()?;
        let folder = target.parent().unwrap_or(&self.root);
        self.ensure_folder(folder)?;
        let mut named = name(&temporary, &target, existing);
        if matches!(&named, Err(e) if e.kind() == ErrorKind::NotFound) {
            // Somebody removed an empty directory that this process remembers: make it again, once.
            self.forget();
            self.ensure_folder(folder)?;
            named = name(&temporary, &target, existing);
        }
        match named {
            Ok(()) => Ok(flush_folder(folder)?),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(taken(&target)),
            Err(e) if matches!(e.kind(), ErrorKind::IsADirectory | ErrorKind::NotADirectory) => {
                Err(collision(&target).caused_by(e))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Removes the file of `key`. Not flushed: a removal that a power cut undoes is a removal to be done again.
    pub(super) fn remove(&self, key: &str) -> Result<(), Failure> {
        let target = path::of_key(&self.root, key)?;
        match fs::remove_file(&target) {
            Ok(()) => Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                if self.root.is_dir() { Ok(()) } else { Err(no_root()) }
            }
            // A directory is no object, so there is nothing to remove.
            Err(_) if target.is_dir() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn temporary(&self) -> Result<Temporary, Failure> {
        self.cleaned.call_once(|| remove_stale(&self.temporary));
        for _ in 0..2 {
            let nonce = u128::from_le_bytes(OsRandom.bytes16());
            let path = self.temporary.join(format!("{}-{nonce:032x}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Temporary { path, file }),
                Err(e) if e.kind() == ErrorKind::NotFound => make_folder(&self.temporary)?,
                Err(e) => return Err(e.into()),
            }
        }
        Err(Failure::new(StoreErrorKind::Io, format!("{} cannot be created", self.temporary.display())))
    }

    /// Makes `folder` and those above it, and flushes each one's name, up to the root.
    fn ensure_folder(&self, folder: &Path) -> Result<(), Failure> {
        if folder == self.root || self.flushed().contains(folder) {
            return Ok(());
        }
        let above = folder.parent().unwrap_or(&self.root);
        self.ensure_folder(above)?;
        make_folder(folder)?;
        // Also when it existed: its maker may not have come to the flush yet.
        flush_folder(above)?;
        let mut flushed = self.flushed();
        if flushed.len() >= REMEMBERED {
            flushed.clear();
        }
        flushed.insert(folder.to_owned());
        Ok(())
    }

    fn flushed(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.flushed.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn forget(&self) {
        self.flushed().clear();
    }
}

/// Makes the one folder `path`, not those above it; one that exists is fine.
fn make_folder(path: &Path) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            if path.is_dir() {
                Ok(())
            } else {
                Err(collision(path))
            }
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Err(no_root()),
        Err(e) => Err(e.into()),
    }
}

fn name(temporary: &Temporary, target: &Path, existing: Existing) -> io::Result<()> {
    if existing == Existing::Replace {
        return fs::rename(&temporary.path, target);
    }
    match fs::hard_link(&temporary.path, target) {
        // On NFS the answer to a link can get lost and its repetition then meets the first; the count of links tells.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && temporary.file.metadata()?.nlink() == 2 => Ok(()),
        // A file system without hard links; the other call that decides in the kernel.
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK | libc::ENOSYS)
            ) =>
        {
            let how = RenameFlags::RENAME_NOREPLACE;
            renameat2(AT_FDCWD, &temporary.path, AT_FDCWD, target, how).map_err(io::Error::from)
        }
        other => other,
    }
}

fn taken(target: &Path) -> Failure {
    if target.is_dir() {
        collision(target)
    } else {
        Failure::new(StoreErrorKind::AlreadyExists, "it exists already")
    }
}

/// The layout never has a key that is the beginning of another up to a `/`; a foreign file can make it so.
fn collision(path: &Path) -> Failure {
    let detail = format!("{} is a file where a folder is needed, or the other way round", path.display());
    Failure::new(StoreErrorKind::Io, detail)
}

fn no_root() -> Failure {
    Failure::new(StoreErrorKind::NoBucket, "the folder does not exist any more")
}

/// Flushes the entries of the directory `path`.
pub(super) fn flush_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems (of FUSE, of virtual machines) flush entries by themselves and refuse the call.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

fn remove_stale(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
        if matches!(age, Ok(Ok(age)) if age > STALE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
