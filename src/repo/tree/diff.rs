//! The differences between two trees, in key order.
//!
//! Two cursors walk side by side. Where both stand before the same node, everything in it is equal and both step over
//! it; where they stand before different nodes, the higher one is opened (both, at the same level); where both stand
//! before entries, the lesser key is alone on its side. Nodes are cut by content, so two trees that differ in
//! little stand before the same node again soon behind a difference: the cost follows the change.
//!
//! Stepping over is right because neither cursor has consumed anything of the node: equal ids mean equal entries, and
//! all of them come next on both sides.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use crate::format::{ChildItem, LeafItem, TreeKey, TreeNode};
use crate::repo::RepoError;
use crate::types::NodeId;

use super::Tree;

/// Leaves that are fetched ahead where two trees differ throughout: some 500 KiB.
const AHEAD: usize = 16;

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The entry before; none if it was added.
    pub before: Option<LeafItem>,
    /// The entry after; none if it was removed.
    pub after: Option<LeafItem>,
}

impl Difference {
    /// The path's key.
    pub fn key(&self) -> &TreeKey {
        match (&self.before, &self.after) {
            (Some(item), _) | (None, Some(item)) => &item.key,
            (None, None) => unreachable!("a difference has at least one side"),
        }
    }
}

/// A walk over the differences of two trees. Entries whose hints alone differ are equal.
#[derive(Debug)]
pub struct Differences {
    before: Cursor,
    after: Cursor,
}

impl Differences {
    /// Begins before the first entry of both.
    pub(in crate::repo) async fn between(before: &Arc<Tree>, after: &Arc<Tree>) -> Result<Self, RepoError> {
        Ok(Self { before: Cursor::start(before).await?, after: Cursor::start(after).await? })
    }

    /// The next difference in key order; `None` when there is none left.
    ///
    /// # Errors
    /// Damage, a missing node, any failure of the store.
    pub async fn next(&mut self) -> Result<Option<Difference>, RepoError> {
        loop {
            let (old, new) = (self.before.at(), self.after.at());
            match (old, new) {
                (At::End, At::End) => return Ok(None),
                (At::Node { id: old, level: old_level }, At::Node { id: new, level: new_level }) => {
                    if old == new {
                        self.before.step();
                        self.after.step();
                        continue;
                    }
                    if old_level >= new_level {
                        self.before.open(&self.after.siblings()).await?;
                    }
                    if new_level >= old_level {
                        self.after.open(&self.before.siblings()).await?;
                    }
                }
                (At::Node { .. }, _) => self.before.open(&self.after.siblings()).await?,
                (_, At::Node { .. }) => self.after.open(&self.before.siblings()).await?,
                (At::Entry, At::Entry | At::End) | (At::End, At::Entry) => {
                    if let Some(difference) = self.entry() {
                        return Ok(Some(difference));
                    }
                }
            }
        }
    }

    /// Takes the lesser entry, or both when their keys are equal; `None` when they agree.
    fn entry(&mut self) -> Option<Difference> {
        let order = match (self.before.item(), self.after.item()) {
            (Some(old), Some(new)) => old.key.cmp(&new.key),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let before = (order != Ordering::Greater).then(|| self.before.take()).flatten();
        let after = (order != Ordering::Less).then(|| self.after.take()).flatten();
        let differ = before.as_ref().map(|item| &item.entry) != after.as_ref().map(|item| &item.entry);
        differ.then_some(Difference { before, after })
    }
}

/// What a cursor stands before.
enum At {
    End,
    Node { id: NodeId, level: u8 },
    Entry,
}

/// A place in a tree: the nodes that are open, each with the place in it.
#[derive(Debug)]
struct Cursor {
    tree: Arc<Tree>,
    /// The root while it is not open. Compared as a whole, so that equal trees cost nothing.
    root: Option<Arc<TreeNode>>,
    open: Vec<(Arc<TreeNode>, usize)>,
}

impl Cursor {
    async fn start(tree: &Arc<Tree>) -> Result<Self, RepoError> {
        Ok(Self { tree: tree.clone(), root: Some(tree.root().await?.clone()), open: Vec::new() })
    }

    fn at(&self) -> At {
        if let Some(root) = &self.root {
            return At::Node { id: self.tree.id(), level: root.level() };
        }
        match self.open.last() {
            None => At::End,
            Some((node, at)) => match &**node {
                TreeNode::Leaf(_) => At::Entry,
                TreeNode::Interior { level, children } => At::Node { id: children[*at].id, level: level - 1 },
            },
        }
    }

    fn item(&self) -> Option<&LeafItem> {
        match self.open.last() {
            Some((node, at)) => match &**node {
                TreeNode::Leaf(items) => items.get(*at),
                TreeNode::Interior { .. } => None,
            },
            None => None,
        }
    }

    fn take(&mut self) -> Option<LeafItem> {
        let item = self.item().cloned();
        self.step();
        item
    }

    /// Steps over the node or entry that the cursor stands before.
    fn step(&mut self) {
        self.root = None;
        while let Some((node, at)) = self.open.last_mut() {
            *at += 1;
            let len = match &**node {
                TreeNode::Leaf(items) => items.len(),
                TreeNode::Interior { children, .. } => children.len(),
            };
            if *at < len {
                return;
            }
            self.open.pop();
        }
    }

    /// The children that the innermost open interior node still has: what the other side need not fetch ahead.
    fn siblings(&self) -> HashSet<NodeId> {
        let innermost = self.open.iter().rev().find_map(|(node, at)| match &**node {
            TreeNode::Interior { children, .. } => Some(&children[*at..]),
            TreeNode::Leaf(_) => None,
        });
        innermost.unwrap_or_default().iter().map(|child| child.id).collect()
    }

    /// Opens the node that the cursor stands before; `known` are nodes that the other side has as well.
    async fn open(&mut self, known: &HashSet<NodeId>) -> Result<(), RepoError> {
        let node = match self.root.take() {
            Some(root) => root,
            None => {
                let Some((node, at)) = self.open.last() else { return Ok(()) };
                let TreeNode::Interior { level, children } = &**node else { return Ok(()) };
                let ahead: Vec<&ChildItem> = children[*at + 1..]
                    .iter()
                    .take(AHEAD)
                    .filter(|child| !known.contains(&child.id))
                    .collect();
                let behind = match at.checked_sub(1) {
                    Some(before) => Some(&children[before].last_key),
                    None => self.behind(),
                };
                self.tree.child(*level, &children[*at], behind, &ahead).await?
            }
        };
        let empty = matches!(&*node, TreeNode::Leaf(items) if items.is_empty());
        if !empty {
            self.open.push((node, 0));
        }
        Ok(())
    }

    /// The last key left of the innermost open node.
    fn behind(&self) -> Option<&TreeKey> {
        self.open.iter().rev().skip(1).find_map(|(node, at)| match &**node {
            TreeNode::Interior { children, .. } => Some(&children[at.checked_sub(1)?].last_key),
            TreeNode::Leaf(_) => None,
        })
    }
}
