//! Bytes of a file.
//!
//! Must always be true: every byte given out came from a chunk whose hash is the one that the tree names, and stands where
//! the lengths inside the hashed manifest put it. A manifest is never loaded as a whole: a read goes down to the
//! chunks that it needs, by the sums in the interior nodes.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;

use crate::format::{
    ChunkItem, Content, EntryBody, EntryHints, FormatError, LeafItem, ManifestChild, ManifestNode,
};
use crate::repo::RepoError;
use crate::repo::blobs::{Blob, Blobs, RawChunk, SmallContent, Wanted, repeated};
use crate::types::{ChunkId, Location, ManifestId};

use super::small::{checked, small};

/// Chunks that are fetched at once: their bytes are held beside the answer.
const BATCH: usize = 8;

/// A chunk and where in the file it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlacedChunk {
    pub(super) offset: u64,
    pub(super) item: ChunkItem,
}

/// Exactly `len` bytes from `offset`, or fewer at the end of the file.
///
/// # Errors
/// [`RepoError::BadPath`] when the entry is no file, or its content lies outside the repository; damage, a missing
/// object, any failure of the store.
pub(in crate::repo) async fn read(
    blobs: &Blobs,
    item: &LeafItem,
    offset: u64,
    len: usize,
) -> Result<Bytes, RepoError> {
    let bad = |reason: &str| {
        let path = item.key.to_path().map_or_else(|_| format!("{:?}", item.key), |path| path.to_string());
        RepoError::BadPath { path, reason: reason.into() }
    };
    let EntryBody::File { size, content } = &item.entry.body else { return Err(bad("is not a file")) };
    let end = offset.saturating_add(len as u64).min(*size);
    if offset >= end {
        return Ok(Bytes::new());
    }
    let range = offset..end;
    let EntryHints { content: hint, .. } = item.hints;
    match content {
        Content::Empty => Ok(Bytes::new()),
        // Decoding has checked that the length is the size.
        Content::Inline(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
        Content::Chunk(_) if let Some(wanted) = small(item) => {
            let content = blobs.get::<SmallContent>(wanted.id, wanted.hint).await?;
            Ok(checked(blobs, item, &content)?.slice(range.start as usize..range.end as usize))
        }
        Content::Chunk(id) => {
            let whole = PlacedChunk { offset: 0, item: ChunkItem { id: *id, len: *size as u32, hint } };
            join(blobs, &[whole], range).await
        }
        Content::Manifest(id) => {
            let chunks = chunks_of(blobs, *id, hint, *size, range.clone()).await?;
            join(blobs, &chunks, range).await
        }
        Content::External(object) => Err(bad(&format!(
            "its content is the object s3://{}/{}, which this version cannot read",
            object.bucket, object.key
        ))),
    }
}

/// The pieces of the content that cover `range`, which lies within the file and is not empty: each is fetched and verified as a
/// whole.
///
/// # Errors
/// As [`read`].
pub(in crate::repo) async fn pieces(
    blobs: &Blobs,
    item: &LeafItem,
    range: Range<u64>,
) -> Result<Vec<Range<u64>>, RepoError> {
    match &item.entry.body {
        EntryBody::File { size, content: Content::Manifest(id) } => {
            let chunks = chunks_of(blobs, *id, item.hints.content, *size, range).await?;
            Ok(chunks.iter().map(|c| c.offset..c.offset + u64::from(c.item.len)).collect())
        }
        body => Ok(match body {
            EntryBody::File { size, .. } if *size > 0 => std::iter::once(0..*size).collect(),
            _ => Vec::new(),
        }),
    }
}

/// Pieces that [`pieces`] has named, in order, each with an outcome of its own; those that lie together in a pack come in one
/// request.
///
/// # Errors
/// As [`read`], for each piece.
pub(in crate::repo) async fn read_chunks(
    blobs: &Blobs,
    item: &LeafItem,
    ranges: &[Range<u64>],
) -> Vec<Result<Bytes, RepoError>> {
    let (EntryBody::File { size, content: Content::Manifest(id) }, [first, .., last]) =
        (&item.entry.body, ranges)
    else {
        let read_each =
            |range: &Range<u64>| read(blobs, item, range.start, (range.end - range.start) as usize);
        return join_all(ranges.iter().map(read_each)).await;
    };
    let chunks = match chunks_of(blobs, *id, item.hints.content, *size, first.start..last.end).await {
        Ok(chunks) => chunks,
        Err(error) => return ranges.iter().map(|_| Err(repeated(&error))).collect(),
    };
    let asked = |chunk: &PlacedChunk| ranges.binary_search_by_key(&chunk.offset, |range| range.start).is_ok();
    let chunks: Vec<_> = chunks.into_iter().filter(asked).collect();
    let wanted: Vec<_> = chunks.iter().map(|c| Wanted::new(c.item.id, c.item.hint)).collect();
    let raws = blobs.get_each::<RawChunk>(&wanted).await;
    chunks.iter().zip(raws).map(|(chunk, raw)| checked_chunk(blobs, &chunk.item, &*raw?)).collect()
}

/// The contents of files of at most one chunk, in order: those that lie together come in one request.
///
/// # Errors
/// As [`read`], for the first that cannot be had.
pub(in crate::repo) async fn read_short(
    blobs: &Blobs,
    items: impl Iterator<Item = &LeafItem> + Clone,
) -> Result<Vec<Bytes>, RepoError> {
    let wanted: Vec<_> = items
        .clone()
        .filter_map(|item| match &item.entry.body {
            EntryBody::File { content: Content::Chunk(id), .. } => Some(Wanted::new(*id, item.hints.content)),
            _ => None,
        })
        .collect();
    let mut chunks = blobs.get_all::<RawChunk>(&wanted).await?.into_iter();
    let mut contents = Vec::new();
    for item in items {
        contents.push(match &item.entry.body {
            EntryBody::File { size, content: Content::Chunk(id) } => {
                let raw = chunks.next().map(|chunk| chunk.0.clone()).unwrap_or_default();
                if raw.len() as u64 != *size {
                    let chunk = ChunkItem { id: *id, len: 0, hint: item.hints.content };
                    let rule = format!("{id} has {} bytes where {size} were announced", raw.len());
                    return Err(damaged_chunk(blobs, &chunk, rule));
                }
                raw
            }
            _ => read(blobs, item, 0, usize::try_from(item.entry.size()).unwrap_or(usize::MAX)).await?,
        });
    }
    Ok(contents)
}

/// The bytes of `range` out of the chunks that cover it.
async fn join(blobs: &Blobs, chunks: &[PlacedChunk], range: Range<u64>) -> Result<Bytes, RepoError> {
    let mut joined = BytesMut::new();
    for batch in chunks.chunks(BATCH) {
        let wanted: Vec<_> = batch.iter().map(|c| Wanted::new(c.item.id, c.item.hint)).collect();
        let raws: Vec<Arc<RawChunk>> = blobs.get_all(&wanted).await?;
        for (PlacedChunk { offset, item }, raw) in batch.iter().zip(raws) {
            let bytes = checked_chunk(blobs, item, &raw)?;
            let from = range.start.saturating_sub(*offset) as usize;
            let to = (range.end - offset).min(u64::from(item.len)) as usize;
            if chunks.len() == 1 {
                return Ok(bytes.slice(from..to));
            }
            joined.extend_from_slice(&bytes[from..to]);
        }
    }
    Ok(joined.freeze())
}

/// The bytes of a chunk, if they are as many as the manifest says.
fn checked_chunk(blobs: &Blobs, item: &ChunkItem, RawChunk(bytes): &RawChunk) -> Result<Bytes, RepoError> {
    if bytes.len() as u64 == u64::from(item.len) {
        return Ok(bytes.clone());
    }
    let rule = format!("{} has {} bytes where {} were announced", item.id, bytes.len(), item.len);
    Err(damaged_chunk(blobs, item, rule))
}

fn damaged_chunk(blobs: &Blobs, item: &ChunkItem, rule: String) -> RepoError {
    let (id, hint): (ChunkId, _) = (item.id, item.hint);
    blobs.damaged::<RawChunk>(id, hint, FormatError::malformed("chunk", rule))
}

/// The chunks that cover `range` of the content with this manifest.
pub(super) async fn chunks_of(
    blobs: &Blobs,
    id: ManifestId,
    hint: Option<Location>,
    size: u64,
    range: Range<u64>,
) -> Result<Vec<PlacedChunk>, RepoError> {
    let damaged = |id, hint, source| blobs.damaged::<ManifestNode>(id, hint, source);
    let root: Arc<ManifestNode> = blobs.get(id, hint).await?;
    let (_, bytes) = root.totals();
    if bytes != size {
        let rule = format!("{id} holds {bytes} bytes, its entry says {size}");
        return Err(damaged(id, hint, FormatError::malformed(ManifestNode::NOUN, rule)));
    }
    let mut nodes = vec![(0, root)];
    loop {
        let mut chunks = Vec::new();
        let mut children: Vec<(u64, u8, ManifestChild)> = Vec::new();
        for (start, node) in &nodes {
            let mut offset = *start;
            match &**node {
                ManifestNode::Leaf(items) => {
                    for item in items {
                        let end = offset + u64::from(item.len);
                        if end > range.start && offset < range.end {
                            chunks.push(PlacedChunk { offset, item: *item });
                        }
                        offset = end;
                    }
                }
                ManifestNode::Interior { level, children: items } => {
                    for item in items {
                        let end = offset + item.bytes;
                        if end > range.start && offset < range.end {
                            children.push((offset, *level, *item));
                        }
                        offset = end;
                    }
                }
            }
        }
        // All nodes of one step have the same level: each was checked to be one below its parent.
        if children.is_empty() {
            return Ok(chunks);
        }
        let wanted: Vec<_> = children.iter().map(|(_, _, c)| Wanted::new(c.id, c.hint)).collect();
        let found: Vec<Arc<ManifestNode>> = blobs.get_all(&wanted).await?;
        nodes.clear();
        for ((offset, level, child), node) in children.into_iter().zip(found) {
            node.check_as_child(level, &child).map_err(|source| damaged(child.id, child.hint, source))?;
            nodes.push((offset, node));
        }
    }
}
