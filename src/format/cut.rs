//! Where the sorted map and the manifests are cut into nodes: by content, so that equal content has equal nodes
//! whatever the history.

use super::{ChildItem, LeafItem};

/// Decides after which item a tree node ends. Deterministic in the items since the last cut.
#[derive(Debug, Clone)]
pub struct NodeCutter {
    seed: [u8; 32],
    level: u8,
    size: usize,
}

impl NodeCutter {
    /// A cutter at the beginning of a node of `level`, seeded by the repository.
    pub fn new(seed: [u8; 32], level: u8) -> Self {
        Self { seed, level, size: 0 }
    }

    /// Whether the node must end BEFORE an item of this size, because it would grow beyond its maximum.
    /// The caller then starts a new node ([`NodeCutter::restart`]) and pushes the item there.
    pub fn must_end_before(&self, _cut_size: usize) -> bool {
        unimplemented!()
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
    }

    fn push(&mut self, _key: &[u8], _cut_size: usize) -> bool {
        let _ = (self.seed, self.level, self.size);
        unimplemented!()
    }
}

/// Decides after which item a manifest node ends.
#[derive(Debug, Clone)]
pub struct ManifestCutter {
    level: u8,
    items: usize,
}

impl ManifestCutter {
    /// A cutter at the beginning of a manifest node of `level`.
    pub fn new(level: u8) -> Self {
        Self { level, items: 0 }
    }

    /// Takes the 32-byte id of a chunk or child; true when the node ends behind it.
    pub fn push(&mut self, _id: &[u8; 32]) -> bool {
        let _ = (self.level, self.items);
        unimplemented!()
    }
}
