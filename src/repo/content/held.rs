//! Which chunks the cache has in the files of long contents: said as soon as they are there.

use std::ops::Range;

use crate::format::{ChunkItem, Content, EntryBody, LeafItem};
use crate::meta::HeldChunk;
use crate::repo::blobs::Blobs;

use super::read::{PlacedChunk, chunks_of};

/// What names a content in the cache: its hash, or that of its list of chunks. `None` for one that is not kept there. A chunk
/// and a list are never taken for each other: their contents differ in size, which is part of the name.
pub fn content_name(content: &Content) -> Option<[u8; 32]> {
    match content {
        Content::Chunk(id) => Some(*id.as_bytes()),
        Content::Manifest(id) => Some(*id.as_bytes()),
        Content::Empty | Content::Inline(_) | Content::External(_) => None,
    }
}

/// Notes the chunks that lie whole in `range` of the content of `item`, which is on the cache's disk under the name of that
/// content. What cannot be told is left out.
pub(in crate::repo) async fn note_kept(blobs: &Blobs, item: &LeafItem, range: Range<u64>) {
    let EntryBody::File { size, content } = &item.entry.body else { return };
    let hint = item.hints.content;
    let Some(name) = content_name(content) else { return };
    let chunks = match content {
        Content::Chunk(id) => {
            let Ok(len) = u32::try_from(*size) else { return };
            vec![PlacedChunk { offset: 0, item: ChunkItem { id: *id, len, hint } }]
        }
        Content::Manifest(id) => match chunks_of(blobs, *id, hint, *size, range.clone()).await {
            Ok(chunks) => chunks,
            Err(_) => return,
        },
        Content::Empty | Content::Inline(_) | Content::External(_) => return,
    };
    let held = |PlacedChunk { offset, item }: PlacedChunk| {
        let end = offset + u64::from(item.len);
        let is_whole = range.start <= offset && end <= range.end;
        is_whole.then_some((item.id, HeldChunk { content: name, size: *size, offset, len: item.len }))
    };
    blobs.note_held(chunks.into_iter().filter_map(held));
}
