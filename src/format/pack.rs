//! Packs: many blobs in one immutable object, with an index at the end.
//!
//! `magic | pack id | kind | blobs without gaps | index | trailer`. A reader comes with a [`Location`] and takes
//! one ranged GET; only collectors, `verify` and rescuers read the index.

use bytes::Bytes;

use crate::types::{Location, PackId};

use super::cursor::Sink;
use super::pack_index::PACK_MAGIC;
use super::{PackEntry, PackIndex, PackKind, PackTrailer, StoredBlob};

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
    /// An empty pack. It takes only blobs of its kind ([`PackKind::of_blob`]).
    pub fn new(id: PackId, kind: PackKind) -> Self {
        let mut bytes = Vec::new();
        bytes.bytes(&PACK_MAGIC);
        bytes.bytes(id.as_bytes());
        bytes.byte(kind.tag());
        Self { index: PackIndex { pack: id, kind, entries: Vec::new() }, bytes }
    }

    /// Appends a blob and says where it lies.
    pub fn push(&mut self, blob: &StoredBlob) -> Location {
        debug_assert_eq!(PackKind::of_blob(blob.kind), self.index.kind, "a blob in the wrong folder");
        let offset = self.len();
        let len = u32::try_from(blob.stored.len()).unwrap_or(u32::MAX);
        self.bytes.bytes(&blob.stored);
        let (kind, hash, raw_len) = (blob.kind, blob.hash, blob.raw_len);
        self.index.entries.push(PackEntry { kind, hash, offset, stored_len: len, raw_len });
        Location { pack: self.index.pack, offset, len }
    }

    /// The pack's id.
    pub fn id(&self) -> PackId {
        self.index.pack
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
    pub fn finish(mut self) -> FinishedPack {
        let index = self.index.encode();
        let trailer = PackTrailer::of(self.len(), &index);
        self.bytes.bytes(&index);
        self.bytes.bytes(&trailer.encode());
        let PackIndex { pack: id, kind, .. } = self.index;
        FinishedPack { id, kind, bytes: self.bytes.into(), index: index.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BlobKind, Compression, FormatError};
    use crate::types::ChunkId;

    fn filled() -> (FinishedPack, Vec<Location>) {
        let mut builder = PackBuilder::new(PackId::from_bytes([3; 16]), PackKind::Data);
        assert!(builder.is_empty());
        let mut places = Vec::new();
        for raw in [&b"one"[..], b"two", &[0; 5000]] {
            let hash = *ChunkId::of(raw).as_bytes();
            places.push(builder.push(&StoredBlob::pack(BlobKind::Chunk, hash, raw, Compression::IfItPays)));
        }
        (builder.finish(), places)
    }

    #[test]
    fn blobs_lie_where_push_said() {
        let (pack, places) = filled();
        let index = PackIndex::of_pack(&pack.bytes).expect("valid");
        assert_eq!(PackIndex::decode(&pack.index), Ok(index.clone()));
        assert_eq!(index.encode(), pack.index);
        for (entry, place) in index.entries.iter().zip(&places) {
            assert_eq!((entry.offset, entry.stored_len), (place.offset, place.len));
            let start = place.offset as usize;
            let stored = &pack.bytes[start..start + place.len as usize];
            let raw = StoredBlob::unpack(stored, entry.raw_len as usize).expect("unpacks");
            assert_eq!(ChunkId::of(&raw).as_bytes(), &entry.hash);
        }
        let empty = PackBuilder::new(PackId::from_bytes([4; 16]), PackKind::Meta).finish();
        assert_eq!(PackIndex::of_pack(&empty.bytes).expect("valid").entries, []);
    }

    #[test]
    fn every_changed_byte_outside_the_blobs_is_noticed() {
        let (pack, places) = filled();
        let blobs = places[0].offset as usize..places[2].end().expect("small") as usize;
        for at in (0..pack.bytes.len()).filter(|at| !blobs.contains(at)) {
            let mut damaged = pack.bytes.to_vec();
            damaged[at] ^= 1;
            assert!(PackIndex::of_pack(&damaged).is_err(), "byte {at}");
        }
        for len in 0..pack.bytes.len() {
            assert!(PackIndex::of_pack(&pack.bytes[..len]).is_err(), "{len} bytes");
        }
        for len in 0..pack.index.len() {
            assert!(PackIndex::decode(&pack.index[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn an_index_with_a_right_hash_must_still_make_sense() {
        let (pack, _) = filled();
        let good = PackIndex::decode(&pack.index).expect("valid");
        let change = |edit: &dyn Fn(&mut PackIndex)| {
            let mut index = good.clone();
            edit(&mut index);
            PackIndex::decode(&index.encode())
        };
        assert!(change(&|_| ()).is_ok());
        assert!(change(&|i| i.entries[1].offset += 1).is_err());
        assert!(change(&|i| i.entries[0].offset = u64::MAX).is_err());
        assert!(change(&|i| i.entries[2].stored_len = 0).is_err());
        assert!(change(&|i| i.entries[2].stored_len = u32::MAX).is_err());
        assert!(change(&|i| i.entries[2].raw_len = u32::MAX).is_err());
        assert!(change(&|i| i.entries[0].kind = BlobKind::TreeNode).is_err());
        assert!(change(&|i| i.kind = PackKind::Meta).is_err());
        assert!(change(&|i| i.entries.swap(0, 1)).is_err());
    }

    #[test]
    fn newer_packs_say_so() {
        let (pack, _) = filled();
        let mut newer = pack.bytes.to_vec();
        let last = newer.len() - 1;
        newer[last] = 2;
        assert!(matches!(PackIndex::of_pack(&newer), Err(FormatError::Newer { found: 2, .. })));
    }
}
