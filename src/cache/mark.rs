//! The mark of a complete content that outlives a power cut, and those that have none yet (see [`super::durable`]).

use std::sync::{Mutex, PoisonError};

use super::key::EntryKey;

/// The permissions of a complete content, and of one that is marked.
pub(super) const COMPLETE: u32 = 0o400;
pub(super) const MARKED: u32 = 0o1400;

/// Complete contents that have no mark yet.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<Vec<EntryKey>>);

impl Fresh {
    pub(super) fn add(&self, key: EntryKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    pub(super) fn take(&self) -> Vec<EntryKey> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a file with this mode is marked.
pub(super) fn is_marked(mode: u32) -> bool {
    mode & 0o7777 == MARKED
}
