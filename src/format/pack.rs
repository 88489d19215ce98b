//! Packs: many blobs in one immutable object, with an index at the end.

use bytes::Bytes;

use crate::types::{Location, PackId};

use super::FormatError;

/// What a blob is; part of the pack's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobKind {
    /// A chunk of file content.
    Chunk,
    /// A tree node.
    TreeNode,
    /// A manifest node.
    ManifestNode,
    /// A list of extended attributes.
    Xattrs,
}

/// Which folder a pack lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// `data/`: chunks.
    Data,
    /// `meta/`: tree nodes, manifest nodes, xattr lists.
    Meta,
}

/// Whether a blob is compressed when it is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As it is.
    Never,
    /// zstd if a probe of the bytes shows gain, else as it is.
    IfItPays,
}

/// A blob as it is stored: one frame byte (encoding), then the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// What it is.
    pub kind: BlobKind,
    /// Its id's bytes.
    pub hash: [u8; 32],
    /// Raw length in bytes.
    pub raw_len: u32,
    /// Frame byte and payload.
    pub stored: Bytes,
}

impl StoredBlob {
    /// Frames (and perhaps compresses) raw bytes.
    pub fn pack(_kind: BlobKind, _hash: [u8; 32], _raw: &[u8], _compression: Compression) -> Self {
        unimplemented!()
    }

    /// The raw bytes of stored ones. Not yet verified: the caller checks the hash (by `TreeNode::decode` and so on).
    ///
    /// # Errors
    /// [`FormatError`] when the frame is unknown, the payload does not decompress or exceeds `max_raw` bytes.
    pub fn unpack(_stored: &[u8], _max_raw: usize) -> Result<Bytes, FormatError> {
        unimplemented!()
    }
}

/// One blob in a pack's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// What it is.
    pub kind: BlobKind,
    /// Its id's bytes.
    pub hash: [u8; 32],
    /// Offset of its first stored byte.
    pub offset: u64,
    /// Stored length.
    pub stored_len: u32,
    /// Raw length.
    pub raw_len: u32,
}

/// The index of a pack: stands at its end, and as an object of its own under `index/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    /// The pack.
    pub pack: PackId,
    /// Which folder it lives in.
    pub kind: PackKind,
    /// Its blobs in offset order.
    pub entries: Vec<PackEntry>,
}

impl PackIndex {
    /// Bytes at a pack's end that say where its index is.
    pub const TRAILER_BYTES: usize = 64;

    /// Decodes the object under `index/`.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(_bytes: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
    }

    /// Decodes the index of a whole pack, from its trailer.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn of_pack(_pack: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
    }

    /// Encodes the index as it stands in both places.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }
}

/// A pack being filled.
#[derive(Debug)]
pub struct PackBuilder {
    index: PackIndex,
    bytes: Vec<u8>,
}

/// A pack ready to be written.
#[derive(Debug)]
pub struct FinishedPack {
    /// Its id.
    pub id: PackId,
    /// Which folder.
    pub kind: PackKind,
    /// The object under `data/` or `meta/`.
    pub bytes: Bytes,
    /// The object under `index/`.
    pub index: Bytes,
}

impl PackBuilder {
    /// An empty pack.
    pub fn new(_id: PackId, _kind: PackKind) -> Self {
        unimplemented!()
    }

    /// Appends a blob and says where it lies.
    pub fn push(&mut self, _blob: &StoredBlob) -> Location {
        let _ = &mut self.bytes;
        unimplemented!()
    }

    /// Bytes so far, without the index.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether no blob was pushed.
    pub fn is_empty(&self) -> bool {
        self.index.entries.is_empty()
    }

    /// Appends index and trailer.
    pub fn finish(self) -> FinishedPack {
        unimplemented!()
    }
}
