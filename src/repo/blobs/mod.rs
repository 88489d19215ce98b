//! Stored blobs by hash and hint.
//!
//! Must always be true: **what is given out hashes to the id that was asked for.** Where the bytes came from (memory,
//! the node's index, a hint, a search) is a matter of speed and never of trust.
//!
//! The way down: decoded in memory, bounded in bytes; what this machine keeps of the kind (nodes in its index, small
//! contents in the slabs of its cache, chunks of long ones in its files); one ranged GET where the hint says. Callers who
//! ask for the same blob at once share one request. Only when that fails, and not for want of the store, the slow way
//! begins (`recover`): once more, then where the pack was moved to, then a search of `index/`.
//!
//! What is at hand is given out without yielding: a mount polls such a read once, on the thread that took the
//! request from the kernel.

mod files;
mod flight;
mod kinds;
mod memory;
mod recover;
mod runs;
mod slabs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered};

use crate::cache::Cache;
use crate::format::{FormatError, ManifestNode, PackKind, StoredBlob, TreeNode, XattrList};
use crate::meta::Index;
use crate::repo::{RepoError, layout};
use crate::store::{Key, Store, StoreErrorKind};
use crate::types::{Location, RepoUuid};

use flight::Flights;
pub(super) use flight::repeated;
use memory::Memory;
use recover::Recovery;
use runs::Boarded;

pub(super) use kinds::{Blob, Hash, Kept, RawChunk, SmallContent};

/// Memory for decoded tree nodes: some 100,000 entries, enough for every interior node of a commit of 10 million.
const TREE_BYTES: usize = 32 << 20;

/// Memory for decoded manifest nodes: 4 bytes of it stand for 50 KiB of content.
const MANIFEST_BYTES: usize = 8 << 20;

/// Memory for lists of extended attributes that are blobs.
const XATTR_BYTES: usize = 2 << 20;

/// Memory for chunks, without the SSD cache: a reader who takes small steps fetches each chunk once. Four of the longest.
const CHUNK_BYTES: usize = 16 << 20;

/// Memory for small contents that the cache did not take, so that a reader who takes small steps fetches each once.
const SMALL_BYTES: usize = 8 << 20;

/// Requests of one caller at once.
const CONCURRENCY: usize = 8;

/// The blobs of one repository. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Blobs {
    inner: Arc<Inner>,
}

/// Behind [`Blobs`].
#[derive(Debug)]
pub(super) struct Inner {
    store: Arc<dyn Store>,
    uuid: RepoUuid,
    index: Option<Index>,
    /// Where small contents are kept and chunks of long ones are looked for, once that is known.
    cache: OnceLock<Arc<Cache>>,
    trees: Shelf<TreeNode>,
    manifests: Shelf<ManifestNode>,
    xattrs: Shelf<XattrList>,
    chunks: Shelf<RawChunk>,
    small: Shelf<SmallContent>,
    recovery: Recovery,
}

/// What is kept and what is under way of one kind of blob.
#[derive(Debug)]
pub(super) struct Shelf<B> {
    memory: Memory<B>,
    flights: Flights<B>,
}

impl<B: Blob> Shelf<B> {
    fn new(bytes: usize) -> Self {
        Self { memory: Memory::new(bytes), flights: Flights::new() }
    }
}

/// A blob that is asked for, and where it should lie.
#[derive(Debug)]
pub(super) struct Wanted<B: Blob> {
    pub(super) id: B::Id,
    pub(super) hint: Option<Location>,
}

impl<B: Blob> Wanted<B> {
    pub(super) fn new(id: B::Id, hint: Option<Location>) -> Self {
        Self { id, hint }
    }
}

impl<B: Blob> Clone for Wanted<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Blob> Copy for Wanted<B> {}

impl Blobs {
    pub(super) fn new(store: Arc<dyn Store>, uuid: RepoUuid, index: Option<Index>) -> Self {
        let inner = Inner {
            store,
            uuid,
            index,
            cache: OnceLock::new(),
            trees: Shelf::new(TREE_BYTES),
            manifests: Shelf::new(MANIFEST_BYTES),
            xattrs: Shelf::new(XATTR_BYTES),
            chunks: Shelf::new(CHUNK_BYTES),
            small: Shelf::new(SMALL_BYTES),
            recovery: Recovery::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The blob, from wherever it is.
    ///
    /// # Errors
    /// [`RepoError::Damaged`], [`RepoError::Missing`], any failure of the store.
    pub(super) async fn get<B: Blob>(&self, id: B::Id, hint: Option<Location>) -> Result<Arc<B>, RepoError> {
        self.get_with(Wanted::new(id, hint), &[]).await
    }

    /// The blob; on a miss also `ahead`, as far as it lies in neighbouring places: a scan's next leaves.
    ///
    /// # Errors
    /// As [`Blobs::get`], for the blob itself only.
    pub(super) async fn get_with<B: Blob>(
        &self,
        wanted: Wanted<B>,
        ahead: &[Wanted<B>],
    ) -> Result<Arc<B>, RepoError> {
        if let Some(blob) = self.at_hand(&wanted) {
            return Ok(blob);
        }
        let mut all = Vec::with_capacity(1 + ahead.len());
        all.push(wanted);
        all.extend_from_slice(ahead);
        let landed = self.land(&all, Some(wanted.id)).await;
        self.take(wanted, &landed).await
    }

    /// Brings these blobs to this machine, as far as that is possible.
    pub(super) async fn fetch<B: Blob>(&self, wanted: &[Wanted<B>]) {
        self.land(wanted, None).await;
    }

    /// All of these blobs, in order; neighbours share a request, and several requests run at once.
    ///
    /// # Errors
    /// As [`Blobs::get`], for the first that cannot be had.
    pub(super) async fn get_all<B: Blob>(&self, wanted: &[Wanted<B>]) -> Result<Vec<Arc<B>>, RepoError> {
        let landed = self.land(wanted, None).await;
        let mut blobs = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            blobs.push(self.take(*wanted, &landed).await?);
        }
        Ok(blobs)
    }

    /// As [`Blobs::get_all`], each blob with an outcome of its own.
    pub(super) async fn get_each<B: Blob>(&self, wanted: &[Wanted<B>]) -> Vec<Result<Arc<B>, RepoError>> {
        let landed = self.land(wanted, None).await;
        join_all(wanted.iter().map(|wanted| self.take(*wanted, &landed))).await
    }

    /// The blob if this machine has it. Waits for the disk, never for the network.
    pub(super) fn at_hand<B: Blob>(&self, wanted: &Wanted<B>) -> Option<Arc<B>> {
        let hash = wanted.id.hash();
        let shelf = B::shelf(&self.inner);
        if let Some(blob) = shelf.memory.get(&hash) {
            return Some(blob);
        }
        match B::KEPT {
            Kept::Slabs => self.inner.find_in_slabs(wanted),
            // Asked for in `land`, by a thread that may wait for megabytes.
            Kept::Files => None,
            Kept::Index => {
                let index = self.inner.index.as_ref()?;
                match B::decode(wanted.id, index.get_node(&hash)?) {
                    Ok(blob) => Some(shelf.memory.put(hash, blob)),
                    Err(_) => {
                        index.forget_node(&hash);
                        None
                    }
                }
            }
        }
    }

    /// Takes over bytes that lie in memory already, for instance in a run that was fetched as a whole; `None` when they
    /// are not this blob.
    pub(super) fn take_over<B: Blob>(&self, id: B::Id, stored: &[u8]) -> Option<Arc<B>> {
        let (blob, raw) = decode_stored::<B>(id, stored, StoredBlob::unpack).ok()?;
        Some(self.inner.keep(id, blob, Arrived { raw, stored, at: None }))
    }

    /// A range of a pack, unverified.
    pub(super) async fn range(&self, kind: PackKind, span: crate::types::Span) -> Result<Bytes, RepoError> {
        let key = layout::pack(kind, span.pack);
        Ok(self.inner.store.get_range(&key, span.offset..span.offset.saturating_add(span.len)).await?)
    }

    /// The error for a blob that is what its id says and yet breaks a rule where it is used.
    pub(super) fn damaged<B: Blob>(&self, id: B::Id, at: Option<Location>, source: FormatError) -> RepoError {
        RepoError::Damaged {
            object: describe::<B>(id, at.as_ref()),
            store: self.inner.store.describe(),
            source,
        }
    }

    /// Fetches what is not at hand in as few requests as its places allow. What fails is left out, unless the store
    /// itself failed. When the store fails for `vital`, without which the others are of no use, they are not waited for: each
    /// may be under way for others and take a deadline of its own.
    async fn land<B: Blob>(
        &self,
        wanted: &[Wanted<B>],
        vital: Option<B::Id>,
    ) -> HashMap<[u8; 32], Landed<B>> {
        let mut landed = HashMap::new();
        let mut missing = Vec::new();
        for wanted in wanted {
            match self.at_hand(wanted) {
                Some(blob) => {
                    landed.insert(wanted.id.hash(), Landed::Blob(blob));
                }
                None => missing.push(*wanted),
            }
        }
        let missing = self.land_from_files(missing, &mut landed).await;
        let Boarded { under_way, new } = self.board(missing);
        // Waiting for what others have asked for costs no request.
        let under_way = under_way.into_iter().collect::<FuturesUnordered<_>>();
        let new = stream::iter(new).buffer_unordered(CONCURRENCY);
        let mut results = stream::select(under_way, new);
        while let Some(results) = results.next().await {
            match &*results {
                Ok(blobs) => {
                    landed.extend(blobs.iter().map(|(hash, blob)| (*hash, Landed::Blob(blob.clone()))));
                }
                Err((hashes, error)) => {
                    landed.extend(hashes.iter().map(|hash| (*hash, Landed::Failed(error.clone()))));
                    if vital.is_some_and(|id| hashes.contains(&id.hash())) {
                        break;
                    }
                }
            }
        }
        landed
    }

    /// What landed, or the slow way for what did not.
    async fn take<B: Blob>(
        &self,
        wanted: Wanted<B>,
        landed: &HashMap<[u8; 32], Landed<B>>,
    ) -> Result<Arc<B>, RepoError> {
        match landed.get(&wanted.id.hash()) {
            Some(Landed::Blob(blob)) => Ok(blob.clone()),
            Some(Landed::Failed(error)) => Err(repeated(error)),
            None => self.recover(wanted).await,
        }
    }
}

/// What became of a blob that was fetched with others.
enum Landed<B> {
    Blob(Arc<B>),
    Failed(Arc<RepoError>),
}

impl Inner {
    fn keep<B: Blob>(&self, id: B::Id, blob: B, arrived: Arrived<'_>) -> Arc<B> {
        let hash = id.hash();
        match B::KEPT {
            Kept::Slabs if self.to_slab(&hash, &arrived) => return Arc::new(blob),
            Kept::Files if self.cache.get().is_some() => return Arc::new(blob),
            Kept::Slabs | Kept::Files => {}
            Kept::Index => {
                if let Some(index) = &self.index {
                    index.put_node(hash, arrived.raw);
                }
            }
        }
        B::shelf(self).memory.put(hash, blob)
    }

    fn pack_key<B: Blob>(at: &Location) -> Key {
        layout::pack(PackKind::of_blob(B::KIND), at.pack)
    }
}

/// A blob as it came: verified.
struct Arrived<'a> {
    raw: Bytes,
    stored: &'a [u8],
    /// Where it was read; `None` when that is not known.
    at: Option<Location>,
}

/// Whether the object is not there, or not as long as the hint has it: the hint is stale, or the pack is damaged.
fn is_gone(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::NotFound | StoreErrorKind::OutOfRange)
}

/// The blob and its raw bytes, verified.
fn decode_stored<B: Blob>(
    id: B::Id,
    stored: &[u8],
    unpack: impl FnOnce(&[u8], usize) -> Result<Bytes, FormatError>,
) -> Result<(B, Bytes), FormatError> {
    let raw = unpack(stored, B::KIND.max_raw_bytes())?;
    let blob = B::decode(id, raw.clone())?;
    Ok((blob, raw))
}

/// A blob for messages: `meta/ab/abcd... at byte 25 (tree node 12ab...)`.
fn describe<B: Blob>(id: B::Id, at: Option<&Location>) -> String {
    struct Place<'a>(Option<&'a Location>, Key);
    impl fmt::Display for Place<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0 {
                Some(at) => write!(f, "{} at byte {}", self.1, at.offset),
                None => f.write_str("no known pack"),
            }
        }
    }
    let key = at.map_or_else(|| Key::new(""), Inner::pack_key::<B>);
    format!("{} ({} {id})", Place(at, key), B::NOUN)
}
