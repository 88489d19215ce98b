//! Tree nodes.
//!
//! A blob is `u32 LE body length | body | hints`; the id is BLAKE3 of the body alone. Body: `T`, version, level, number
//! of items, items. Keys are prefix-compressed to the last byte that two neighbours share, numbers have one spelling,
//! and no field repeats another, so equal entries have equal bytes: the decoder refuses every other spelling.

use crate::types::{Location, NodeId};

use super::cursor::{Cursor, Sink};
use super::node_items::KeyReader;
use super::{Entry, FORMAT_VERSION, FormatError, MAX_ENTRIES, MAX_NODE_BYTES, TreeKey, hints};

const WHAT: &str = "tree node";

/// First byte of every tree node's body; the version follows.
const MAGIC: u8 = b'T';

/// Highest level. A writer never gets there: every interior node but the last of its level has at least
/// [`super::NodeCutter::MIN_ITEMS`] = 8 children, and 8^15 nodes hold more than [`MAX_ENTRIES`].
const MAX_LEVEL: u8 = 15;

/// What a subtree of nodes holds. Inside the hash of the parent, and checked against the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries of every kind, at most [`MAX_ENTRIES`].
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Sum of the sizes of those files.
    pub bytes: u64,
}

/// Where an entry's blobs lie: outside the hash, may be stale or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryHints {
    /// The chunk, or the manifest's root node. Encoded only for such content.
    pub content: Option<Location>,
    /// The xattr blob. Encoded only where there is one.
    pub xattrs: Option<Location>,
}

/// An entry in a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafItem {
    /// Its key.
    pub key: TreeKey,
    /// The entry.
    pub entry: Entry,
    /// Where its blobs lie.
    pub hints: EntryHints,
}

/// A child in an interior node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildItem {
    /// The last key below the child.
    pub last_key: TreeKey,
    /// The child.
    pub id: NodeId,
    /// What lies below it.
    pub counts: Counts,
    /// Where the child lies.
    pub hint: Option<Location>,
}

/// A node of the tree: a leaf of entries, or children one level down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// Level 0; empty only as the root of an empty tree.
    Leaf(Vec<LeafItem>),
    /// Level 1 and up.
    Interior {
        /// Distance from the leaves, 1 to 15.
        level: u8,
        /// Not empty.
        children: Vec<ChildItem>,
    },
}

impl TreeNode {
    /// The node's id and its blob (hashed body and hints), ready for [`super::StoredBlob::pack`]. The items must
    /// obey the rules ([`LeafItem::check`]), ascend strictly by key, and fit ([`super::NodeCutter`]).
    pub fn encode(&self) -> (NodeId, Vec<u8>) {
        let mut blob = vec![0; 4];
        blob.bytes(&[MAGIC, FORMAT_VERSION as u8, self.level()]);
        let mut locations = Vec::new();
        let mut previous: &[u8] = b"";
        match self {
            Self::Leaf(items) => {
                blob.varint(items.len() as u64);
                for item in items {
                    item.write(previous, &mut blob);
                    previous = item.key.as_bytes();
                    item.entry.named_blobs(&mut |blob| locations.push(item.hints.of(blob)));
                }
            }
            Self::Interior { children, .. } => {
                blob.varint(children.len() as u64);
                for child in children {
                    child.write(previous, &mut blob);
                    previous = child.last_key.as_bytes();
                    locations.push(child.hint);
                }
            }
        }
        let body = &blob[4..];
        let id = NodeId::of(body);
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        blob[..4].copy_from_slice(&len.to_le_bytes());
        hints::write(&locations, &mut blob);
        (id, blob)
    }

    /// Decodes a blob and checks its hash and every rule. Damaged hints read as missing ones.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(id: NodeId, blob: &[u8]) -> Result<Self, FormatError> {
        let (body, hint_bytes) = split_blob(WHAT, blob)?;
        let actual = NodeId::of(body);
        if actual != id {
            return Err(FormatError::wrong_hash(WHAT, id, actual));
        }
        let mut cursor = Cursor::new(WHAT, body);
        check_magic(&mut cursor, WHAT, MAGIC)?;
        let level = cursor.u8()?;
        if level > MAX_LEVEL {
            return Err(cursor.malformed(format!("level {level}, at most {MAX_LEVEL} is possible")));
        }
        // Nothing is allocated for the count as such: a false one runs into the end of the body.
        let count = cursor.varint()?;
        let mut keys = KeyReader::default();
        let node = if level == 0 {
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(LeafItem::read(&mut keys, &mut cursor)?);
            }
            Self::Leaf(items)
        } else {
            let mut children = Vec::new();
            for _ in 0..count {
                children.push(ChildItem::read(&mut keys, &mut cursor)?);
            }
            if children.is_empty() {
                return Err(cursor.malformed("an interior node has no children"));
            }
            Self::Interior { level, children }
        };
        cursor.finish()?;
        node.sum()
            .ok_or_else(|| cursor.malformed("its entries or their sizes sum up to more than can be"))?;
        Ok(node.with_hints(hint_bytes))
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Interior { level, .. } => *level,
        }
    }

    /// What the node holds: the sums over its items (saturating only where decode would have refused).
    pub fn counts(&self) -> Counts {
        self.sum().unwrap_or(Counts { entries: u64::MAX, files: u64::MAX, bytes: u64::MAX })
    }

    /// The last key, `None` for the empty leaf.
    pub fn last_key(&self) -> Option<&TreeKey> {
        match self {
            Self::Leaf(items) => items.last().map(|i| &i.key),
            Self::Interior { children, .. } => children.last().map(|c| &c.last_key),
        }
    }

    /// Checks this node against what its parent says of it: level one below, same last key, same counts, first
    /// key behind the previous sibling's last.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] naming the first difference.
    pub fn check_as_child(
        &self,
        parent_level: u8,
        item: &ChildItem,
        behind: Option<&TreeKey>,
    ) -> Result<(), FormatError> {
        let bad = |rule: String| Err(FormatError::malformed(WHAT, format!("{} {rule}", item.id)));
        if self.level().checked_add(1) != Some(parent_level) {
            return bad(format!("has level {} under a parent of level {parent_level}", self.level()));
        }
        if self.last_key() != Some(&item.last_key) {
            return bad(format!("ends with {:?}, its parent says {:?}", self.last_key(), item.last_key));
        }
        if self.counts() != item.counts {
            return bad(format!("holds {:?}, its parent says {:?}", self.counts(), item.counts));
        }
        // An interior node shows only where its first child ends; that child is checked in its turn.
        let first = match self {
            Self::Leaf(items) => items.first().map(|i| &i.key),
            Self::Interior { children, .. } => children.first().map(|c| &c.last_key),
        };
        if behind.is_some() && first <= behind {
            return bad(format!("begins with {first:?}, not behind {behind:?}"));
        }
        Ok(())
    }

    fn sum(&self) -> Option<Counts> {
        fn add(sum: Counts, more: &Counts) -> Option<Counts> {
            let entries = sum.entries.checked_add(more.entries).filter(|n| *n <= MAX_ENTRIES)?;
            Some(Counts {
                entries,
                files: sum.files.checked_add(more.files)?,
                bytes: sum.bytes.checked_add(more.bytes)?,
            })
        }
        match self {
            Self::Leaf(items) => items.iter().try_fold(Counts::default(), |sum, i| add(sum, &i.counts())),
            Self::Interior { children, .. } => {
                children.iter().try_fold(Counts::default(), |sum, c| add(sum, &c.counts))
            }
        }
    }

    fn with_hints(mut self, bytes: &[u8]) -> Self {
        let mut blobs = 0;
        match &self {
            Self::Leaf(items) => items.iter().for_each(|i| i.entry.named_blobs(&mut |_| blobs += 1)),
            Self::Interior { children, .. } => blobs = children.len(),
        }
        let mut hints = hints::read(bytes, blobs).into_iter();
        match &mut self {
            Self::Leaf(items) => {
                for LeafItem { entry, hints: place, .. } in items {
                    entry.named_blobs(&mut |blob| *place.of_mut(blob) = hints.next().flatten());
                }
            }
            Self::Interior { children, .. } => {
                children.iter_mut().zip(hints).for_each(|(child, hint)| child.hint = hint);
            }
        }
        self
    }
}

/// Splits a node's blob into the hashed body and the hints.
pub(super) fn split_blob<'a>(
    what: &'static str,
    blob: &'a [u8],
) -> Result<(&'a [u8], &'a [u8]), FormatError> {
    if blob.len() > MAX_NODE_BYTES {
        return Err(FormatError::malformed(what, format!("{} bytes, at most 1 MiB is possible", blob.len())));
    }
    let mut cursor = Cursor::new(what, blob);
    let len = cursor.u32()?;
    let body = cursor.take(usize::try_from(len).map_err(|_| FormatError::Truncated { what })?)?;
    Ok((body, cursor.take(cursor.remaining())?))
}

/// Reads the two bytes that every node's body begins with.
pub(super) fn check_magic(cursor: &mut Cursor<'_>, what: &'static str, magic: u8) -> Result<(), FormatError> {
    let [found, version] = cursor.array()?;
    if found != magic {
        return Err(cursor.malformed(format!("begins with {found:#04x}, not {magic:#04x}")));
    }
    match u32::from(version) {
        0 => Err(cursor.malformed("format version 0")),
        FORMAT_VERSION => Ok(()),
        newer => Err(FormatError::Newer { what, found: newer.into(), supported: FORMAT_VERSION }),
    }
}
