//! Where stored bytes lie. A location is a hint beside a hash, never part of an identity: repacking moves
//! bytes and changes no id.

use super::PackId;

/// One stored blob inside a pack: `len` stored bytes (frame byte included) from `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// Offset of the blob's first stored byte in the pack, in bytes.
    pub offset: u64,
    /// Stored length in bytes, at most `format::MAX_STORED_BLOB_BYTES`.
    pub len: u32,
}

/// A contiguous run of blobs in one pack, fetched with one ranged GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// The pack.
    pub pack: PackId,
    /// Offset of the first byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Location {
    /// The location as a run of one blob.
    pub fn span(&self) -> Span {
        Span { pack: self.pack, offset: self.offset, len: u64::from(self.len) }
    }

    /// Offset just behind the blob; `None` on overflow (a hostile location).
    pub fn end(&self) -> Option<u64> {
        self.offset.checked_add(u64::from(self.len))
    }
}
