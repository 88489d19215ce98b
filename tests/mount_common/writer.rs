//! A plain way to make a commit of a directory, for tests of reading: the whole tree in memory, one pack of nodes, one of
//! chunks of 1 MiB each. Independent of the engine's own writer.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use atfs::format::{
    BlobKind, ChildItem, ChunkItem, Commit, CommitPlace, Compression, Content, Entry, EntryBody, EntryHints,
    LeafItem, ManifestNode, Mtime, NodeCutter, Operation, PackBuilder, PackKind, StoredBlob, StoredCommit,
    Totals, TreeKey, TreeNode, XattrList, Xattrs,
};
use atfs::repo::{Repository, layout};
use atfs::types::{ChunkId, CommitId, Nonce, PackId, RefKind, RefName, RepoPath, Span};

const CHUNK: usize = 1 << 20;

/// Commits the tree below `source` as the new branch `branch`.
pub async fn commit(repository: &Repository, branch: &str, source: &Path) -> CommitId {
    let random = || repository.services().random.bytes16();
    let mut data = PackBuilder::new(PackId::from_bytes(random()), PackKind::Data);
    let mut meta = PackBuilder::new(PackId::from_bytes(random()), PackKind::Meta);
    let mut items = Vec::new();
    for found in walkdir::WalkDir::new(source).min_depth(1) {
        let found = found.unwrap();
        let path = found.path().strip_prefix(source).unwrap().as_os_str().as_bytes().to_vec();
        let key = TreeKey::of(&RepoPath::new(path).unwrap()).unwrap();
        items.push(item(key, found.path(), &mut data, &mut meta));
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    let (root, place, totals) = tree(repository, &items, &mut meta);
    for pack in [data, meta].into_iter().filter(|pack| !pack.is_empty()) {
        let pack = pack.finish();
        repository.store().put(&layout::pack(pack.kind, pack.id), pack.bytes).await.unwrap();
        repository.store().put(&layout::index(pack.id), pack.index).await.unwrap();
    }
    let commit = Commit {
        tree: root,
        parents: Vec::new(),
        author: repository.services().who.clone(),
        time: repository.services().clock.now(),
        message: "test".into(),
        metadata: BTreeMap::new(),
        totals,
        nonce: Nonce::from_bytes(random()),
    };
    let stored = StoredCommit { commit, place };
    let id = stored.commit.id();
    repository.store().put(&layout::commit(id), stored.encode().into()).await.unwrap();
    let operation = Operation { name: "test".into(), reason: String::new() };
    let name = RefName::new(branch).unwrap();
    repository.create_ref(RefKind::Branch, &name, (id, stored), operation).await.unwrap();
    id
}

fn item(key: TreeKey, path: &Path, data: &mut PackBuilder, meta: &mut PackBuilder) -> LeafItem {
    let metadata = path.symlink_metadata().unwrap();
    let mut hints = EntryHints::default();
    let body = if metadata.is_dir() {
        EntryBody::Directory
    } else if metadata.is_symlink() {
        EntryBody::Symlink { target: fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec().into() }
    } else {
        let bytes = fs::read(path).unwrap();
        let size = bytes.len() as u64;
        let mut chunk = |bytes: &[u8]| {
            let id = ChunkId::of(bytes);
            let blob = StoredBlob::pack(BlobKind::Chunk, *id.as_bytes(), bytes, Compression::IfItPays);
            (id, data.push(&blob))
        };
        let content = match bytes.len() {
            0 => Content::Empty,
            1..=512 => Content::Inline(bytes.into()),
            513..=CHUNK => {
                let (id, at) = chunk(&bytes);
                hints.content = Some(at);
                Content::Chunk(id)
            }
            _ => {
                let chunks = bytes.chunks(CHUNK).map(|bytes| {
                    let (id, at) = chunk(bytes);
                    ChunkItem { id, len: bytes.len() as u32, hint: Some(at) }
                });
                let (id, blob) = ManifestNode::Leaf(chunks.collect()).encode();
                let blob =
                    StoredBlob::pack(BlobKind::ManifestNode, *id.as_bytes(), &blob, Compression::IfItPays);
                hints.content = Some(meta.push(&blob));
                Content::Manifest(id)
            }
        };
        EntryBody::File { size, content }
    };
    let mut xattrs = XattrList::default();
    if !metadata.is_symlink() {
        for name in xattr::list(path).unwrap().filter(|name| name.as_bytes().starts_with(b"user.")) {
            let value = xattr::get(path, &name).unwrap().unwrap();
            xattrs.0.push((name.as_bytes().to_vec(), value));
        }
        xattrs.0.sort();
    }
    let entry = Entry {
        mode: (metadata.permissions().mode() & 0o1777) as u16,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: Mtime { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 },
        xattrs: if xattrs.0.is_empty() { Xattrs::None } else { Xattrs::Inline(xattrs) },
        body,
    };
    LeafItem { key, entry, hints }
}

fn tree(
    repository: &Repository,
    items: &[LeafItem],
    pack: &mut PackBuilder,
) -> (atfs::types::NodeId, CommitPlace, Totals) {
    let seed = repository.format().cut_seed;
    let mut put = |node: TreeNode| {
        let (id, blob) = node.encode();
        let blob = StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), &blob, Compression::IfItPays);
        let at = pack.push(&blob);
        (id, at, node)
    };
    let mut cutter = NodeCutter::new(seed, 0);
    let mut leaves = vec![Vec::new()];
    for item in items {
        if cutter.must_end_before(item.cut_size()) {
            cutter.restart();
            leaves.push(Vec::new());
        }
        leaves.last_mut().unwrap().push(item.clone());
        if cutter.push_leaf(item) {
            leaves.push(Vec::new());
        }
    }
    leaves.retain(|leaf| !leaf.is_empty());
    if leaves.is_empty() {
        leaves.push(Vec::new());
    }
    let mut level: Vec<_> = leaves.into_iter().map(|leaf| put(TreeNode::Leaf(leaf))).collect();
    let leaves_end = level.last().unwrap().1.end().unwrap();
    let mut number = 0;
    while level.len() > 1 {
        number += 1;
        let mut cutter = NodeCutter::new(seed, number);
        let mut nodes = vec![Vec::new()];
        for (id, at, node) in &level {
            let last_key = node.last_key().unwrap().clone();
            let child = ChildItem { last_key, id: *id, counts: node.counts(), hint: Some(*at) };
            if cutter.must_end_before(child.cut_size()) {
                cutter.restart();
                nodes.push(Vec::new());
            }
            let ends = cutter.push_child(&child);
            nodes.last_mut().unwrap().push(child);
            if ends {
                nodes.push(Vec::new());
            }
        }
        nodes.retain(|node| !node.is_empty());
        level =
            nodes.into_iter().map(|children| put(TreeNode::Interior { level: number, children })).collect();
    }
    let (id, at, node) = level.pop().unwrap();
    let start = if number == 0 { at.offset } else { leaves_end };
    let interior = Span { pack: at.pack, offset: start, len: at.end().unwrap() - start };
    let counts = node.counts();
    let totals = Totals { entries: counts.entries, files: counts.files, bytes: counts.bytes };
    (id, CommitPlace { root: at, interior }, totals)
}
