//! Reading a tree: by key, by rank, by range.
//!
//! Must always be true: a node is used only after its hash was checked (by [`Blobs`]) and after it was checked against
//! its parent: level, last key, counts, and that it begins behind its left neighbour. So a rank computed on the
//! way down is the rank of the entry found there, in a hostile repository too.
//!
//! The interior nodes of a commit lie in one run at the end of its pack. The first one that is missing brings the whole
//! run, in one request; afterwards a look-up asks the store for leaves only.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::try_join;
use tokio::sync::OnceCell;

use crate::format::{
    ChildItem, CommitPlace, Counts, FormatError, LeafItem, PackKind, StoredCommit, Totals, TreeKey, TreeNode,
};
use crate::repo::blobs::{Blobs, Wanted};
use crate::repo::{Found, RepoError};
use crate::types::{Location, NodeId, RepoPath, Span};

use super::nodes::BuiltTree;
use super::scan::Scans;

/// The most that is fetched of the run of interior nodes, from its end, where the upper levels are: all of it up to
/// about 40 million entries.
const MAX_INTERIOR_BYTES: u64 = 8 << 20;

/// Most entries of one page: a listing that stops early has not copied a whole leaf for a few names.
const PAGE: usize = 256;

/// One tree, to be read.
#[derive(Debug)]
pub(in crate::repo) struct Tree {
    blobs: Blobs,
    id: NodeId,
    place: Location,
    interior: Span,
    totals: Totals,
    root: OnceLock<Arc<TreeNode>>,
    interior_fetched: OnceCell<()>,
    scans: Scans,
}

/// Which entry is looked for.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// The first whose key is not less.
    Key(&'a [u8]),
    /// The one with this rank.
    Rank(u64),
}

/// A leaf, and the rank of its first entry.
struct Leaf {
    node: Arc<TreeNode>,
    first_rank: u64,
}

impl Leaf {
    fn items(&self) -> &[LeafItem] {
        match &*self.node {
            TreeNode::Leaf(items) => items,
            TreeNode::Interior { .. } => &[],
        }
    }
}

impl Tree {
    /// The tree of a commit.
    pub(in crate::repo) fn of(blobs: Blobs, stored: &StoredCommit) -> Self {
        Self {
            blobs,
            id: stored.commit.tree,
            place: stored.place.root,
            interior: stored.place.interior,
            totals: stored.commit.totals,
            root: OnceLock::new(),
            interior_fetched: OnceCell::new(),
            scans: Scans::default(),
        }
    }

    /// The root node, checked against the commit.
    pub(in crate::repo) async fn root(&self) -> Result<&Arc<TreeNode>, RepoError> {
        if let Some(root) = self.root.get() {
            return Ok(root);
        }
        let root = self.interior_node(self.id, Some(self.place)).await?;
        let Counts { entries, files, bytes } = root.counts();
        if (Totals { entries, files, bytes }) != self.totals {
            let rule = format!(
                "holds {entries} entries, {files} files, {bytes} bytes; its commit says {:?}",
                self.totals
            );
            let error = FormatError::malformed("tree root", rule);
            return Err(self.blobs.damaged::<TreeNode>(self.id, Some(self.place), error));
        }
        Ok(self.root.get_or_init(|| root))
    }

    /// The root's id.
    pub(in crate::repo) fn id(&self) -> NodeId {
        self.id
    }

    /// Where the root should lie.
    pub(super) fn place(&self) -> Location {
        self.place
    }

    /// This tree as the result of a change that changed nothing.
    pub(super) fn as_built(&self) -> BuiltTree {
        let place = CommitPlace { root: self.place, interior: self.interior };
        BuiltTree { root: self.id, totals: self.totals, place }
    }

    /// A node of this tree that was checked in its place before.
    pub(super) async fn node(&self, id: NodeId, hint: Option<Location>) -> Result<Arc<TreeNode>, RepoError> {
        self.interior_node(id, hint).await
    }

    /// A child of a node of `level`, checked against what that says of it; `behind` is the last key before the child,
    /// `ahead` are siblings that will be asked for next.
    pub(in crate::repo) async fn child(
        &self,
        level: u8,
        child: &ChildItem,
        behind: Option<&TreeKey>,
        ahead: &[&ChildItem],
    ) -> Result<Arc<TreeNode>, RepoError> {
        if level > 1 && child.hint.is_some_and(|at| lies_in(&at, &self.interior)) {
            // The run of interior nodes comes as a whole.
            self.interior_node(child.id, child.hint).await?;
        }
        let ahead: Vec<_> = ahead.iter().map(|child| Wanted::new(child.id, child.hint)).collect();
        let node = self.blobs.get_with(Wanted::new(child.id, child.hint), &ahead).await?;
        self.check(level, child, behind, &node)?;
        Ok(node)
    }

    fn check(
        &self,
        parent: u8,
        child: &ChildItem,
        behind: Option<&TreeKey>,
        node: &TreeNode,
    ) -> Result<(), RepoError> {
        node.check_as_child(parent, child, behind)
            .map_err(|source| self.blobs.damaged::<TreeNode>(child.id, child.hint, source))
    }

    /// The entry with this key.
    pub(in crate::repo) async fn get(&self, key: &TreeKey) -> Result<Option<Found>, RepoError> {
        let Some(leaf) = self.descend(Target::Key(key.as_bytes()), 1).await? else { return Ok(None) };
        let found = leaf.items().binary_search_by(|item| item.key.cmp(key));
        Ok(found.ok().map(|at| found_at(&leaf, at)))
    }

    /// The entry with this rank.
    pub(in crate::repo) async fn at_rank(&self, rank: u64) -> Result<Option<Found>, RepoError> {
        let leaf = self.descend(Target::Rank(rank), 1).await?;
        Ok(leaf.map(|leaf| {
            let at = (rank - leaf.first_rank) as usize;
            found_at(&leaf, at)
        }))
    }

    /// The ranks of the direct children of `dir`.
    pub(in crate::repo) async fn children(&self, dir: &RepoPath) -> Result<Range<u64>, RepoError> {
        self.with_prefix(TreeKey::children_prefix(dir)).await
    }

    /// The ranks of everything below `dir`.
    pub(in crate::repo) async fn subtree(&self, dir: &RepoPath) -> Result<Range<u64>, RepoError> {
        if dir.is_root() {
            self.root().await?;
            return Ok(0..self.totals.entries);
        }
        self.with_prefix(TreeKey::subtree_prefix(dir)).await
    }

    /// Entries of `ranks`, in order, as far as the first leaf reaches and at most [`PAGE`].
    pub(in crate::repo) async fn page(&self, ranks: Range<u64>) -> Result<Vec<Found>, RepoError> {
        if ranks.is_empty() {
            return Ok(Vec::new());
        }
        let need = ranks.end - ranks.start;
        let Some(leaf) = self.descend(Target::Rank(ranks.start), need).await? else { return Ok(Vec::new()) };
        let start = (ranks.start - leaf.first_rank) as usize;
        let count = need.min(PAGE as u64) as usize;
        let items = leaf.items()[start..].iter().take(count).enumerate();
        Ok(items.map(|(i, item)| Found { rank: ranks.start + i as u64, item: item.clone() }).collect())
    }

    /// The ranks of all keys that begin with `prefix`, which ends with a zero byte.
    async fn with_prefix(&self, prefix: Vec<u8>) -> Result<Range<u64>, RepoError> {
        let mut behind = prefix.clone();
        if let Some(last) = behind.last_mut() {
            *last += 1;
        }
        // Side by side: the two ends often lie in different leaves.
        let (start, end) = try_join(self.rank_of(&prefix), self.rank_of(&behind)).await?;
        Ok(start..end)
    }

    /// How many keys are less than `key`.
    async fn rank_of(&self, key: &[u8]) -> Result<u64, RepoError> {
        let Some(leaf) = self.descend(Target::Key(key), 1).await? else { return Ok(self.totals.entries) };
        let less = leaf.items().partition_point(|item| item.key.as_bytes() < key);
        Ok(leaf.first_rank + less as u64)
    }

    /// The leaf that holds the target; `None` behind the last entry. `need` entries from there will be asked for.
    async fn descend(&self, target: Target<'_>, need: u64) -> Result<Option<Leaf>, RepoError> {
        let mut node = self.root().await?.clone();
        let mut first_rank = 0;
        // The node whose child at this place is the left neighbour of everything below.
        let mut behind: Option<(Arc<TreeNode>, usize)> = None;
        while let TreeNode::Interior { level, children } = &*node {
            let at = match target {
                Target::Key(key) => children.partition_point(|child| child.last_key.as_bytes() < key),
                Target::Rank(rank) => {
                    let mut end = first_rank;
                    children
                        .iter()
                        .position(|child| {
                            end += child.counts.entries;
                            rank < end
                        })
                        .unwrap_or(children.len())
                }
            };
            let Some(child) = children.get(at) else { return Ok(None) };
            first_rank += children[..at].iter().map(|child| child.counts.entries).sum::<u64>();
            let found = match self.blobs.at_hand(&Wanted::new(child.id, child.hint)) {
                Some(found) => found,
                None if *level > 1 => self.interior_node(child.id, child.hint).await?,
                None => self.leaf(&children[at..], first_rank, need).await?,
            };
            if at > 0 {
                behind = Some((node.clone(), at - 1));
            }
            let last_behind = behind.as_ref().and_then(|(node, at)| last_key_of_child(node, *at));
            self.check(*level, child, last_behind, &found)?;
            node = found;
        }
        let leaf = Leaf { node, first_rank };
        let holds = match target {
            Target::Key(key) => leaf.items().last().is_some_and(|item| item.key.as_bytes() >= key),
            Target::Rank(rank) => rank - first_rank < leaf.items().len() as u64,
        };
        Ok(holds.then_some(leaf))
    }

    /// A node above the leaves (or the root), by way of the run of interior nodes if it lies there.
    async fn interior_node(&self, id: NodeId, hint: Option<Location>) -> Result<Arc<TreeNode>, RepoError> {
        if let Some(node) = self.blobs.at_hand(&Wanted::new(id, hint)) {
            return Ok(node);
        }
        if hint.is_some_and(|at| lies_in(&at, &self.interior)) {
            self.interior_fetched.get_or_init(|| self.fetch_interior()).await;
        }
        self.blobs.get(id, hint).await
    }

    /// Fetches the run of interior nodes and keeps every node that is reached from the root. Failing is no error: what is
    /// missing is then fetched node by node, and that tells what is wrong.
    async fn fetch_interior(&self) {
        let Some(end) = self.interior.offset.checked_add(self.interior.len) else { return };
        let len = self.interior.len.min(MAX_INTERIOR_BYTES);
        let run = Span { pack: self.interior.pack, offset: end - len, len };
        let Ok(bytes) = self.blobs.range(PackKind::Meta, run).await else { return };
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([(self.id, Some(self.place))]);
        while let Some((id, hint)) = queue.pop_front() {
            let Some(stored) = hint.and_then(|at| slice(&bytes, &run, &at)) else { continue };
            if !seen.insert(id) {
                continue;
            }
            let Some(node) = self.blobs.take_over::<TreeNode>(id, &stored) else { continue };
            if let TreeNode::Interior { level: 2.., children } = &*node {
                queue.extend(children.iter().map(|child| (child.id, child.hint)));
            }
        }
    }

    /// The leaf `siblings[0]`, whose first entry has the rank `first_rank`, and with it as many of the next ones as the
    /// caller will need or as the scan deserves.
    async fn leaf(
        &self,
        siblings: &[ChildItem],
        first_rank: u64,
        need: u64,
    ) -> Result<Arc<TreeNode>, RepoError> {
        let window = self.scans.window(first_rank);
        let mut end = first_rank;
        let mut wanted = Vec::new();
        for child in siblings.iter().take(Scans::limit()) {
            if wanted.len() >= window && end - first_rank >= need {
                break;
            }
            end += child.counts.entries;
            wanted.push(Wanted::new(child.id, child.hint));
        }
        self.scans.fetched(wanted.len(), end);
        self.blobs.get_with(wanted[0], &wanted[1..]).await
    }
}

fn found_at(leaf: &Leaf, at: usize) -> Found {
    Found { rank: leaf.first_rank + at as u64, item: leaf.items()[at].clone() }
}

fn last_key_of_child(node: &TreeNode, at: usize) -> Option<&TreeKey> {
    match node {
        TreeNode::Interior { children, .. } => children.get(at).map(|child| &child.last_key),
        TreeNode::Leaf(_) => None,
    }
}

fn lies_in(at: &Location, span: &Span) -> bool {
    let end = span.offset.saturating_add(span.len);
    at.pack == span.pack && at.offset >= span.offset && at.end().is_some_and(|at_end| at_end <= end)
}

/// The bytes of one blob out of a run.
fn slice(bytes: &Bytes, run: &Span, at: &Location) -> Option<Bytes> {
    if !lies_in(at, run) {
        return None;
    }
    let start = usize::try_from(at.offset - run.offset).ok()?;
    let end = start.checked_add(at.len as usize)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}
