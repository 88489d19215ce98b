//! Tree nodes.

use crate::types::{Location, NodeId};

use super::{Entry, FormatError, TreeKey};

/// What a subtree of nodes holds. Inside the hash of the parent, and checked against the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries of every kind.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Sum of the sizes of those files.
    pub bytes: u64,
}

/// Where an entry's blobs lie: outside the hash, may be stale or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryHints {
    /// The chunk, or the manifest's root node.
    pub content: Option<Location>,
    /// The xattr blob.
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
    /// The node's id and its blob (hashed body and hints), ready for [`super::StoredBlob::pack`].
    pub fn encode(&self) -> (NodeId, Vec<u8>) {
        unimplemented!()
    }

    /// Decodes a blob and checks its hash and every rule.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(_id: NodeId, _blob: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
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
        unimplemented!()
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
        _parent_level: u8,
        _item: &ChildItem,
        _behind: Option<&TreeKey>,
    ) -> Result<(), FormatError> {
        unimplemented!()
    }
}

impl LeafItem {
    /// Length of the item's hashed encoding with its key written in full: what the cut rule counts.
    pub fn cut_size(&self) -> usize {
        unimplemented!()
    }
}

impl ChildItem {
    /// Length of the item's hashed encoding with its key written in full: what the cut rule counts.
    pub fn cut_size(&self) -> usize {
        unimplemented!()
    }
}
