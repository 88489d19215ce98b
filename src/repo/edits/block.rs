//! Some neighbouring edits, encoded.
//!
//! Must always be true: what is taken out is what was put in. The encoding is that of a leaf node (`format::TreeNode`),
//! whose hash is checked when it is taken apart; a removal is an item without content, told from the others by a bit.

use crate::format::{
    Entry, EntryBody, EntryHints, LeafItem, MAX_TREE_NODE_ITEM_BYTES, Mtime, TreeKey, TreeNode, Xattrs,
};
use crate::types::NodeId;

use super::{Edit, Placed};

/// Edits of a block: one bit each in [`Block::removed`].
pub(super) const BLOCK: usize = u64::BITS as usize;

/// A block is closed when its items are longer than this: then even with the longest item they fit into a node.
const BLOCK_BYTES: usize = MAX_TREE_NODE_ITEM_BYTES / 2;

/// One to [`BLOCK`] edits.
#[derive(Debug)]
pub(super) struct Block {
    /// The key of the last edit.
    pub(super) last: TreeKey,
    id: NodeId,
    blob: Box<[u8]>,
    /// Which of the items are removals, the first in the lowest bit.
    removed: u64,
}

impl Block {
    /// Blocks of edits, which come in key order, each with its first key. All about equally long: were they filled up, edits that
    /// come in no order would leave a block of one behind every full one.
    pub(super) fn pack(edits: Vec<Edit>) -> impl Iterator<Item = (TreeKey, Self)> {
        let each = edits.len().div_ceil(edits.len().div_ceil(BLOCK).max(1));
        let mut edits = edits.into_iter();
        std::iter::from_fn(move || Self::next(edits.by_ref().take(each)))
    }

    /// The next block; the iterator gives at most [`BLOCK`].
    fn next(edits: impl Iterator<Item = Edit>) -> Option<(TreeKey, Self)> {
        let (mut items, mut bytes, mut removed) = (Vec::new(), 0, 0);
        for (key, placed) in edits {
            removed |= u64::from(placed.is_none()) << items.len();
            let Placed { entry, hints } = placed.unwrap_or_else(nothing);
            let item = LeafItem { key, entry, hints };
            bytes += item.cut_size();
            items.push(item);
            if bytes > BLOCK_BYTES {
                break;
            }
        }
        let (first, last) = (items.first()?.key.clone(), items.last()?.key.clone());
        let (id, blob) = TreeNode::Leaf(items).encode();
        Some((first, Self { last, id, blob: blob.into(), removed }))
    }

    /// Bytes of the encoding.
    #[cfg(test)]
    pub(super) fn encoded_len(&self) -> usize {
        self.blob.len()
    }

    /// The edits, in key order.
    pub(super) fn open(&self) -> impl Iterator<Item = Edit> + Send + use<> {
        let items = match TreeNode::decode(self.id, &self.blob) {
            Ok(TreeNode::Leaf(items)) => items,
            other => unreachable!("items that were checked, encoded by this process: {other:?}"),
        };
        let removed = self.removed;
        items.into_iter().enumerate().map(move |(n, item)| {
            let is_removed = removed >> n & 1 == 1;
            (item.key.clone(), (!is_removed).then(|| item.into()))
        })
    }
}

/// The shortest entry there is.
fn nothing() -> Placed {
    let entry = Entry {
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: Xattrs::None,
        body: EntryBody::Directory,
    };
    Placed { entry, hints: EntryHints::default() }
}
