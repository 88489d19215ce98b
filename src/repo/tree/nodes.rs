//! New nodes on their way into packs.
//!
//! Leaves are written as they are cut, in key order. Interior nodes wait: their hints need the places of their children, and
//! all of them shall lie in one run behind the leaves, level by level, the root last, so that a mount fetches the run
//! with one request. They are few: 60 bytes stored and 170 in memory for every 500 entries.

use std::collections::{HashMap, VecDeque};

use crate::format::{
    BlobKind, ChildItem, CommitPlace, Compression, Counts, LeafItem, PackKind, StoredBlob, Totals, TreeNode,
};
use crate::repo::RepoError;
use crate::repo::content::PackWriter;
use crate::types::{Location, NodeId, Span};

/// Nodes of the base that are remembered per level: a node that is cut again from the same items follows its original
/// at once.
const REMEMBERED: usize = 8;

/// A tree whose nodes were given to a writer of packs.
#[derive(Debug, Clone, Copy)]
pub(in crate::repo) struct BuiltTree {
    /// Its root.
    pub(in crate::repo) root: NodeId,
    /// What it holds.
    pub(in crate::repo) totals: Totals,
    /// Where its root and interior nodes lie.
    pub(in crate::repo) place: CommitPlace,
}

/// Where nodes go.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    writer: &'a mut PackWriter,
    interior: Vec<TreeNode>,
    by_id: HashMap<NodeId, usize>,
    /// Recently read nodes of the base, by level.
    base: Vec<VecDeque<(NodeId, Option<Location>)>>,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(writer: &'a mut PackWriter) -> Self {
        Self { writer, interior: Vec::new(), by_id: HashMap::new(), base: Vec::new() }
    }

    /// Takes note of a node of the base that was read: cut again from the same items, it is not written again.
    pub(super) fn remember(&mut self, level: u8, id: NodeId, hint: Option<Location>) {
        let level = usize::from(level);
        if self.base.len() <= level {
            self.base.resize_with(level + 1, VecDeque::new);
        }
        let ids = &mut self.base[level];
        ids.truncate(REMEMBERED - 1);
        ids.push_front((id, hint));
    }

    /// Takes a leaf and says how its parent names it; `None` for the empty leaf, which has no parent.
    pub(super) async fn leaf(
        &mut self,
        items: Vec<LeafItem>,
    ) -> Result<(Option<ChildItem>, Placed), RepoError> {
        let node = TreeNode::Leaf(items);
        let (id, blob) = node.encode();
        let hint = match self.remembered(0, id) {
            Some(hint) => hint,
            None => Some(self.writer.push(&stored(id, &blob)).await?),
        };
        Ok((child(&node, id, hint), Placed { id, counts: node.counts(), hint }))
    }

    /// Takes an interior node and says how its parent names it.
    pub(super) fn interior(&mut self, level: u8, children: Vec<ChildItem>) -> Option<ChildItem> {
        let node = TreeNode::Interior { level, children };
        let (id, _) = node.encode();
        let known = self.remembered(level, id);
        let named = child(&node, id, known.flatten());
        if known.is_none() {
            self.add(id, node);
        }
        named
    }

    /// Writes a node of the base once more, into this tree's run.
    pub(super) fn copy(&mut self, id: NodeId, node: &TreeNode) {
        if !self.by_id.contains_key(&id) {
            self.add(id, node.clone());
        }
    }

    /// Writes a leaf of the base once more.
    pub(super) async fn rewrite(&mut self, node: &TreeNode) -> Result<Location, RepoError> {
        let (id, blob) = node.encode();
        self.writer.push(&stored(id, &blob)).await
    }

    /// The node if it waits to be written.
    pub(super) fn waiting(&self, id: NodeId) -> Option<&TreeNode> {
        self.by_id.get(&id).map(|at| &self.interior[*at])
    }

    /// Writes the interior nodes in one run; `root` is one of them.
    pub(super) async fn finish(mut self, root: NodeId) -> Result<BuiltTree, RepoError> {
        let (counts, level) = self.waiting(root).map_or_else(Default::default, |n| (n.counts(), n.level()));
        // Levels that turned out to hold a single node have no place above it.
        self.interior.retain(|node| node.level() <= level);
        self.interior.sort_by(|a, b| (a.level(), a.last_key()).cmp(&(b.level(), b.last_key())));
        let (pack, start) = self.writer.next_place(PackKind::Meta);
        let mut end = start;
        let mut places = HashMap::new();
        let mut blobs = Vec::with_capacity(self.interior.len());
        for node in &mut self.interior {
            if let TreeNode::Interior { children, .. } = node {
                for child in children {
                    child.hint = places.get(&child.id).copied().or(child.hint);
                }
            }
            let (id, blob) = node.encode();
            let blob = stored(id, &blob);
            let at = Location { pack, offset: end, len: blob.stored.len() as u32 };
            end += u64::from(at.len);
            places.insert(id, at);
            blobs.push(blob);
        }
        let written = self.writer.push_run(PackKind::Meta, &blobs).await?;
        let root_place = places.get(&root).copied().unwrap_or(Location { pack, offset: start, len: 0 });
        debug_assert_eq!(written.last(), Some(&root_place), "the root is the last of its run");
        let interior = Span { pack, offset: start, len: end - start };
        let place = CommitPlace { root: root_place, interior };
        Ok(BuiltTree { root, totals: totals(counts), place })
    }

    fn add(&mut self, id: NodeId, node: TreeNode) {
        self.by_id.insert(id, self.interior.len());
        self.interior.push(node);
    }

    /// Where a node of the base lies, if it was read a moment ago.
    fn remembered(&self, level: u8, id: NodeId) -> Option<Option<Location>> {
        let ids = self.base.get(usize::from(level))?;
        ids.iter().find(|(known, _)| *known == id).map(|(_, hint)| *hint)
    }
}

/// A leaf that was written or stays where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) id: NodeId,
    pub(super) counts: Counts,
    pub(super) hint: Option<Location>,
}

impl Placed {
    /// The tree whose only node this is; `None` when nobody knows where it lies.
    pub(super) fn tree(&self) -> Option<BuiltTree> {
        let root = self.hint?;
        let place = CommitPlace { root, interior: root.span() };
        Some(BuiltTree { root: self.id, totals: totals(self.counts), place })
    }
}

fn totals(counts: Counts) -> Totals {
    Totals { entries: counts.entries, files: counts.files, bytes: counts.bytes }
}

fn child(node: &TreeNode, id: NodeId, hint: Option<Location>) -> Option<ChildItem> {
    node.last_key().map(|key| ChildItem { last_key: key.clone(), id, counts: node.counts(), hint })
}

fn stored(id: NodeId, blob: &[u8]) -> StoredBlob {
    StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), blob, Compression::IfItPays)
}
