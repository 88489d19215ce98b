//! Manifests: the ordered chunks of one file above 1 MiB.

use crate::types::{ChunkId, Location, ManifestId};

use super::FormatError;

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkItem {
    /// The chunk.
    pub id: ChunkId,
    /// Its raw length in bytes, 1 to [`super::MAX_CHUNK_BYTES`].
    pub len: u32,
    /// Where it lies.
    pub hint: Option<Location>,
}

/// A child of an interior manifest node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestChild {
    /// The child.
    pub id: ManifestId,
    /// Chunks below it.
    pub chunks: u64,
    /// Bytes below it.
    pub bytes: u64,
    /// Where it lies.
    pub hint: Option<Location>,
}

/// A node of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestNode {
    /// Level 0: chunks in file order, never empty.
    Leaf(Vec<ChunkItem>),
    /// Level 1 and up, never empty.
    Interior {
        /// Distance from the leaves, 1 to 7.
        level: u8,
        /// In file order.
        children: Vec<ManifestChild>,
    },
}

impl ManifestNode {
    /// The node's id and its blob.
    pub fn encode(&self) -> (ManifestId, Vec<u8>) {
        unimplemented!()
    }

    /// Decodes a blob and checks its hash and every rule.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(_id: ManifestId, _blob: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Interior { level, .. } => *level,
        }
    }

    /// Chunks and bytes below this node.
    pub fn totals(&self) -> (u64, u64) {
        unimplemented!()
    }
}
