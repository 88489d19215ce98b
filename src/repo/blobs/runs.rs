//! Many blobs in few requests: neighbours in a pack are fetched as one range.
//!
//! A run is best effort. A blob that does not arrive whole (a stale hint, damage) is left out, and whoever asked for it
//! goes the slow way; only a failure of the store itself is reported to everyone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::format::{BlobKind, MAX_NODE_BYTES, MAX_STORED_BLOB_BYTES, StoredBlob};
use crate::repo::RepoError;
use crate::types::Location;

use super::flight::{RunFlight, RunResult};
use super::{Arrived, Blob, Blobs, Hash, Inner, Kept, Wanted, decode_stored, is_gone};

/// Bytes that may lie unused between two blobs of one run: at 90 MB/s they cost less than a twentieth of a round trip.
const GAP_BYTES: u64 = 64 << 10;

/// Longest run. A run is held in memory as a whole; from some megabytes on the round trip no longer counts.
const RUN_BYTES: u64 = 8 << 20;

/// Runs from this size on are verified and unpacked on a thread of their own: a millisecond of work at most is done
/// between two polls.
const INLINE_BYTES: usize = 1 << 20;

/// Blobs of one pack in one range.
#[derive(Debug)]
struct Run<B: Blob> {
    range: Location64,
    items: Vec<(B::Id, Location)>,
}

/// The requests that bring what is missing.
pub(super) struct Boarded<B: Blob> {
    /// Others have sent them.
    pub(super) under_way: Vec<RunFlight<B>>,
    /// Nobody has sent them yet: they begin when they are waited for.
    pub(super) new: Vec<RunFlight<B>>,
}

/// A range of a pack.
#[derive(Debug, Clone, Copy)]
struct Location64 {
    start: u64,
    end: u64,
}

/// Whether a hint can be of a blob of this kind: a wild one must not make us fetch megabytes.
pub(super) fn is_plausible(kind: BlobKind, at: &Location) -> bool {
    let longest = match kind {
        BlobKind::Chunk => MAX_STORED_BLOB_BYTES,
        // A node that does not compress, and its frame byte.
        BlobKind::TreeNode | BlobKind::ManifestNode | BlobKind::Xattrs => MAX_NODE_BYTES as u32 + 64,
    };
    (1..=longest).contains(&at.len) && at.end().is_some()
}

impl Blobs {
    /// The requests, under way or new, that bring what is missing. Blobs without a hint are left out. The request that
    /// brings the first blob is the first of its kind: nothing is to be waited for before it.
    pub(super) fn board<B: Blob>(&self, missing: Vec<Wanted<B>>) -> Boarded<B> {
        let mut boarded = Boarded { under_way: Vec::new(), new: Vec::new() };
        let Some(first) = missing.first().map(|wanted| wanted.id) else { return boarded };
        let shelf = B::shelf(&self.inner);
        let mut new = Vec::new();
        let mut table = shelf.flights.table();
        for Wanted { id, hint } in missing {
            let hash = id.hash();
            if let Some(flight) = table.run(&hash) {
                boarded.under_way.push(flight);
            } else if shelf.memory.get(&hash).is_none()
                && let Some(at) = hint.filter(|at| is_plausible(B::KIND, at))
            {
                new.push((id, at));
            }
        }
        let mut runs = plan::<B>(new);
        if let Some(at) = runs.iter().position(|run| run.items.iter().any(|(id, _)| *id == first)) {
            runs[..=at].rotate_right(1);
        }
        for run in runs {
            let hashes = run.items.iter().map(|(id, _)| id.hash()).collect();
            let inner = self.inner.clone();
            boarded.new.push(table.start_run(self, hashes, async move { inner.fly(run).await }));
        }
        boarded
    }
}

/// Sorts blobs by place and joins neighbours.
fn plan<B: Blob>(mut wanted: Vec<(B::Id, Location)>) -> Vec<Run<B>> {
    wanted.sort_by_key(|(_, at)| (at.pack, at.offset, at.len));
    wanted.dedup_by_key(|(id, _)| *id);
    let mut runs: Vec<Run<B>> = Vec::new();
    for (id, at) in wanted {
        // Plausible, so the end exists.
        let end = at.end().unwrap_or(u64::MAX);
        match runs.last_mut() {
            Some(run)
                if run.items[0].1.pack == at.pack
                    && at.offset <= run.range.end + GAP_BYTES
                    && end.max(run.range.end) - run.range.start <= RUN_BYTES =>
            {
                run.range.end = run.range.end.max(end);
                run.items.push((id, at));
            }
            _ => runs.push(Run { range: Location64 { start: at.offset, end }, items: vec![(id, at)] }),
        }
    }
    runs
}

impl Inner {
    async fn fly<B: Blob>(self: Arc<Self>, run: Run<B>) -> RunResult<B> {
        let Run { range, items } = run;
        let key = Self::pack_key::<B>(&items[0].1);
        let bytes = match self.store.get_range(&key, range.start..range.end).await {
            Ok(bytes) => bytes,
            Err(error) if is_gone(error.kind()) => return Ok(Vec::new()),
            Err(error) => {
                let hashes = items.iter().map(|(id, _)| id.hash()).collect();
                return Err((hashes, Arc::new(RepoError::from(error))));
            }
        };
        // Slabs are files, whose disk may make a writer wait.
        if bytes.len() < INLINE_BYTES && B::KEPT != Kept::Slabs {
            return Ok(self.unpack_run(range, &items, &bytes));
        }
        // A worker that dies leaves the blobs to the slow way.
        Ok(spawn_blocking(move || self.unpack_run(range, &items, &bytes)).await.unwrap_or_default())
    }

    fn unpack_run<B: Blob>(
        &self,
        range: Location64,
        items: &[(B::Id, Location)],
        bytes: &Bytes,
    ) -> Vec<([u8; 32], Arc<B>)> {
        let unpack = |(id, at): &(B::Id, Location)| {
            let start = usize::try_from(at.offset - range.start).ok()?;
            let stored = bytes.get(start..)?.get(..at.len as usize)?;
            // Without a copy where nothing here keeps the blob, and with it all of the run, alive.
            let goes_on = B::KEPT == Kept::Files && self.cache.get().is_some();
            let (blob, raw) = decode_stored::<B>(*id, stored, |stored, longest| match goes_on {
                true => StoredBlob::unpack_shared(&bytes.slice_ref(stored), longest),
                false => StoredBlob::unpack(stored, longest),
            })
            .ok()?;
            Some((id.hash(), self.keep(*id, blob, Arrived { raw, stored, at: Some(*at) })))
        };
        items.iter().filter_map(unpack).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RawChunk;
    use super::*;
    use crate::types::{ChunkId, PackId};

    fn at(pack: u8, offset: u64, len: u32) -> (ChunkId, Location) {
        let pack = PackId::from_bytes([pack; 16]);
        (ChunkId::of(&offset.to_le_bytes()), Location { pack, offset, len })
    }

    fn ranges(wanted: Vec<(ChunkId, Location)>) -> Vec<(u64, u64, usize)> {
        plan::<RawChunk>(wanted).iter().map(|r| (r.range.start, r.range.end, r.items.len())).collect()
    }

    #[test]
    fn neighbours_share_a_request() {
        assert_eq!(ranges(vec![at(1, 100, 50), at(1, 25, 75), at(1, 25, 75)]), [(25, 150, 2)]);
        assert_eq!(ranges(vec![at(1, 0, 10), at(2, 10, 10)]).len(), 2);
        assert_eq!(ranges(vec![at(1, 0, 10), at(1, 10 + GAP_BYTES, 10)]).len(), 1);
        assert_eq!(ranges(vec![at(1, 0, 10), at(1, 11 + GAP_BYTES, 10)]).len(), 2);
    }

    #[test]
    fn runs_end_at_their_limit() {
        let chunks: Vec<_> = (0..9).map(|i| at(1, i << 20, 1 << 20)).collect();
        assert_eq!(ranges(chunks), [(0, 8 << 20, 8), (8 << 20, 9 << 20, 1)]);
        // Blobs that claim to overlap do not shrink a run.
        assert_eq!(ranges(vec![at(1, 0, 100), at(1, 10, 5), at(1, 12, 200)]), [(0, 212, 3)]);
    }

    #[test]
    fn wild_hints_are_not_followed() {
        assert!(is_plausible(BlobKind::TreeNode, &at(1, 0, 1 << 20).1));
        assert!(!is_plausible(BlobKind::TreeNode, &at(1, 0, 2 << 20).1));
        assert!(!is_plausible(BlobKind::Chunk, &at(1, u64::MAX, 1).1));
        assert!(!is_plausible(BlobKind::Chunk, &at(1, 0, 0).1));
    }
}
