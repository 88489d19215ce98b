//! Which long content on this machine's disk holds a chunk: how the next version of a file finds what it has in common with
//! the one before.
//!
//! A hint, as every location: the content may have been evicted since, and what is read there proves itself by its hash.
//! Beside the locations in packs, in the same tables: their keys are longer, so the two are never mixed up.
//!
//! Two contents are remembered for each chunk. The newest, which will stay longest, and the one before it, which is there when
//! the newest was never completed.

use bytes::Bytes;

use super::small_files;
use super::{Index, Twin, Write};
use crate::types::ChunkId;

/// A part of a content in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldChunk {
    /// What names the content.
    pub content: [u8; 32],
    /// The size of the content in bytes, which is part of its name.
    pub size: u64,
    /// Where the chunk begins in it.
    pub offset: u64,
    /// The chunk's length in bytes.
    pub len: u32,
}

/// Bytes of an encoded place.
const PLACE_BYTES: usize = 32 + 8 + 8 + 4;

/// Contents that are remembered for a chunk.
const PLACES: usize = 2;

impl Index {
    /// Where in long contents of the cache a chunk was put, the last first.
    pub fn get_held(&self, chunk: &ChunkId) -> Vec<HeldChunk> {
        let value = self.queue.get(Twin::Locations, chunk.as_bytes());
        value.and_then(|value| decode(chunk, &value)).unwrap_or_default()
    }

    /// Remembers where in long contents of the cache chunks were put.
    pub fn put_held(&self, chunks: impl IntoIterator<Item = (ChunkId, HeldChunk)>) {
        let write = |(chunk, held): (ChunkId, HeldChunk)| {
            let mut places = self.get_held(&chunk);
            places.retain(|place| place.content != held.content);
            places.insert(0, held);
            places.truncate(PLACES);
            Write::put(Twin::Locations, chunk.as_bytes(), &encode(&chunk, &places))
        };
        // First all look-ups: the queue is locked while it takes what it is given.
        let writes: Vec<_> = chunks.into_iter().map(write).collect();
        self.queue.put(writes);
    }
}

/// Little-endian, and four bytes of BLAKE3 over key and value, as of a location.
fn encode(chunk: &ChunkId, places: &[HeldChunk]) -> Bytes {
    let mut value = Vec::with_capacity(places.len() * PLACE_BYTES + 4);
    for held in places {
        value.extend_from_slice(&held.content);
        value.extend_from_slice(&held.size.to_le_bytes());
        value.extend_from_slice(&held.offset.to_le_bytes());
        value.extend_from_slice(&held.len.to_le_bytes());
    }
    let check = small_files::check(chunk.as_bytes(), &value);
    value.extend_from_slice(&check[..4]);
    value.into()
}

fn decode(chunk: &ChunkId, value: &[u8]) -> Option<Vec<HeldChunk>> {
    let (body, check) = value.split_at_checked(value.len().checked_sub(4)?)?;
    if check != &small_files::check(chunk.as_bytes(), body)[..4] || !body.len().is_multiple_of(PLACE_BYTES) {
        return None;
    }
    let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
    let place = |bytes: &[u8]| {
        Some(HeldChunk {
            content: bytes[..32].try_into().ok()?,
            size: number(&bytes[32..40])?,
            offset: number(&bytes[40..48])?,
            len: u32::from_le_bytes(bytes[48..].try_into().ok()?),
        })
    };
    body.chunks(PLACE_BYTES).take(PLACES).map(place).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::IndexOptions;
    use super::*;
    use crate::types::{Location, PackId, RepoUuid};

    fn held(content: u8) -> HeldChunk {
        HeldChunk { content: [content; 32], size: u64::MAX - 1, offset: 1 << 40, len: 4 << 20 }
    }

    #[test]
    fn what_is_read_is_what_was_written_and_of_that_chunk() {
        let places = vec![held(1), HeldChunk { offset: 0, ..held(2) }];
        let (chunk, other) = (ChunkId::of(b"one"), ChunkId::of(b"other"));
        let value = encode(&chunk, &places);
        assert_eq!(decode(&chunk, &value), Some(places));
        assert_eq!(decode(&other, &value), None);
        for at in 0..value.len() {
            let mut wrong = value.to_vec();
            wrong[at] ^= 1;
            assert_eq!(decode(&chunk, &wrong), None, "byte {at}");
            assert_eq!(decode(&chunk, &value[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn the_last_two_contents_are_remembered_and_places_in_packs_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), &IndexOptions::default()).unwrap();
        let chunk = ChunkId::of(b"chunk");
        let at = Location { pack: PackId::from_bytes([2; 16]), offset: 5, len: 6 };
        index.put_locations(&RepoUuid::NIL, [(chunk, at)]);
        assert_eq!(index.get_held(&chunk), []);
        for (next, then) in [(1, vec![1]), (1, vec![1]), (2, vec![2, 1]), (1, vec![1, 2]), (3, vec![3, 1])] {
            index.put_held([(chunk, held(next))]);
            assert_eq!(index.get_held(&chunk), then.into_iter().map(held).collect::<Vec<_>>());
        }
        assert_eq!(index.get_location(&RepoUuid::NIL, &chunk), Some(at));
    }
}
