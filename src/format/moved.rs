//! `moved/<old pack>`: where the blobs of a repacked pack went.
//!
//! Magic, the old pack's id, the number of new packs, and for each of them the length and the bytes of its index (which
//! ends with its own hash). A blob that stands in none of them was no longer referenced when the pack was rewritten.

use crate::types::{Location, PackId};

use super::cursor::{Cursor, Sink};
use super::{BlobKind, FormatError, PackIndex};

const WHAT: &str = "moved pack";

/// First bytes; the last one is the version.
const MAGIC: [u8; 8] = *b"ATFSMOV\x01";

/// The packs that took over what a pack held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPack {
    /// The pack that was rewritten.
    pub old: PackId,
    /// The packs written instead, whole indexes.
    pub new: Vec<PackIndex>,
}

impl MovedPack {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.bytes(&MAGIC);
        bytes.bytes(self.old.as_bytes());
        bytes.bytes(&u32::try_from(self.new.len()).unwrap_or(u32::MAX).to_le_bytes());
        for index in &self.new {
            let index = index.encode();
            bytes.bytes(&u32::try_from(index.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.bytes(&index);
        }
        bytes
    }

    /// Decodes the object stored for `old`.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(old: PackId, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(WHAT, bytes);
        let magic: [u8; 8] = cursor.array()?;
        if magic[..7] != MAGIC[..7] || magic[7] == 0 {
            return Err(cursor.malformed(format!("begins with \"{}\"", magic.escape_ascii())));
        }
        if magic[7] != MAGIC[7] {
            let (found, supported) = (magic[7].into(), MAGIC[7].into());
            return Err(FormatError::Newer { what: WHAT, found, supported });
        }
        if cursor.array()? != *old.as_bytes() {
            return Err(cursor.malformed("it speaks of another pack"));
        }
        let count = cursor.u32()?;
        let mut new = Vec::new();
        for _ in 0..count {
            let len = usize::try_from(cursor.u32()?).map_err(|_| FormatError::Truncated { what: WHAT })?;
            new.push(PackIndex::decode(cursor.take(len)?)?);
        }
        cursor.finish()?;
        Ok(Self { old, new })
    }

    /// Where the blob lies now; `None` when it was not kept.
    pub fn find(&self, kind: BlobKind, hash: &[u8; 32]) -> Option<Location> {
        self.new.iter().find_map(|index| index.find(kind, hash))
    }
}

impl PackIndex {
    /// Where the blob lies in this pack; `None` when it does not.
    pub fn find(&self, kind: BlobKind, hash: &[u8; 32]) -> Option<Location> {
        let entry = self.entries.iter().find(|entry| entry.kind == kind && entry.hash == *hash)?;
        Some(Location { pack: self.pack, offset: entry.offset, len: entry.stored_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Compression, PackBuilder, PackKind, StoredBlob};
    use crate::types::ChunkId;

    fn pack(id: u8, raws: &[&[u8]]) -> PackIndex {
        let mut builder = PackBuilder::new(PackId::from_bytes([id; 16]), PackKind::Data);
        for raw in raws {
            let hash = *ChunkId::of(raw).as_bytes();
            builder.push(&StoredBlob::pack(BlobKind::Chunk, hash, raw, Compression::Never));
        }
        PackIndex::decode(&builder.finish().index).expect("valid")
    }

    #[test]
    fn blobs_are_found_where_they_went() {
        let old = PackId::from_bytes([9; 16]);
        let moved = MovedPack { old, new: vec![pack(1, &[b"a", b"b"]), pack(2, &[b"c"])] };
        let bytes = moved.encode();
        assert_eq!(MovedPack::decode(old, &bytes), Ok(moved.clone()));
        let at = moved.find(BlobKind::Chunk, ChunkId::of(b"c").as_bytes()).expect("kept");
        assert_eq!((at.pack, at.offset, at.len), (PackId::from_bytes([2; 16]), 25, 2));
        assert_eq!(moved.find(BlobKind::Chunk, ChunkId::of(b"d").as_bytes()), None);
        assert_eq!(moved.find(BlobKind::TreeNode, ChunkId::of(b"c").as_bytes()), None);
    }

    #[test]
    fn other_bytes_are_refused() {
        let old = PackId::from_bytes([9; 16]);
        let bytes = MovedPack { old, new: vec![pack(1, &[b"a"])] }.encode();
        assert!(MovedPack::decode(PackId::from_bytes([8; 16]), &bytes).is_err());
        for len in 0..bytes.len() {
            assert!(MovedPack::decode(old, &bytes[..len]).is_err(), "{len} bytes");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(MovedPack::decode(old, &damaged).is_err(), "byte {at}");
        }
    }
}
