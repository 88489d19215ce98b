//! What to fetch beside a small file that is read: the small twin of [`super::ahead`].
//!
//! A miss brings the aligned stretch of the pack around the file, since the files of a directory lie together. The
//! stretch begins at [`NEAR_BYTES`], which one request brings hardly later than the file alone, and doubles with each miss
//! in the same pack up to [`LONGEST_STRETCH`]: one file read by itself costs little, a walk or a shuffled epoch soon
//! crosses the network in long requests. What lies beyond the near part comes in the background, within [`BUDGET`]. Where the
//! cache is too small for that, so that neighbours go before they are read, it says so and the file comes alone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::cache::LONGEST_STRETCH;
use crate::format::LeafItem;
use crate::repo::{Beside, RepoError, Snapshot};
use crate::types::PackId;

use super::recent::Recent;

/// First stretch in bytes, and how much of any stretch comes with the file itself: at 90 MB/s it takes 11 ms, less than
/// the 15 ms until a store's first byte.
const NEAR_BYTES: u64 = 1 << 20;

/// MiB that may be under way in the background in this process. What finds no room is left to its readers.
static BUDGET: Semaphore = Semaphore::const_new(128);

/// Packs whose stretch is remembered, at least: a pack of 64 MiB each.
const REMEMBERED: usize = 1024;

/// The stretches of a mount.
#[derive(Debug)]
pub(super) struct Neighbours {
    stretches: Recent<PackId, u64>,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self { stretches: Recent::new(REMEMBERED) }
    }
}

impl Neighbours {
    /// The stretch for a miss in `pack`.
    fn widen(&self, pack: PackId) -> u64 {
        let bytes = self.stretches.get(&pack).map_or(NEAR_BYTES, |bytes| (bytes * 2).min(LONGEST_STRETCH));
        self.stretches.put(pack, bytes);
        bytes
    }

    /// Reads a small content that this machine does not have, with neighbours in a stretch of at most `worth` bytes. `None` when
    /// it is not small.
    ///
    /// # Errors
    /// Those of the repository.
    pub(super) async fn read(
        &self,
        snapshot: &Snapshot,
        rank: u64,
        item: &Arc<LeafItem>,
        worth: u64,
    ) -> Result<Option<Bytes>, RepoError> {
        let Some(hint) = item.hints.content.filter(|_| worth > 0) else {
            return snapshot.read_small(item, &Beside::default()).await;
        };
        let bytes = self.widen(hint.pack).min(worth);
        let mut beside = snapshot.beside(rank, item, bytes).await?;
        let near = beside.take_near(item, NEAR_BYTES);
        if !beside.is_empty()
            && let Ok(permit) = BUDGET.try_acquire_many((bytes >> 20) as u32)
        {
            let snapshot = snapshot.clone();
            tokio::spawn(async move {
                snapshot.fetch(&beside).await;
                drop(permit);
            });
        }
        snapshot.read_small(item, &near).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_double_by_pack_up_to_the_longest() {
        let neighbours = Neighbours::default();
        let (one, other) = (PackId::from_bytes([1; 16]), PackId::from_bytes([2; 16]));
        let widened: Vec<_> = (0..6).map(|_| neighbours.widen(one) >> 20).collect();
        assert_eq!(widened, [1, 2, 4, 8, 16, 16]);
        assert_eq!(neighbours.widen(other), NEAR_BYTES);
    }
}
