//! What the commit loop needs of the tree: building one from edits.
//!
//! The plain way, whose cost follows the size of the tree: the whole map is read, changed in memory, and written anew.
//! `tree/` replaces it by one whose cost follows the change; the roots are equal, since equal entries have equal trees.

use std::collections::BTreeMap;

use crate::format::{
    BlobKind, ChildItem, CommitPlace, Compression, LeafItem, NodeCutter, PackBuilder, PackKind, StoredBlob,
    Totals, TreeKey, TreeNode,
};
use crate::repo::{Edits, Placed, RepoError, Snapshot, layout};
use crate::types::{Location, NodeId, PackId, Span};

/// A tree that was built and written.
#[derive(Debug, Clone)]
pub(super) struct Built {
    /// Its root.
    pub(super) tree: NodeId,
    /// What it holds.
    pub(super) totals: Totals,
    /// Where its root and interior nodes lie.
    pub(super) place: CommitPlace,
    /// The packs that were written, durable.
    pub(super) packs: Vec<PackId>,
}

/// Applies edits to a tree and writes the nodes that are new.
pub(super) async fn build(base: &Snapshot, edits: &Edits) -> Result<Built, RepoError> {
    let mut map = scan(base).await?;
    for (key, edit) in edits.iter() {
        match edit {
            Some(placed) => map.insert(key.clone(), placed.clone()),
            None => map.remove(key),
        };
    }
    let items =
        map.into_iter().map(|(key, placed)| LeafItem { key, entry: placed.entry, hints: placed.hints });
    let repository = base.repository();
    let seed = repository.format().cut_seed;
    let id = PackId::from_bytes(repository.services().random.bytes16());
    let mut pack = PackBuilder::new(id, PackKind::Meta);

    let leaves = cut(seed, 0, items.collect(), LeafItem::cut_size, NodeCutter::push_leaf);
    let mut level: Vec<Written> =
        leaves.into_iter().map(|items| write(&mut pack, &TreeNode::Leaf(items))).collect();
    if level.is_empty() {
        level.push(write(&mut pack, &TreeNode::Leaf(Vec::new())));
    }
    let mut number = 0;
    let mut interior_start = level[0].at.offset;
    while level.len() > 1 {
        if number == 0 {
            interior_start = pack.len();
        }
        number += 1;
        let children: Vec<ChildItem> = level.into_iter().filter_map(|written| written.child).collect();
        level = cut(seed, number, children, ChildItem::cut_size, NodeCutter::push_child)
            .into_iter()
            .map(|children| write(&mut pack, &TreeNode::Interior { level: number, children }))
            .collect();
    }
    let root = &level[0];
    let interior = Span { pack: id, offset: interior_start, len: pack.len() - interior_start };
    let counts = root.child.as_ref().map(|child| child.counts).unwrap_or_default();
    let built = Built {
        tree: root.id,
        totals: Totals { entries: counts.entries, files: counts.files, bytes: counts.bytes },
        place: CommitPlace { root: root.at, interior },
        packs: vec![id],
    };
    let pack = pack.finish();
    repository.store().put(&layout::pack(PackKind::Meta, id), pack.bytes).await?;
    repository.store().put(&layout::index(id), pack.index).await?;
    Ok(built)
}

struct Written {
    id: NodeId,
    at: Location,
    child: Option<ChildItem>,
}

fn write(pack: &mut PackBuilder, node: &TreeNode) -> Written {
    let (id, blob) = node.encode();
    let at = pack.push(&StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), &blob, Compression::IfItPays));
    let child = node.last_key().map(|last_key| ChildItem {
        last_key: last_key.clone(),
        id,
        counts: node.counts(),
        hint: Some(at),
    });
    Written { id, at, child }
}

fn cut<T>(
    seed: [u8; 32],
    level: u8,
    items: Vec<T>,
    size: impl Fn(&T) -> usize,
    push: impl Fn(&mut NodeCutter, &T) -> bool,
) -> Vec<Vec<T>> {
    let mut cutter = NodeCutter::new(seed, level);
    let (mut nodes, mut node) = (Vec::new(), Vec::new());
    for item in items {
        if cutter.must_end_before(size(&item)) {
            cutter.restart();
            nodes.push(std::mem::take(&mut node));
        }
        let ends = push(&mut cutter, &item);
        node.push(item);
        if ends {
            nodes.push(std::mem::take(&mut node));
        }
    }
    if !node.is_empty() {
        nodes.push(node);
    }
    nodes
}

async fn scan(snapshot: &Snapshot) -> Result<BTreeMap<TreeKey, Placed>, RepoError> {
    let mut map = BTreeMap::new();
    let mut ranks = 0..snapshot.commit().totals.entries;
    while !ranks.is_empty() {
        let page = snapshot.page(ranks.clone()).await?;
        ranks.start = page.last().map_or(ranks.end, |found| found.rank + 1);
        map.extend(page.into_iter().map(|found| (found.item.key.clone(), found.item.into())));
    }
    Ok(map)
}
