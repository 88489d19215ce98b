//! The four kinds of blob: how each is decoded, and what it takes in memory.

use std::fmt;

use bytes::Bytes;

use crate::format::{
    BlobKind, ChildItem, Content, Entry, EntryBody, FormatError, LeafItem, ManifestNode, TreeNode, XattrList,
    Xattrs,
};
use crate::types::{ChunkId, ManifestId, NodeId, XattrsId};

use super::{Inner, Shelf};

/// An id that is a hash of 32 bytes.
pub(in crate::repo) trait Hash: Copy + Eq + fmt::Display + Send + Sync + 'static {
    /// The bytes.
    fn hash(&self) -> [u8; 32];
}

macro_rules! hashes {
    ($($id:ty),*) => {$(
        impl Hash for $id {
            fn hash(&self) -> [u8; 32] {
                *self.as_bytes()
            }
        }
    )*};
}

hashes!(NodeId, ManifestId, XattrsId, ChunkId);

/// Something that is stored as a blob.
pub(in crate::repo) trait Blob: Sized + Send + Sync + fmt::Debug + 'static {
    /// What it is asked for by.
    type Id: Hash;

    /// What it is in a pack.
    const KIND: BlobKind;

    /// What it is called in messages.
    const NOUN: &'static str;

    /// Where this machine keeps those that memory does not.
    const KEPT: Kept;

    /// Decodes raw bytes and checks that they are what `id` names.
    fn decode(id: Self::Id, raw: Bytes) -> Result<Self, FormatError>;

    /// Bytes that it takes in memory.
    fn memory_bytes(&self) -> usize;

    /// Where blobs of this kind are kept.
    fn shelf(inner: &Inner) -> &Shelf<Self>;
}

/// Where blobs of a kind are kept on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Kept {
    /// Decoded, in the node's index.
    Index,
    /// As they are stored, in the slabs of the cache.
    Slabs,
    /// As parts of long contents, in the files of the cache, by whoever reads those.
    Files,
}

/// The content of a file that is one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::repo) struct SmallContent(pub(in crate::repo) Bytes);

/// The raw bytes of a chunk of a longer content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::repo) struct RawChunk(pub(in crate::repo) Bytes);

/// What the allocator takes for a piece of `len` bytes: rounded up to 16, and 8 to 16 bytes of its own.
fn heap(len: usize) -> usize {
    if len == 0 { 0 } else { len.next_multiple_of(16) + 16 }
}

impl Blob for TreeNode {
    type Id = NodeId;
    const KIND: BlobKind = BlobKind::TreeNode;
    const NOUN: &'static str = "tree node";
    const KEPT: Kept = Kept::Index;

    fn decode(id: NodeId, raw: Bytes) -> Result<Self, FormatError> {
        let mut node = TreeNode::decode(id, &raw)?;
        // Decoding grows its list by doubling; half of it would lie idle for as long as the node is kept.
        match &mut node {
            TreeNode::Leaf(items) => items.shrink_to_fit(),
            TreeNode::Interior { children, .. } => children.shrink_to_fit(),
        }
        Ok(node)
    }

    fn memory_bytes(&self) -> usize {
        let items = match self {
            TreeNode::Leaf(items) => {
                let own = items.iter().map(|item| heap(item.key.as_bytes().len()) + entry_heap(&item.entry));
                heap(items.capacity() * size_of::<LeafItem>()) + own.sum::<usize>()
            }
            TreeNode::Interior { children, .. } => {
                let own = children.iter().map(|child| heap(child.last_key.as_bytes().len()));
                heap(children.capacity() * size_of::<ChildItem>()) + own.sum::<usize>()
            }
        };
        size_of::<Self>() + items
    }

    fn shelf(inner: &Inner) -> &Shelf<Self> {
        &inner.trees
    }
}

fn entry_heap(entry: &Entry) -> usize {
    let body = match &entry.body {
        EntryBody::File { content: Content::Inline(bytes), .. } | EntryBody::Symlink { target: bytes } => {
            heap(bytes.len())
        }
        EntryBody::File { content: Content::External(object), .. } => {
            let strings = [&object.bucket, &object.key, &object.version, &object.etag];
            heap(size_of_val(&**object)) + strings.iter().map(|s| heap(s.capacity())).sum::<usize>()
        }
        EntryBody::File { .. } | EntryBody::Directory => 0,
    };
    match &entry.xattrs {
        Xattrs::Inline(list) => body + list_heap(list),
        Xattrs::None | Xattrs::Blob(_) => body,
    }
}

fn list_heap(list: &XattrList) -> usize {
    let own = list.0.iter().map(|(name, value)| heap(name.capacity()) + heap(value.capacity()));
    heap(list.0.capacity() * size_of::<(Vec<u8>, Vec<u8>)>()) + own.sum::<usize>()
}

impl Blob for ManifestNode {
    type Id = ManifestId;
    const KIND: BlobKind = BlobKind::ManifestNode;
    const NOUN: &'static str = "manifest node";
    const KEPT: Kept = Kept::Index;

    fn decode(id: ManifestId, raw: Bytes) -> Result<Self, FormatError> {
        let mut node = ManifestNode::decode(id, &raw)?;
        match &mut node {
            ManifestNode::Leaf(chunks) => chunks.shrink_to_fit(),
            ManifestNode::Interior { children, .. } => children.shrink_to_fit(),
        }
        Ok(node)
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                ManifestNode::Leaf(chunks) => heap(size_of_val(&chunks[..])),
                ManifestNode::Interior { children, .. } => heap(size_of_val(&children[..])),
            }
    }

    fn shelf(inner: &Inner) -> &Shelf<Self> {
        &inner.manifests
    }
}

impl Blob for XattrList {
    type Id = XattrsId;
    const KIND: BlobKind = BlobKind::Xattrs;
    const NOUN: &'static str = "xattr list";
    const KEPT: Kept = Kept::Index;

    fn decode(id: XattrsId, raw: Bytes) -> Result<Self, FormatError> {
        XattrList::decode(id, &raw)
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + list_heap(self)
    }

    fn shelf(inner: &Inner) -> &Shelf<Self> {
        &inner.xattrs
    }
}

macro_rules! chunks {
    ($($chunk:ident: $kept:ident, $shelf:ident;)*) => {$(
        impl Blob for $chunk {
            type Id = ChunkId;
            const KIND: BlobKind = BlobKind::Chunk;
            const NOUN: &'static str = "chunk";
            const KEPT: Kept = Kept::$kept;

            fn decode(id: ChunkId, raw: Bytes) -> Result<Self, FormatError> {
                verified(id, raw).map(Self)
            }

            fn memory_bytes(&self) -> usize {
                heap(self.0.len())
            }

            fn shelf(inner: &Inner) -> &Shelf<Self> {
                &inner.$shelf
            }
        }
    )*};
}

chunks! {
    SmallContent: Slabs, small;
    RawChunk: Files, chunks;
}

fn verified(id: ChunkId, raw: Bytes) -> Result<Bytes, FormatError> {
    let actual = ChunkId::of(&raw);
    if actual != id {
        return Err(FormatError::wrong_hash("chunk", id, actual));
    }
    Ok(raw)
}
