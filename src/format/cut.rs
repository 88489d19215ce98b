//! Where the sorted map and the manifests are cut into nodes: by content, so that equal content has equal nodes
//! whatever the history.
//!
//! A cut depends on nothing but the items since the last cut, so two sequences that agree from some item on are
//! cut alike soon behind it (`docs/format.md` has the measured numbers). Sizes count keys in full and leave hints
//! out: neither compression nor the place of blobs moves a cut.
//!
//! Levels end: no node but the last of its level has fewer than [`NodeCutter::MIN_ITEMS`] items. The hash rule
//! is not asked before that, and the maximum cannot force a cut before it, because items are shorter than 11 KiB and
//! eight of them than 128 KiB. So n nodes of one level have at most ceil(n / 8) parents, whatever keys an adversary
//! chooses, and 2^43 entries need at most 15 levels.

use super::manifest::MAX_ITEMS;
use super::{ChildItem, LeafItem, MAX_TREE_NODE_ITEM_BYTES};

/// Decides after which item a tree node ends. Deterministic in the items since the last cut.
#[derive(Debug, Clone)]
pub struct NodeCutter {
    seed: [u8; 32],
    level: u8,
    size: usize,
    items: usize,
}

impl NodeCutter {
    /// A node with fewer items does not end, unless the level does.
    pub const MIN_ITEMS: usize = 8;

    /// A smaller node does not end, unless the level does: bounds the number of nodes.
    const MIN: usize = 8 << 10;

    /// From this size on cuts are likely.
    const TARGET: usize = 32 << 10;

    /// No node is larger.
    const MAX: usize = MAX_TREE_NODE_ITEM_BYTES;

    /// Below the target one cut is to be expected in 128 KiB (2^64 / 2^47 = 2^17), above it in 8 KiB. The first, low
    /// rate gives most nodes a chance to end early, so that two sequences fall into step again; the second keeps
    /// sizes near the target.
    const SHIFT_BELOW: u32 = 47;
    const SHIFT_ABOVE: u32 = 51;

    /// A cutter at the beginning of a node of `level`, seeded by the repository.
    pub fn new(seed: [u8; 32], level: u8) -> Self {
        Self { seed, level, size: 0, items: 0 }
    }

    /// Whether the node must end BEFORE an item of this size, because it would grow beyond its maximum.
    /// The caller then starts a new node ([`NodeCutter::restart`]) and pushes the item there.
    pub fn must_end_before(&self, cut_size: usize) -> bool {
        self.size > 0 && self.size + cut_size > Self::MAX
    }

    /// Takes a leaf item; true when the node ends behind it (the cutter then stands at a new node).
    pub fn push_leaf(&mut self, item: &LeafItem) -> bool {
        self.push(item.key.as_bytes(), item.cut_size())
    }

    /// Takes a child item; true when the node ends behind it.
    pub fn push_child(&mut self, item: &ChildItem) -> bool {
        self.push(item.last_key.as_bytes(), item.cut_size())
    }

    /// Back to the beginning of a node.
    pub fn restart(&mut self) {
        self.size = 0;
        self.items = 0;
    }

    fn push(&mut self, key: &[u8], cut_size: usize) -> bool {
        self.size += cut_size;
        self.items += 1;
        let ends = self.size >= Self::MIN && self.items >= Self::MIN_ITEMS && {
            let shift = if self.size < Self::TARGET { Self::SHIFT_BELOW } else { Self::SHIFT_ABOVE };
            u128::from(self.hash(key)) < (cut_size as u128) << shift
        };
        if ends {
            self.restart();
        }
        ends
    }

    /// Seeded, so that nobody who does not know the repository can choose keys that are cut badly.
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.seed);
        hasher.update(&[self.level]).update(key);
        first_u64(hasher.finalize().as_bytes())
    }
}

/// Decides after which item a manifest node ends: behind an id that happens to be small. Ids are hashes already, on
/// every level, so neither seed nor level is mixed in: one rule for all.
#[derive(Debug, Clone, Default)]
pub struct ManifestCutter {
    items: usize,
}

impl ManifestCutter {
    /// A node with fewer items does not end, unless the level does.
    const MIN: usize = 128;

    /// No node has more items.
    const MAX: usize = MAX_ITEMS;

    /// One id in 384 is below it: 128 + 384 is about 512 items on average.
    const BELOW: u64 = u64::MAX / 384;

    /// A cutter at the beginning of a manifest node.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the 32-byte id of a chunk or child; true when the node ends behind it (the cutter then stands at a new
    /// node).
    pub fn push(&mut self, id: &[u8; 32]) -> bool {
        self.items += 1;
        let ends = self.items >= Self::MAX || (self.items >= Self::MIN && first_u64(id) < Self::BELOW);
        if ends {
            self.items = 0;
        }
        ends
    }
}

/// The first eight bytes, little-endian.
fn first_u64(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
