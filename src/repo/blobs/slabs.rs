//! Small contents in the slabs of this machine's cache.
//!
//! A slab is asked by place, and only claims: what it gives out is unpacked and hashed here, each time. The place is the
//! hint's; where that slab does not hold it, the place where this machine last put the same content: another
//! repository's pack, or the pack from which the hint's was repacked.

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::{Cache, Hold};
use crate::format::StoredBlob;
use crate::types::{ChunkId, Location, RepoUuid};

use super::{Arrived, Blob, Blobs, Hash, Inner, Kept, SmallContent, Wanted};

/// Under this name the index remembers where contents lie in slabs, whichever repository they came from.
const ANY_REPOSITORY: RepoUuid = RepoUuid::NIL;

impl Blobs {
    /// From now on small contents are kept in the slabs of `cache`, and chunks of long ones are looked for in its files. The
    /// first call counts.
    pub(in crate::repo) fn keep_small_in(&self, cache: Arc<Cache>) {
        let _ = self.inner.cache.set(cache);
    }

    /// Whether this machine seems to have a small content: its bytes are not looked at.
    pub(in crate::repo) fn seems_here<B: Blob>(&self, wanted: &Wanted<B>) -> bool {
        let hash = wanted.id.hash();
        if B::shelf(&self.inner).memory.get(&hash).is_some() {
            return true;
        }
        let Some(cache) = self.inner.cache.get().filter(|_| B::KEPT == Kept::Slabs) else { return false };
        self.inner.slab_places(wanted).any(|at| cache.holds_small(&at))
    }

    /// Takes note that a program has read a small content that was fetched for it.
    pub(in crate::repo) fn note_read(&self, wanted: &Wanted<SmallContent>) {
        if let (Some(cache), Some(at)) = (self.inner.cache.get(), wanted.hint) {
            cache.note_small_read(&at);
        }
    }

    /// Keeps a small content from being evicted: where this machine has it, or where it will come.
    pub(in crate::repo) fn hold(&self, wanted: &Wanted<SmallContent>) -> Option<Hold> {
        let cache = self.inner.cache.get()?;
        let here = self.inner.slab_places(wanted).find(|at| cache.holds_small(at));
        cache.hold_small(&here.or(wanted.hint)?)
    }
}

impl Inner {
    /// Where in the slabs the content may lie.
    fn slab_places<B: Blob>(&self, wanted: &Wanted<B>) -> impl Iterator<Item = Location> {
        let (hint, hash) = (wanted.hint, wanted.id.hash());
        // Looked up only when the hint's slab does not have it.
        let elsewhere = std::iter::once_with(move || {
            let at = self.index.as_ref()?.get_location(&ANY_REPOSITORY, &ChunkId::from_bytes(hash))?;
            (Some(at) != hint).then_some(at)
        });
        hint.into_iter().chain(elsewhere.flatten())
    }

    /// A small content from a slab, verified.
    pub(super) fn find_in_slabs<B: Blob>(&self, wanted: &Wanted<B>) -> Option<Arc<B>> {
        let cache = self.cache.get()?;
        self.slab_places(wanted).find_map(|at| {
            let stored = Bytes::from(cache.read_small(&at)?);
            let raw = StoredBlob::unpack_shared(&stored, B::KIND.max_raw_bytes());
            match raw.and_then(|raw| B::decode(wanted.id, raw)) {
                Ok(blob) => Some(Arc::new(blob)),
                Err(error) => {
                    tracing::debug!(%error, ?at, "the cache has other bytes here; they are fetched");
                    cache.small_was_wrong(&at, &stored);
                    None
                }
            }
        })
    }

    /// Puts a small content into its slab. `true`: it is there. Blocks.
    pub(super) fn to_slab(&self, hash: &[u8; 32], arrived: &Arrived<'_>) -> bool {
        let (Some(cache), Some(at)) = (self.cache.get(), arrived.at) else { return false };
        let kept = cache.keep_small(&at, arrived.stored);
        if let Some(index) = self.index.as_ref().filter(|_| kept) {
            index.put_locations(&ANY_REPOSITORY, [(ChunkId::from_bytes(*hash), at)]);
        }
        kept
    }
}
