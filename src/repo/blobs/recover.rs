//! The slow way to a blob that is not whole where its hint says.
//!
//! In this order, and each at most once: the hint again (bytes may have been flipped on their way); where this machine
//! last saw the chunk; where the pack was moved to; every index of the repository. The last is a search through
//! all packs' indexes, so it is bounded ([`SEARCH_INDEXES`], [`SEARCH_SECONDS`]), only one runs at a time, and what it
//! did not find is not searched again for a while. Then it is an error that names the place and the id.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::format::{BlobKind, FormatError, MovedPack, PackIndex, StoredBlob};
use crate::repo::{RepoError, layout};
use crate::store::{Key, ListRequest};
use crate::types::{ChunkId, Location, PackId};

use super::flight::repeated;
use super::runs::is_plausible;
use super::{Arrived, Blob, Blobs, Hash, Inner, Kept, Wanted, decode_stored, describe, is_gone};

/// Packs that a search looks through: 64 GiB of small files, 250 GiB of data; a minute's work at most.
const SEARCH_INDEXES: usize = 4096;

/// Longest search.
const SEARCH_SECONDS: u64 = 30;

/// How long a blob that was not found is not searched for again.
const LOST_FOR: Duration = Duration::from_secs(60);

/// Blobs and packs that are remembered as lost or moved; beyond that all are forgotten.
const REMEMBERED: usize = 4096;

/// A pack that was moved may have been moved again.
const MAX_MOVES: usize = 4;

const CONCURRENCY: usize = 16;

/// What is known of blobs and packs that are not where they should be.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    moved: Mutex<HashMap<PackId, Option<Arc<MovedPack>>>>,
    lost: Mutex<HashMap<[u8; 32], Instant>>,
    searching: tokio::sync::Mutex<()>,
}

/// What lies at a place.
enum At<B> {
    Found(Arc<B>),
    Gone,
    Damaged(FormatError),
}

impl Blobs {
    /// The slow way, shared by all who need this blob.
    ///
    /// # Errors
    /// [`RepoError::Damaged`], [`RepoError::Missing`], any failure of the store.
    pub(super) async fn recover<B: Blob>(&self, wanted: Wanted<B>) -> Result<Arc<B>, RepoError> {
        // It may have arrived while others were waited for.
        if let Some(blob) = self.at_hand(&wanted) {
            return Ok(blob);
        }
        let flight = {
            let hash = wanted.id.hash();
            let mut table = B::shelf(&self.inner).flights.table();
            let inner = self.inner.clone();
            table.slow(&hash).unwrap_or_else(|| {
                table.start_slow(self, hash, async move { inner.go_slowly::<B>(wanted).await })
            })
        };
        flight.await.map_err(|error| repeated(&error))
    }
}

impl Inner {
    async fn go_slowly<B: Blob>(self: Arc<Self>, wanted: Wanted<B>) -> Result<Arc<B>, RepoError> {
        let id = wanted.id;
        let mut tried = HashSet::new();
        let mut damage = None;
        let hint = wanted.hint.filter(|at| is_plausible(B::KIND, at));
        let seen = self.seen::<B>(&id);
        for place in [hint, seen].into_iter().flatten() {
            if let Some(blob) = self.try_place(id, place, &mut tried, &mut damage).await? {
                return Ok(blob);
            }
        }
        if let (Some(_), Some(index)) = (seen, &self.index) {
            index.forget_location(&self.uuid, &ChunkId::from_bytes(id.hash()));
        }
        let mut pack = hint.map(|at| at.pack);
        for _ in 0..MAX_MOVES {
            let Some(old) = pack else { break };
            let Some(moved) = self.moved(old).await? else { break };
            let Some(place) = moved.find(B::KIND, &id.hash()) else { break };
            if let Some(blob) = self.try_place(id, place, &mut tried, &mut damage).await? {
                return Ok(blob);
            }
            pack = Some(place.pack);
        }
        if !self.recovery.is_lost(&id.hash()) {
            let _alone = self.recovery.searching.lock().await;
            let search = self.search(id, &mut tried, &mut damage);
            // Out of time is as good as not found.
            if let Ok(found) = timeout(Duration::from_secs(SEARCH_SECONDS), search).await
                && let Some(blob) = found?
            {
                return Ok(blob);
            }
            self.recovery.set_lost(id.hash());
        }
        let store = self.store.describe();
        Err(match damage {
            Some((at, source)) => RepoError::Damaged { object: describe::<B>(id, Some(&at)), store, source },
            None => RepoError::Missing { object: describe::<B>(id, wanted.hint.as_ref()), store },
        })
    }

    /// Where this machine last saw the chunk.
    fn seen<B: Blob>(&self, id: &B::Id) -> Option<Location> {
        let index = self.index.as_ref().filter(|_| B::KIND == BlobKind::Chunk)?;
        index.get_location(&self.uuid, &ChunkId::from_bytes(id.hash()))
    }

    async fn try_place<B: Blob>(
        self: &Arc<Self>,
        id: B::Id,
        place: Location,
        tried: &mut HashSet<Location>,
        damage: &mut Option<(Location, FormatError)>,
    ) -> Result<Option<Arc<B>>, RepoError> {
        if !is_plausible(B::KIND, &place) || !tried.insert(place) {
            return Ok(None);
        }
        match self.read_at::<B>(id, &place).await? {
            At::Found(blob) => {
                if let Some(index) = self.index.as_ref().filter(|_| B::KIND == BlobKind::Chunk) {
                    index.put_locations(&self.uuid, [(ChunkId::from_bytes(id.hash()), place)]);
                }
                Ok(Some(blob))
            }
            At::Gone => Ok(None),
            At::Damaged(source) => {
                damage.get_or_insert((place, source));
                Ok(None)
            }
        }
    }

    async fn read_at<B: Blob>(self: &Arc<Self>, id: B::Id, at: &Location) -> Result<At<B>, RepoError> {
        let range = at.offset..at.offset.saturating_add(u64::from(at.len));
        match self.store.get_range(&Self::pack_key::<B>(at), range).await {
            Ok(stored) => Ok(match decode_stored::<B>(id, &stored, StoredBlob::unpack) {
                Ok((blob, raw)) => {
                    let (inner, at) = (self.clone(), Some(*at));
                    let keep = move || inner.keep(id, blob, Arrived { raw, stored: &stored, at });
                    match B::KEPT {
                        Kept::Slabs => match spawn_blocking(keep).await {
                            Ok(blob) => At::Found(blob),
                            Err(_) => At::Gone,
                        },
                        Kept::Index | Kept::Files => At::Found(keep()),
                    }
                }
                Err(source) => At::Damaged(source),
            }),
            Err(error) if is_gone(error.kind()) => Ok(At::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the pack went; `None` when it was not moved, or when what is written about it cannot be read.
    async fn moved(&self, pack: PackId) -> Result<Option<Arc<MovedPack>>, RepoError> {
        if let Some(known) = lock(&self.recovery.moved).get(&pack) {
            return Ok(known.clone());
        }
        let moved = match self.store.get(&layout::moved(pack)).await {
            Ok(bytes) => MovedPack::decode(pack, &bytes).ok().map(Arc::new),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let mut known = lock(&self.recovery.moved);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(pack, moved.clone());
        Ok(moved)
    }

    async fn search<B: Blob>(
        self: &Arc<Self>,
        id: B::Id,
        tried: &mut HashSet<Location>,
        damage: &mut Option<(Location, FormatError)>,
    ) -> Result<Option<Arc<B>>, RepoError> {
        let mut request = ListRequest::all(layout::INDEX_PREFIX);
        let mut looked = 0;
        loop {
            let page = self.store.list(&request).await?;
            let keys: Vec<Key> =
                page.objects.into_iter().map(|o| o.key).take(SEARCH_INDEXES - looked).collect();
            looked += keys.len();
            // An index that cannot be had or read is passed over: another may do.
            let mut places = stream::iter(keys)
                .map(|key| async move {
                    let bytes = self.store.get(&key).await.ok()?;
                    PackIndex::decode(&bytes).ok()?.find(B::KIND, &id.hash())
                })
                .buffer_unordered(CONCURRENCY);
            while let Some(place) = places.next().await {
                if let Some(place) = place
                    && let Some(blob) = self.try_place(id, place, tried, damage).await?
                {
                    return Ok(Some(blob));
                }
            }
            match page.next {
                Some(next) if looked < SEARCH_INDEXES => request.start_after = Some(next),
                _ => return Ok(None),
            }
        }
    }
}

impl Recovery {
    fn is_lost(&self, hash: &[u8; 32]) -> bool {
        lock(&self.lost).get(hash).is_some_and(|since| since.elapsed() < LOST_FOR)
    }

    fn set_lost(&self, hash: [u8; 32]) {
        let mut lost = lock(&self.lost);
        if lost.len() >= REMEMBERED {
            lost.clear();
        }
        lost.insert(hash, Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held, and the maps are whole at every step.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
