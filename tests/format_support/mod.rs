//! Shared by the tests of the format: a generator that is stated in `docs/format.md`, and trees built with nothing but
//! `atfs::format`.

#![allow(dead_code, clippy::unwrap_used)] // every test binary uses a part

pub(crate) mod repository;

use atfs::format::{
    ChildItem, Content, Entry, EntryBody, EntryHints, LeafItem, Mtime, NodeCutter, TreeKey, TreeNode, Xattrs,
};
use atfs::types::{ChunkId, NodeId, RepoPath};
use bytes::Bytes;

/// SplitMix64: one line of arithmetic in any language.
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// The outputs, little-endian, one behind the other.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

pub(crate) fn key(path: &str) -> TreeKey {
    TreeKey::of(&RepoPath::new(path).expect("a valid path")).expect("not the root")
}

pub(crate) fn entry(body: EntryBody) -> Entry {
    let mtime = Mtime { seconds: 1_795_000_000, nanos: 123_456_789 };
    Entry { mode: 0o644, uid: 1000, gid: 1000, mtime, xattrs: Xattrs::None, body }
}

pub(crate) fn item(path: &str, body: EntryBody) -> LeafItem {
    LeafItem { key: key(path), entry: entry(body), hints: EntryHints::default() }
}

/// A file of one chunk whose id and size follow from the path.
pub(crate) fn chunk_file(path: &str) -> LeafItem {
    let id = ChunkId::of(path.as_bytes());
    let size = 513 + u64::from(u16::from_le_bytes([id.as_bytes()[0], id.as_bytes()[1]]));
    item(path, EntryBody::File { size, content: Content::Chunk(id) })
}

pub(crate) fn inline_file(path: &str, text: &[u8]) -> LeafItem {
    let body = match text {
        [] => EntryBody::File { size: 0, content: Content::Empty },
        _ => {
            let content = Content::Inline(Bytes::copy_from_slice(text));
            EntryBody::File { size: text.len() as u64, content }
        }
    };
    item(path, body)
}

/// Cuts one level; calls back with the items of each node.
pub(crate) fn cut<T>(
    mut cutter: NodeCutter,
    items: Vec<T>,
    size: impl Fn(&T) -> usize,
    push: impl Fn(&mut NodeCutter, &T) -> bool,
    mut node: impl FnMut(Vec<T>),
) {
    let mut open = Vec::new();
    for item in items {
        if cutter.must_end_before(size(&item)) {
            cutter.restart();
            node(std::mem::take(&mut open));
        }
        let ends = push(&mut cutter, &item);
        open.push(item);
        if ends {
            node(std::mem::take(&mut open));
        }
    }
    if !open.is_empty() {
        node(open);
    }
}

/// The levels of the tree of sorted items, leaves first; the last level is the root alone.
pub(crate) fn build_tree(seed: [u8; 32], items: Vec<LeafItem>) -> Vec<Vec<(NodeId, TreeNode)>> {
    let mut nodes = Vec::new();
    let mut add = |node: TreeNode| nodes.push((node.encode().0, node));
    if items.is_empty() {
        add(TreeNode::Leaf(Vec::new()));
    } else {
        let cutter = NodeCutter::new(seed, 0);
        cut(cutter, items, LeafItem::cut_size, NodeCutter::push_leaf, |items| add(TreeNode::Leaf(items)));
    }
    let mut levels = vec![nodes];
    for level in 1.. {
        let below = &levels[levels.len() - 1];
        if below.len() == 1 {
            break;
        }
        let children = below.iter().map(|(id, node)| ChildItem {
            last_key: node.last_key().expect("not empty").clone(),
            id: *id,
            counts: node.counts(),
            hint: None,
        });
        let mut nodes = Vec::new();
        let cutter = NodeCutter::new(seed, level);
        cut(cutter, children.collect(), ChildItem::cut_size, NodeCutter::push_child, |children| {
            let node = TreeNode::Interior { level, children };
            nodes.push((node.encode().0, node));
        });
        levels.push(nodes);
    }
    levels
}
