//! Conditional writes in flight: what was sent, noted before it was sent.
//!
//! An attempt is on disk, under its own name, before [`Attempts::put`] returns, and stays until
//! [`Attempts::remove`]. Whoever finds one, after a crash or beside a running process, settles it by
//! reading the key it names: to settle twice is harmless, to lose one is not. That is why attempts are
//! files and not rows of the disposable index.

use std::path::Path;

use crate::types::Nonce;

use super::MetaError;
use super::small_files::{Durability, SmallFiles};

/// The attempts of one state directory, shared by any number of processes.
#[derive(Debug, Clone)]
pub struct Attempts {
    files: SmallFiles,
}

impl Attempts {
    pub(super) fn open(state_dir: &Path) -> Result<Self, MetaError> {
        Ok(Self { files: SmallFiles::open(state_dir.join("attempts"))? })
    }

    /// Notes the attempt `id`; `body` is JSON that says what was tried (the caller's own structure,
    /// readable by a person).
    ///
    /// # Errors
    /// [`MetaError`]: the attempt is not noted and must not be sent.
    pub fn put(&self, id: &Nonce, body: &[u8]) -> Result<(), MetaError> {
        self.files.put(&format!("{id}.json"), body, Durability::Synced)
    }

    /// Every attempt that nobody has settled, those of other processes included.
    ///
    /// # Errors
    /// [`MetaError`] when the directory or a file in it cannot be read.
    pub fn list(&self) -> Result<Vec<(Nonce, Vec<u8>)>, MetaError> {
        let mut attempts = Vec::new();
        for name in self.files.names()? {
            let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse().ok()) else { continue };
            // Settled by its owner since the listing: gone, and rightly so.
            let Some(body) = self.files.get(&name)? else { continue };
            attempts.push((id, body));
        }
        Ok(attempts)
    }

    /// Forgets a settled attempt. A power cut may bring it back; it is then settled again.
    ///
    /// # Errors
    /// [`MetaError`] when the file cannot be removed.
    pub fn remove(&self, id: &Nonce) -> Result<(), MetaError> {
        self.files.remove(&format!("{id}.json"))
    }
}
