//! A directory of small files that any number of processes read and replace at once.
//!
//! A file is written to a temporary name and renamed, so a reader sees the old one or the new one, whole;
//! two writers of one name leave one of the two. No lock is needed for that. What is promised about power
//! loss is chosen per put.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::types::{OsRandom, Random};

use super::MetaError;

/// Names that begin so are not ours to read.
const TEMPORARY: &str = ".tmp-";

/// A temporary file that old was left by a process that died: no put takes an hour.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Whether a put waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// On disk, file and name, when the put returns.
    Synced,
    /// Survives the process, perhaps not a power cut; the content must be able to prove itself.
    Cached,
}

/// One directory of small files.
#[derive(Debug, Clone)]
pub(super) struct SmallFiles {
    dir: PathBuf,
}

impl SmallFiles {
    /// The files in `dir`, which is made if it is missing; sweeps what dead writers left.
    pub(super) fn open(dir: PathBuf) -> Result<Self, MetaError> {
        make_private_dir(&dir)?;
        sweep(&dir);
        Ok(Self { dir })
    }

    /// The files in `dir`, which may not exist yet: then nothing can be put.
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Writes or replaces the file `name` (letters, digits, `-` and `.`, not beginning with a dot).
    pub(super) fn put(&self, name: &str, body: &[u8], durability: Durability) -> Result<(), MetaError> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(temporary_name());
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(body)?;
            if durability == Durability::Synced {
                file.sync_all()?;
            }
            fs::rename(&temporary, &path)?;
            if durability == Durability::Synced {
                File::open(&self.dir)?.sync_all()?;
            }
            Ok(())
        })();
        written.map_err(|source| {
            // It may have been renamed already, or never made: nothing is lost either way.
            let _ = fs::remove_file(&temporary);
            MetaError::new("write", &path, source)
        })
    }

    /// The record `name`, if there is one.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, MetaError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(body) => Ok(Some(body)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MetaError::new("read", &path, source)),
        }
    }

    /// The names of all files, in no order.
    pub(super) fn names(&self) -> Result<Vec<String>, MetaError> {
        let listed = (|| {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.dir)? {
                match entry?.file_name().into_string() {
                    Ok(name) if !name.starts_with('.') => names.push(name),
                    _ => {}
                }
            }
            Ok(names)
        })();
        listed.map_err(|source| MetaError::new("list", &self.dir, source))
    }

    /// Removes the file `name`; one that does not exist is no error.
    pub(super) fn remove(&self, name: &str) -> Result<(), MetaError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(MetaError::new("remove", &path, source))
            }
            _ => Ok(()),
        }
    }
}

/// A name that no other process, container or restart makes: the process id alone repeats.
fn temporary_name() -> String {
    format!("{TEMPORARY}{:032x}", u128::from_le_bytes(OsRandom.bytes16()))
}

fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let abandoned = || {
            let modified = entry.metadata().and_then(|m| m.modified()).ok()?;
            Some(SystemTime::now().duration_since(modified).ok()? > ABANDONED)
        };
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) && abandoned() == Some(true) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes `dir` and what is missing above it, for this user alone, so that a power cut does not take it back.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), MetaError> {
    let make = |dir: &Path| match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => File::open(dir.parent().unwrap_or(dir))?.sync_all(),
        // Another process was quicker; a file in the way is noticed by the first use.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    };
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_private_dir(parent)?;
    }
    make(dir).map_err(|source| MetaError::new("make the directory", dir, source))
}

/// Sixteen bytes that prove a value to belong to its key.
pub(super) fn check(key: &[u8], value: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut check = [0; 16];
    hasher.finalize_xof().fill(&mut check);
    check
}
