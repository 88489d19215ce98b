//! Whether two long files have the same bytes.
//!
//! Equal content nearly always has one manifest, not always: a file that was changed in the middle and changed back, or one that
//! another program wrote, may be cut elsewhere. Only a comparison tells then. What both cut alike is not fetched, and
//! the first difference ends it. Memory: two windows of [`WINDOW`] and the chunks at their edges.

use futures_util::future::try_join;

use crate::format::{Content, EntryBody, LeafItem};
use crate::repo::RepoError;
use crate::repo::blobs::Blobs;

use super::read::{PlacedChunk, chunks_of, read};

/// Bytes that are compared at once.
const WINDOW: u64 = 8 << 20;

/// Whether `a` and `b` are files with manifests that differ and bytes that do not.
///
/// # Errors
/// Damage, a missing object, any failure of the store.
pub(in crate::repo) async fn same_bytes(
    blobs: &Blobs,
    a: &LeafItem,
    b: &LeafItem,
) -> Result<bool, RepoError> {
    let (Some((size, root_a)), Some((size_b, root_b))) = (manifest(a), manifest(b)) else { return Ok(false) };
    if size != size_b {
        return Ok(false);
    }
    let mut at = 0;
    while at < size {
        let end = at.saturating_add(WINDOW).min(size);
        let (chunks_a, chunks_b) = try_join(
            chunks_of(blobs, root_a, a.hints.content, size, at..end),
            chunks_of(blobs, root_b, b.hints.content, size, at..end),
        )
        .await?;
        if let Some((from, to)) = uneven(&chunks_a, &chunks_b) {
            let (from, to) = (from.max(at), to.min(end));
            let len = usize::try_from(to - from).unwrap_or(usize::MAX);
            let (bytes_a, bytes_b) = try_join(read(blobs, a, from, len), read(blobs, b, from, len)).await?;
            if bytes_a != bytes_b {
                return Ok(false);
            }
        }
        at = end;
    }
    Ok(true)
}

fn manifest(item: &LeafItem) -> Option<(u64, crate::types::ManifestId)> {
    match &item.entry.body {
        EntryBody::File { size, content: Content::Manifest(id) } => Some((*size, *id)),
        _ => None,
    }
}

/// The range of bytes outside which both are cut alike into equal chunks; `None` when all of it is.
fn uneven(a: &[PlacedChunk], b: &[PlacedChunk]) -> Option<(u64, u64)> {
    let alike = |(a, b): &(&PlacedChunk, &PlacedChunk)| {
        (a.offset, a.item.id, a.item.len) == (b.offset, b.item.id, b.item.len)
    };
    let before = a.iter().zip(b).take_while(alike).count();
    let (rest_a, rest_b) = (&a[before..], &b[before..]);
    let behind = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(alike).count();
    let from = rest_a.first().or(rest_b.first())?.offset;
    let end = |rest: &[PlacedChunk]| {
        rest[..rest.len() - behind].last().map_or(from, |last| last.offset + u64::from(last.item.len))
    };
    Some((from, end(rest_a).max(end(rest_b))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ChunkItem;
    use crate::types::ChunkId;

    /// Chunks of these names and lengths, one behind the other.
    fn chunks(list: &[(u8, u32)]) -> Vec<PlacedChunk> {
        let mut offset = 100;
        let place = |(name, len): &(u8, u32)| {
            let item = ChunkItem { id: ChunkId::of(&[*name]), len: *len, hint: None };
            let placed = PlacedChunk { offset, item };
            offset += u64::from(*len);
            placed
        };
        list.iter().map(place).collect()
    }

    #[test]
    fn what_is_cut_alike_is_left_out() {
        let uneven = |a: &[(u8, u32)], b: &[(u8, u32)]| uneven(&chunks(a), &chunks(b));
        let a = [(1, 10), (2, 10), (3, 10), (4, 10)];
        assert_eq!(uneven(&a, &a), None);
        assert_eq!(uneven(&a, &[(1, 10), (5, 15), (6, 5), (4, 10)]), Some((110, 130)));
        assert_eq!(uneven(&[(1, 10), (4, 10)], &[(5, 10), (4, 10)]), Some((100, 110)));
        // At the edges of a window one side may reach further than the other.
        assert_eq!(uneven(&[(1, 10), (2, 10)], &[(1, 10), (3, 25)]), Some((110, 135)));
        // The same chunk elsewhere is not alike.
        assert_eq!(uneven(&[(1, 10), (2, 10)], &[(2, 10), (1, 10)]), Some((100, 120)));
        assert_eq!(uneven(&[(1, 10), (1, 10)], &[(1, 10)]), Some((110, 120)));
    }
}
