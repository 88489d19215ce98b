//! A second, plain way to build a tree, for tests: the whole map in memory, level by level, one pack. What the editor
//! builds must have the same root.

use std::sync::Arc;

use bytes::Bytes;

use crate::format::{
    BlobKind, ChildItem, ChunkerParameters, Commit, CommitPlace, Compression, Content, Entry, EntryBody,
    EntryHints, LeafItem, Mtime, NodeCutter, PackBuilder, PackKind, RepositoryFormat, StoredBlob,
    StoredCommit, Totals, TreeKey, TreeNode, Xattrs,
};
use crate::repo::refs::MemoryNotebook;
use crate::repo::{Repository, Services, Snapshot, layout};
use crate::store::Store;
use crate::types::{
    Clock, NodeId, Nonce, OsRandom, PackId, RefName, RepoPath, RepoUuid, Span, SystemClock, Timestamp,
};

pub(in crate::repo) const SEED: [u8; 32] = [7; 32];

/// A repository on `store`, with no request made.
pub(in crate::repo) fn repository(store: Arc<dyn Store>, index: Option<crate::meta::Index>) -> Repository {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let format = RepositoryFormat {
        uuid: RepoUuid::from_random([1; 16]),
        created: Timestamp::from_micros(0),
        default_branch: RefName::new("main").expect("valid"),
        chunker: ChunkerParameters::DEFAULT,
        cut_seed: SEED,
    };
    let services = Services { clock, random: Arc::new(OsRandom), index, who: "T <t@example.org>".into() };
    Repository::from_parts(store, format, services, Arc::new(MemoryNotebook::default()))
}

pub(in crate::repo) fn key(path: &str) -> TreeKey {
    TreeKey::of(&RepoPath::new(path).expect("valid")).expect("not the root")
}

pub(in crate::repo) fn entry(body: EntryBody) -> Entry {
    let mtime = Mtime { seconds: 1_700_000_000, nanos: 5 };
    Entry { mode: 0o644, uid: 1000, gid: 1000, mtime, xattrs: Xattrs::None, body }
}

pub(in crate::repo) fn file(path: &str, text: &str) -> LeafItem {
    let content = match text {
        "" => Content::Empty,
        text => Content::Inline(Bytes::copy_from_slice(text.as_bytes())),
    };
    let body = EntryBody::File { size: text.len() as u64, content };
    LeafItem { key: key(path), entry: entry(body), hints: EntryHints::default() }
}

pub(in crate::repo) fn dir(path: &str) -> LeafItem {
    let mut entry = entry(EntryBody::Directory);
    entry.mode = 0o755;
    LeafItem { key: key(path), entry, hints: EntryHints::default() }
}

/// `dirs` directories of `files` small files each, in key order.
pub(in crate::repo) fn many(dirs: usize, files: usize) -> Vec<LeafItem> {
    let mut items = Vec::new();
    for d in 0..dirs {
        items.push(dir(&format!("d{d:06}")));
        items.extend((0..files).map(|f| file(&format!("d{d:06}/f{f:06}.txt"), &format!("{d}/{f}"))));
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    items
}

/// A tree that was built, and how.
pub(in crate::repo) struct Built {
    pub(in crate::repo) root: NodeId,
    pub(in crate::repo) place: CommitPlace,
    pub(in crate::repo) totals: Totals,
    /// Nodes of each level, leaves first.
    pub(in crate::repo) nodes: Vec<usize>,
}

impl Built {
    pub(in crate::repo) fn commit(&self) -> StoredCommit {
        let commit = Commit {
            tree: self.root,
            parents: Vec::new(),
            author: "T <t@example.org>".into(),
            time: Timestamp::from_micros(0),
            message: String::new(),
            metadata: Default::default(),
            totals: self.totals,
            nonce: Nonce::from_bytes([0; 16]),
        };
        StoredCommit { commit, place: self.place }
    }

    pub(in crate::repo) fn snapshot(&self, repository: &Repository) -> Snapshot {
        let commit = self.commit();
        Snapshot::new(repository.clone(), commit.commit.id(), commit)
    }
}

/// Builds the tree of `items` (in key order) into one pack of `store`.
pub(in crate::repo) async fn build(store: &dyn Store, items: &[LeafItem]) -> Built {
    let mut pack = PackBuilder::new(PackId::from_bytes([42; 16]), PackKind::Meta);
    let mut put = |node: &TreeNode| {
        let (id, blob) = node.encode();
        let blob = StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), &blob, Compression::IfItPays);
        let hint = pack.push(&blob);
        let child = node.last_key().map(|last_key| ChildItem {
            last_key: last_key.clone(),
            id,
            counts: node.counts(),
            hint: Some(hint),
        });
        (id, hint, child)
    };
    let cut = |level: u8, sizes: &[usize], ends: &mut dyn FnMut(&mut NodeCutter, usize) -> bool| {
        let (mut cutter, mut starts) = (NodeCutter::new(SEED, level), vec![0]);
        for (i, size) in sizes.iter().enumerate() {
            if cutter.must_end_before(*size) {
                cutter.restart();
                starts.push(i);
            }
            if ends(&mut cutter, i) {
                starts.push(i + 1);
            }
        }
        starts.push(sizes.len());
        starts.dedup();
        starts.windows(2).map(|w| w[0]..w[1]).collect::<Vec<_>>()
    };
    let sizes: Vec<usize> = items.iter().map(LeafItem::cut_size).collect();
    let mut leaves = cut(0, &sizes, &mut |cutter, i| cutter.push_leaf(&items[i]));
    if leaves.is_empty() {
        leaves.push(0..0);
    }
    let mut level: Vec<_> = leaves.into_iter().map(|r| put(&TreeNode::Leaf(items[r].to_vec()))).collect();
    let leaves_end = level.last().and_then(|(_, at, _)| at.end()).expect("a leaf");
    let mut nodes = vec![level.len()];
    while level.len() > 1 {
        let children: Vec<ChildItem> =
            level.iter().map(|(_, _, child)| child.clone().expect("not empty")).collect();
        let number = nodes.len() as u8;
        let sizes: Vec<usize> = children.iter().map(ChildItem::cut_size).collect();
        let ranges = cut(number, &sizes, &mut |cutter, i| cutter.push_child(&children[i]));
        level = ranges
            .into_iter()
            .map(|r| put(&TreeNode::Interior { level: number, children: children[r].to_vec() }))
            .collect();
        nodes.push(level.len());
    }
    let (root, at, child) = level[0].clone();
    let start = if nodes.len() == 1 { at.offset } else { leaves_end };
    let interior = Span { pack: at.pack, offset: start, len: at.end().expect("small") - start };
    let pack = pack.finish();
    store.put(&layout::pack(PackKind::Meta, pack.id), pack.bytes).await.expect("put");
    store.put(&layout::index(pack.id), pack.index).await.expect("put");
    let counts = child.map(|child| child.counts).unwrap_or_default();
    let totals = Totals { entries: counts.entries, files: counts.files, bytes: counts.bytes };
    Built { root, place: CommitPlace { root: at, interior }, totals, nodes }
}
