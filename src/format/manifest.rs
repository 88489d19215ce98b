//! Manifests: the ordered chunks of one file above 1 MiB.
//!
//! Blob and id as for tree nodes. Body: `M`, version, level, number of items, items: chunk id and length, or child id,
//! chunks and bytes below it. Sums are inside the hash, so a position is found in one descent.

use crate::types::{ChunkId, Location, ManifestId};

use super::cursor::{Cursor, Sink};
use super::node::{check_magic, split_blob};
use super::{FORMAT_VERSION, FormatError, MAX_CHUNK_BYTES, hints};

const WHAT: &str = "manifest node";

/// First byte of every manifest node's body; the version follows.
const MAGIC: u8 = b'M';

/// Highest level: 128^8 chunks are more than a file can have.
const MAX_LEVEL: u8 = 7;

/// The most items of one node, as the cut rule has it.
pub(super) const MAX_ITEMS: usize = 2048;

/// Longest file, as `off_t` has it.
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkItem {
    /// The chunk.
    pub id: ChunkId,
    /// Its raw length in bytes, 1 to [`MAX_CHUNK_BYTES`].
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

/// A node of a manifest: at most 2,048 items.
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
        let mut blob = vec![0; 4];
        blob.bytes(&[MAGIC, FORMAT_VERSION as u8, self.level()]);
        let locations: Vec<Option<Location>> = match self {
            Self::Leaf(chunks) => {
                blob.varint(chunks.len() as u64);
                for chunk in chunks {
                    blob.bytes(chunk.id.as_bytes());
                    blob.varint(u64::from(chunk.len));
                }
                chunks.iter().map(|c| c.hint).collect()
            }
            Self::Interior { children, .. } => {
                blob.varint(children.len() as u64);
                for child in children {
                    blob.bytes(child.id.as_bytes());
                    blob.varint(child.chunks);
                    blob.varint(child.bytes);
                }
                children.iter().map(|c| c.hint).collect()
            }
        };
        let body = &blob[4..];
        let id = ManifestId::of(body);
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        blob[..4].copy_from_slice(&len.to_le_bytes());
        hints::write(&locations, &mut blob);
        (id, blob)
    }

    /// Decodes a blob and checks its hash and every rule. Damaged hints read as missing ones.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(id: ManifestId, blob: &[u8]) -> Result<Self, FormatError> {
        let (body, hint_bytes) = split_blob(WHAT, blob)?;
        let actual = ManifestId::of(body);
        if actual != id {
            return Err(FormatError::wrong_hash(WHAT, id, actual));
        }
        let mut cursor = Cursor::new(WHAT, body);
        check_magic(&mut cursor, WHAT, MAGIC)?;
        let level = cursor.u8()?;
        if level > MAX_LEVEL {
            return Err(cursor.malformed(format!("level {level}, at most {MAX_LEVEL} is possible")));
        }
        let count = cursor.varint_to(MAX_ITEMS as u64, "number of items")?;
        let count = usize::try_from(count).map_err(|_| cursor.malformed("number of items"))?;
        if count == 0 {
            return Err(cursor.malformed("it has no items"));
        }
        let hints = || hints::read(hint_bytes, count).into_iter();
        let node = if level == 0 {
            let mut chunks = Vec::new();
            for hint in hints() {
                chunks.push(ChunkItem { hint, ..ChunkItem::read(&mut cursor)? });
            }
            Self::Leaf(chunks)
        } else {
            let mut children = Vec::new();
            for hint in hints() {
                children.push(ManifestChild { hint, ..ManifestChild::read(&mut cursor)? });
            }
            Self::Interior { level, children }
        };
        cursor.finish()?;
        node.sum()
            .filter(|(_, bytes)| *bytes <= MAX_FILE_BYTES)
            .ok_or_else(|| cursor.malformed("its lengths sum up to more than a file can have"))?;
        Ok(node)
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Interior { level, .. } => *level,
        }
    }

    /// Chunks and bytes below this node (saturating only where decode would have refused).
    pub fn totals(&self) -> (u64, u64) {
        self.sum().unwrap_or((u64::MAX, u64::MAX))
    }

    /// Checks this node against what its parent says of it: level one below, same sums.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] naming the first difference.
    pub fn check_as_child(&self, parent_level: u8, item: &ManifestChild) -> Result<(), FormatError> {
        let bad = |rule: String| Err(FormatError::malformed(WHAT, format!("{} {rule}", item.id)));
        if self.level().checked_add(1) != Some(parent_level) {
            return bad(format!("has level {} under a parent of level {parent_level}", self.level()));
        }
        let said = (item.chunks, item.bytes);
        if self.totals() != said {
            return bad(format!("holds (chunks, bytes) {:?}, its parent says {said:?}", self.totals()));
        }
        Ok(())
    }

    fn sum(&self) -> Option<(u64, u64)> {
        match self {
            Self::Leaf(chunks) => {
                let bytes =
                    chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(u64::from(chunk.len)))?;
                Some((chunks.len() as u64, bytes))
            }
            Self::Interior { children, .. } => {
                children.iter().try_fold((0u64, 0u64), |(chunks, bytes), child| {
                    Some((chunks.checked_add(child.chunks)?, bytes.checked_add(child.bytes)?))
                })
            }
        }
    }
}

impl ChunkItem {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let id = ChunkId::from_bytes(cursor.array()?);
        let len = cursor.varint_u32("length of a chunk")?;
        if len == 0 || len > MAX_CHUNK_BYTES {
            return Err(cursor.malformed(format!("a chunk has {len} bytes")));
        }
        Ok(Self { id, len, hint: None })
    }
}

impl ManifestChild {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let id = ManifestId::from_bytes(cursor.array()?);
        let (chunks, bytes) = (cursor.varint()?, cursor.varint()?);
        // Every chunk has 1 byte to 4 MiB.
        let longest = chunks.saturating_mul(u64::from(MAX_CHUNK_BYTES));
        if chunks == 0 || bytes < chunks || bytes > longest {
            return Err(cursor.malformed(format!("a child has {chunks} chunks of {bytes} bytes in all")));
        }
        Ok(Self { id, chunks, bytes, hint: None })
    }
}
