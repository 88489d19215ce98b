//! Chunks of long contents in the files of this machine's cache.
//!
//! A long content is one file there, under the hash of its list of chunks, so a new version of it is another file, though it may
//! have all but one chunk in common with the one before. What is on disk in any content is not fetched for another: the
//! index remembers in which contents a chunk was put. That is a hint; what is read there is hashed here, each time,
//! and what does not match is absent.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::cache::ContentKey;
use crate::meta::HeldChunk;
use crate::types::ChunkId;

use super::{Blob, Blobs, Hash, Inner, Kept, Landed, Wanted};

impl Blobs {
    /// Notes in which content of the cache chunks lie now.
    pub(in crate::repo) fn note_held(&self, chunks: impl IntoIterator<Item = (ChunkId, HeldChunk)>) {
        if let Some(index) = self.inner.index.as_ref().filter(|_| self.inner.cache.get().is_some()) {
            index.put_held(chunks);
        }
    }

    /// Takes those out of `missing` that lie in contents of the cache. Reads and hashes on a thread that may wait.
    pub(super) async fn land_from_files<B: Blob>(
        &self,
        missing: Vec<Wanted<B>>,
        landed: &mut HashMap<[u8; 32], Landed<B>>,
    ) -> Vec<Wanted<B>> {
        if B::KEPT != Kept::Files || missing.is_empty() {
            return missing;
        }
        let Some((index, _)) = self.inner.index.as_ref().zip(self.inner.cache.get()) else { return missing };
        let held = |wanted: &Wanted<B>| index.get_held(&ChunkId::from_bytes(wanted.id.hash()));
        let held: Vec<_> = missing.iter().map(|wanted| (*wanted, held(wanted))).collect();
        if held.iter().all(|(_, places)| places.is_empty()) {
            return missing;
        }
        let inner = self.inner.clone();
        let find = move || {
            let find = |(wanted, places): (Wanted<B>, Vec<HeldChunk>)| {
                let found = places.iter().find_map(|held| inner.find_in_file(&wanted, held))?;
                Some((wanted.id.hash(), found))
            };
            held.into_iter().filter_map(find).collect::<Vec<_>>()
        };
        // A thread that dies leaves all of them to the store.
        let found = spawn_blocking(find).await.unwrap_or_default();
        landed.extend(found.into_iter().map(|(hash, blob)| (hash, Landed::Blob(blob))));
        missing.into_iter().filter(|wanted| !landed.contains_key(&wanted.id.hash())).collect()
    }
}

impl Inner {
    /// A chunk out of a long content, verified.
    fn find_in_file<B: Blob>(&self, wanted: &Wanted<B>, held: &HeldChunk) -> Option<Arc<B>> {
        let cache = self.cache.get()?;
        let key = ContentKey::shared(held.content);
        let range = held.offset..held.offset.checked_add(u64::from(held.len))?;
        let bytes = cache.lend(key, held.size, range)?;
        match B::decode(wanted.id, Bytes::from(bytes)) {
            Ok(blob) => Some(Arc::new(blob)),
            Err(error) => {
                tracing::warn!(%error, content = ?key, at = held.offset, "the cache has other bytes here; they are fetched");
                cache.lent_wrong(key, held.size);
                None
            }
        }
    }
}
