//! The slabs whose files are open, and those that are known not to exist.
//!
//! A small read costs no `open`: the files of the slabs that were used last stay open. They hold nothing in the cache: a
//! slab that is evicted is first forgotten here, and who still reads it reads what is unlinked.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::types::Generations;

use super::key::SlabKey;
use super::slab::Slab;
use super::touched::Touched;

/// Slabs that are remembered: this many to twice as many, in two generations (what was used lately is in the young
/// one). As many files are open at most; with slabs of 8 MiB they are 2 GiB of small contents.
const REMEMBERED: usize = 256;

/// `None`: there is no such slab.
#[derive(Debug)]
pub(super) struct Slabs(Mutex<Generations<SlabKey, Option<Arc<Slab>>>>);

impl Default for Slabs {
    fn default() -> Self {
        Self(Mutex::new(Generations::new(REMEMBERED)))
    }
}

impl Slabs {
    fn lock(&self) -> MutexGuard<'_, Generations<SlabKey, Option<Arc<Slab>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a slab: `None` for nothing, `Some(None)` for that it does not exist.
    pub(super) fn find(&self, key: &SlabKey) -> Option<Option<Arc<Slab>>> {
        self.lock().get(key)
    }

    /// The open slab, or the one in the file that `open` opens.
    ///
    /// # Errors
    /// Those of `open`.
    pub(super) fn open(
        &self,
        key: SlabKey,
        touched: Arc<Touched>,
        open: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Arc<Slab>> {
        let mut known = self.lock();
        if let Some(Some(slab)) = known.get(&key) {
            return Ok(slab);
        }
        let slab = Arc::new(Slab::new(key, open()?, touched)?);
        known.put(key, Some(Arc::clone(&slab)));
        Ok(slab)
    }

    /// Remembers a slab that somebody has open.
    pub(super) fn note(&self, key: SlabKey, slab: &Arc<Slab>) {
        self.lock().put(key, Some(Arc::clone(slab)));
    }

    /// Remembers that there is none, unless one was made meanwhile.
    pub(super) fn note_absent(&self, key: SlabKey) {
        let mut known = self.lock();
        if known.get(&key).is_none() {
            known.put(key, None);
        }
    }

    /// Forgets a slab that is about to be deleted.
    pub(super) fn forget(&self, key: &SlabKey) {
        self.lock().remove(key);
    }
}
