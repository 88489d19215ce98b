//! Which redb file is ours: the first slot whose lock file nobody holds.
//!
//! The lock is on a file beside the database, not on the database, so that a damaged database can be
//! removed and made again without another process slipping in between. It is held as long as the engine
//! lives and goes with the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::MetaError;
use super::engine::{Engine, OpenFailure};

/// One daemon, one command, and room for a script that runs several; more live in memory.
const SLOTS: usize = 8;

/// An opened slot.
pub(super) struct Slot {
    /// Its index.
    pub(super) engine: Engine,
    /// Which part of the whole budget it may use: the first slot is the daemon's and gets all of it.
    pub(super) divisor: u64,
}

/// Takes the first free slot of `dir`, or memory.
pub(super) fn take(dir: &Path) -> Result<Slot, MetaError> {
    for number in 0..SLOTS {
        let Some(lock) = lock(&dir.join(format!("index-v1-{number}.lock")))? else { continue };
        match Engine::open(dir.join(format!("index-v1-{number}.redb")), lock) {
            Ok(engine) => return Ok(Slot { engine, divisor: if number == 0 { 1 } else { 4 } }),
            // Somebody who does not know our lock file has it: a copy of the directory, another tool.
            Err(OpenFailure::Busy) => {}
            Err(OpenFailure::Failed(error)) => return Err(error),
        }
    }
    tracing::debug!(
        "every index slot of {} is in use; this process keeps its index in memory",
        dir.display()
    );
    // What fits beside the rest of a process's memory: a hundredth of the usual budget.
    Ok(Slot { engine: Engine::in_memory(), divisor: 100 })
}

/// The lock at `path`; `None` when another process holds it, or locks do not work there.
fn lock(path: &Path) -> Result<Option<File>, MetaError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| MetaError::new("open", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            tracing::warn!("locks do not work on {}: {error}", path.display());
            Ok(None)
        }
    }
}
