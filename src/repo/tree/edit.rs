//! A batch of edits laid over a tree: new nodes where something changed, and nowhere else.
//!
//! Must always be true: the result is what building the same map from nothing would give, node for node. Why it is:
//!
//! 1. The cut rule looks at nothing but the items since the last cut, and whether a node must end before an item
//!    depends on that item's size. So where a level is at a cut, and the base is at one, whole nodes of the base are
//!    what the rule would make of their items, as long as nothing in them changes **and the item behind them does not
//!    shrink** (the rule may have cut there only for want of room).
//! 2. So a node of the base is taken as a whole only if every level up to its own is at a cut, no edit lies in it, and
//!    none lies in its right neighbour of the same level. (For leaves the neighbour is looked at more closely, because
//!    every edit lies in some leaf's right neighbour: an edit that leaves the first entry's size alone is harmless.)
//! 3. The last node of a level ends because the level does, not by the rule; it is opened when edits follow.
//! 4. Everything else goes through the rule item by item; a node that comes out as it was is not written.
//!
//! The cost follows the edits: the leaves they lie in, the nodes above those, and a neighbour here and there.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::format::{ChildItem, LeafItem, TreeKey, TreeNode};
use crate::repo::RepoError;
use crate::repo::content::PackWriter;
use crate::repo::edits::Edit;
use crate::types::NodeId;

use super::Tree;
use super::level::Level;
use super::nodes::{BuiltTree, Nodes, Placed};
use super::upcoming::Upcoming;

/// Touched nodes that are fetched side by side, some 7 MiB decoded: less than half of what memory keeps.
const FETCH_AHEAD: usize = 64;

/// Applies `edits`, which ascend strictly by key, to `base` (none: the empty tree) and gives the new nodes to `writer`.
/// Directories must have been seen to, as [`crate::repo::Edits`] says.
///
/// # Errors
/// [`RepoError::BadPath`] for an entry that breaks a rule; reading the base; writing packs.
pub(in crate::repo) async fn edit(
    base: Option<&Tree>,
    seed: [u8; 32],
    edits: impl Iterator<Item = Edit>,
    writer: &mut PackWriter,
) -> Result<BuiltTree, RepoError> {
    let mut editor = Editor {
        seed,
        edits: Upcoming::new(edits),
        leaves: Level::new(seed, 0),
        upper: Vec::new(),
        nodes: Nodes::new(writer),
        last_leaf: None,
    };
    match base {
        Some(base) => editor.walk(base).await?,
        None => editor.merge(&[], true).await?,
    }
    editor.finish(base).await
}

/// A node of the base whose children are being looked at.
struct Frame {
    node: Arc<TreeNode>,
    /// The next child.
    at: usize,
    /// Whether nothing of the base lies right of it.
    is_last: bool,
}

impl Frame {
    fn children(&self) -> &[ChildItem] {
        match &*self.node {
            TreeNode::Interior { children, .. } => children,
            TreeNode::Leaf(_) => &[],
        }
    }
}

struct Editor<'a, I> {
    seed: [u8; 32],
    edits: Upcoming<I>,
    leaves: Level<LeafItem>,
    /// Level 1 and up.
    upper: Vec<Level<ChildItem>>,
    nodes: Nodes<'a>,
    last_leaf: Option<Placed>,
}

impl<I: Iterator<Item = Edit>> Editor<'_, I> {
    /// Goes through the base from left to right, as deep as necessary.
    async fn walk(&mut self, base: &Tree) -> Result<(), RepoError> {
        let root = base.root().await?.clone();
        self.nodes.remember(root.level(), base.id(), Some(base.place()));
        if let TreeNode::Leaf(items) = &*root {
            return self.merge(items, true).await;
        }
        let mut path = vec![Frame { node: root, at: 0, is_last: true }];
        while let Some(frame) = path.last() {
            let Some(child) = frame.children().get(frame.at) else {
                path.pop();
                if let Some(frame) = path.last_mut() {
                    frame.at += 1;
                }
                continue;
            };
            let child = child.clone();
            let level = frame.node.level() - 1;
            let is_last = frame.is_last && frame.at + 1 == frame.children().len();
            if self.can_stay(base, &path, &child, level, is_last).await? {
                self.push_child(usize::from(level) + 1, child);
            } else {
                let node = self.read(base, level, &frame.children()[frame.at..], behind(&path)).await?;
                self.nodes.remember(level, child.id, child.hint);
                if let TreeNode::Leaf(items) = &*node {
                    self.merge(items, is_last).await?;
                } else {
                    path.push(Frame { node, at: 0, is_last });
                    continue;
                }
            }
            if let Some(frame) = path.last_mut() {
                frame.at += 1;
            }
        }
        Ok(())
    }

    /// Whether the next node of the base (`child`, of this level) is a node of the new tree.
    async fn can_stay(
        &self,
        base: &Tree,
        path: &[Frame],
        child: &ChildItem,
        level: u8,
        is_last: bool,
    ) -> Result<bool, RepoError> {
        let upper = self.upper.iter().take(usize::from(level));
        if !self.leaves.is_at_start() || !upper.into_iter().all(Level::is_at_start) {
            return Ok(false);
        }
        let Some(next_edit) = self.edits.peek() else { return Ok(true) };
        if is_last || self.edits.touches(&child.last_key) {
            return Ok(false);
        }
        let Some(frame) = path.last() else { return Ok(false) };
        match frame.children().get(frame.at + 1) {
            Some(neighbour) if !self.edits.touches(&neighbour.last_key) => Ok(true),
            Some(_) if level == 0 => {
                // It will be read anyway: an edit lies in it.
                let siblings = &frame.children()[frame.at + 1..];
                let node = self.read(base, level, siblings, Some(&child.last_key)).await?;
                Ok(!may_shrink_first(&node, next_edit))
            }
            Some(_) => Ok(false),
            None => {
                // The neighbour is in the next node above; if no edit lies in all of that, none lies in the neighbour.
                let above = path.iter().rev().skip(1).find_map(|f| f.children().get(f.at + 1));
                Ok(above.is_some_and(|above| !self.edits.touches(&above.last_key)))
            }
        }
    }

    /// The first of these neighbours, of this level; if it must be fetched, those that will be needed too come with it.
    async fn read(
        &self,
        base: &Tree,
        level: u8,
        siblings: &[ChildItem],
        behind: Option<&TreeKey>,
    ) -> Result<Arc<TreeNode>, RepoError> {
        let ahead = self.edits.touched(siblings, FETCH_AHEAD);
        base.child(level + 1, &siblings[0], behind, &ahead).await
    }

    /// A leaf of the base and the edits in its range; `is_last`: all edits that are left.
    async fn merge(&mut self, items: &[LeafItem], is_last: bool) -> Result<(), RepoError> {
        for item in items {
            while self.edits.peek().is_some_and(|(key, _)| *key < item.key) {
                self.apply().await?;
            }
            if self.edits.peek().is_some_and(|(key, _)| *key == item.key) {
                self.apply().await?;
            } else {
                self.push_item(item.clone()).await?;
            }
        }
        while is_last && self.edits.peek().is_some() {
            self.apply().await?;
        }
        Ok(())
    }

    /// Makes the next edit, at this place of the level.
    async fn apply(&mut self) -> Result<(), RepoError> {
        let Some((key, Some(placed))) = self.edits.take() else { return Ok(()) };
        let item = LeafItem { key, entry: placed.entry, hints: placed.hints };
        item.check().map_err(|error| {
            let path = item.key.to_path().map_or_else(|_| format!("{:?}", item.key), |path| path.to_string());
            RepoError::BadPath { path, reason: error.to_string() }
        })?;
        self.push_item(item).await
    }

    async fn push_item(&mut self, item: LeafItem) -> Result<(), RepoError> {
        let ended = self.leaves.push(item);
        for items in [ended.before, ended.behind].into_iter().flatten() {
            self.end_leaf(items).await?;
        }
        Ok(())
    }

    async fn end_leaf(&mut self, items: Vec<LeafItem>) -> Result<(), RepoError> {
        let (child, placed) = self.nodes.leaf(items).await?;
        self.last_leaf = Some(placed);
        if let Some(child) = child {
            self.push_child(1, child);
        }
        Ok(())
    }

    /// Gives `child` to its level (1 and up), and what that completes to the levels above.
    fn push_child(&mut self, level: usize, child: ChildItem) {
        let mut work = VecDeque::from([(level, child)]);
        while let Some((level, child)) = work.pop_front() {
            let ended = self.level(level).push(child);
            for children in [ended.before, ended.behind].into_iter().flatten() {
                work.extend(self.nodes.interior(level as u8, children).map(|child| (level + 1, child)));
            }
        }
    }

    fn level(&mut self, level: usize) -> &mut Level<ChildItem> {
        while self.upper.len() < level {
            self.upper.push(Level::new(self.seed, self.upper.len() as u8 + 1));
        }
        &mut self.upper[level - 1]
    }

    /// Ends every level, from the leaves up, until one has a single node.
    async fn finish(mut self, base: Option<&Tree>) -> Result<BuiltTree, RepoError> {
        let rest = self.leaves.take_rest();
        if !rest.is_empty() || self.upper.is_empty() {
            self.end_leaf(rest).await?;
        }
        let mut top = None;
        let mut level = 1;
        while level <= self.upper.len() {
            let alone = self.upper[level..].iter().all(|above| above.received() == 0);
            let children = self.upper[level - 1].take_rest();
            match <[ChildItem; 1]>::try_from(children) {
                Ok([child]) if alone => {
                    top = Some((level as u8 - 1, child));
                    break;
                }
                Ok([child]) => self.end_interior(level, vec![child]),
                Err(children) if children.is_empty() => {}
                Err(children) => self.end_interior(level, children),
            }
            level += 1;
        }
        let Some((level, child)) = top else { return self.finish_with_leaf() };
        match base {
            // Nothing changed: not a byte is written.
            Some(base) if base.id() == child.id => Ok(base.as_built()),
            _ => self.finish_with(base, level, child).await,
        }
    }

    fn end_interior(&mut self, level: usize, children: Vec<ChildItem>) {
        if let Some(child) = self.nodes.interior(level as u8, children) {
            self.push_child(level + 1, child);
        }
    }

    /// The tree is one leaf.
    fn finish_with_leaf(self) -> Result<BuiltTree, RepoError> {
        let tree = self.last_leaf.and_then(|leaf| leaf.tree());
        tree.ok_or_else(|| RepoError::BadPath {
            path: "/".into(),
            reason: "no place is known for its tree".into(),
        })
    }

    /// `child`, a node of this level, holds all: it is the root, or its only child is, and so on.
    async fn finish_with(
        mut self,
        base: Option<&Tree>,
        mut level: u8,
        mut child: ChildItem,
    ) -> Result<BuiltTree, RepoError> {
        loop {
            if level == 0 {
                let (id, counts, mut hint) = (child.id, child.counts, child.hint);
                if let (None, Some(base)) = (hint, base) {
                    // A leaf of the base that nobody knows the place of: found by a search, and written anew.
                    hint = Some(self.nodes.rewrite(&*base.node(id, None).await?).await?);
                }
                self.last_leaf = Some(Placed { id, counts, hint });
                return self.finish_with_leaf();
            }
            let node = self.node(base, child.id, &child).await?;
            match &*node {
                TreeNode::Interior { children, .. } if children.len() == 1 => {
                    child = children[0].clone();
                    level -= 1;
                }
                _ => {
                    self.nodes.copy(child.id, &node);
                    self.copy_path_to_root_listing(base, &node).await?;
                    return self.nodes.finish(child.id).await;
                }
            }
        }
    }

    /// Nodes of the base on the way to the listing of the root directory are written again, into the run: so the first
    /// `ls` of a mount needs the run and leaves, wherever the base has its nodes. One or two nodes.
    async fn copy_path_to_root_listing(
        &mut self,
        base: Option<&Tree>,
        root: &Arc<TreeNode>,
    ) -> Result<(), RepoError> {
        for key in [&[0][..], &[1]] {
            let mut node = root.clone();
            while let TreeNode::Interior { level: 2.., children } = &*node {
                let at = children.partition_point(|child| child.last_key.as_bytes() < key);
                let Some(child) = children.get(at) else { break };
                let next = self.node(base, child.id, child).await?;
                self.nodes.copy(child.id, &next);
                node = next;
            }
        }
        Ok(())
    }

    /// A node that waits to be written, or one of the base.
    async fn node(
        &self,
        base: Option<&Tree>,
        id: NodeId,
        child: &ChildItem,
    ) -> Result<Arc<TreeNode>, RepoError> {
        if let Some(node) = self.nodes.waiting(id) {
            return Ok(Arc::new(node.clone()));
        }
        match base {
            Some(base) => base.node(id, child.hint).await,
            None => {
                Err(RepoError::BadPath { path: "/".into(), reason: "its tree has a node of nowhere".into() })
            }
        }
    }
}

/// The last key left of the next child.
fn behind(path: &[Frame]) -> Option<&TreeKey> {
    path.iter().rev().find(|frame| frame.at > 0).map(|frame| &frame.children()[frame.at - 1].last_key)
}

/// Whether the first entry of `leaf` may be smaller after the edit, the first that lies in it. A removal counts: what then
/// comes first is not looked for.
fn may_shrink_first(leaf: &TreeNode, (key, edit): &Edit) -> bool {
    let TreeNode::Leaf(items) = leaf else { return true };
    let Some(first) = items.first().filter(|first| *key <= first.key) else { return false };
    match edit {
        Some(placed) => {
            let item = LeafItem { key: key.clone(), entry: placed.entry.clone(), hints: placed.hints };
            item.cut_size() < first.cut_size()
        }
        None => true,
    }
}
