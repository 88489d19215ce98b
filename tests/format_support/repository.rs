//! A whole repository in a folder, made with nothing but `atfs::format`: every kind of entry, trees and manifests of
//! several levels, odd names, missing and wrong hints, wild records.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use atfs::format::*;
use atfs::types::*;

use super::{SplitMix64, cut};

pub(crate) const SEED: [u8; 32] = [0x33; 32];

/// What a path must be after it was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) mode: u16,
    pub(crate) mtime: (i64, u32),
    /// None for a directory, else the bytes of a file or a symlink's target.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) is_symlink: bool,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Paths (as bytes) and what they must be.
pub(crate) type Tree = BTreeMap<Vec<u8>, Expected>;

pub(crate) struct Builder {
    root: PathBuf,
    format: RepositoryFormat,
    random: SplitMix64,
    data: PackBuilder,
    meta: PackBuilder,
}

impl Builder {
    pub(crate) fn new(root: &Path) -> Self {
        let format = RepositoryFormat {
            uuid: RepoUuid::from_random([5; 16]),
            created: Timestamp::from_micros(1_795_000_000_000_000),
            default_branch: RefName::new("main").unwrap(),
            chunker: ChunkerParameters::DEFAULT,
            cut_seed: SEED,
        };
        let builder = Self {
            root: root.to_owned(),
            format,
            random: SplitMix64(9),
            data: PackBuilder::new(PackId::from_bytes([0xda; 16]), PackKind::Data),
            meta: PackBuilder::new(PackId::from_bytes([0x3e; 16]), PackKind::Meta),
        };
        builder.put("format.json", &builder.format.encode());
        builder
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.root.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn put_pack(&self, folder: &str, pack: FinishedPack) {
        let hex = pack.id.to_hex();
        self.put(&format!("{folder}/{}/{hex}", &hex[..2]), &pack.bytes);
        self.put(&format!("index/{}/{hex}", &hex[..2]), &pack.index);
    }

    fn new_pack(&mut self, kind: PackKind) -> PackBuilder {
        let id: [u8; 16] = self.random.bytes(16).try_into().unwrap();
        PackBuilder::new(PackId::from_bytes(id), kind)
    }

    /// Writes both packs and begins new ones.
    pub(crate) fn flush(&mut self) {
        let (data, meta) = (self.new_pack(PackKind::Data), self.new_pack(PackKind::Meta));
        let (data, meta) = (std::mem::replace(&mut self.data, data), std::mem::replace(&mut self.meta, meta));
        self.put_pack("data", data.finish());
        self.put_pack("meta", meta.finish());
    }

    fn meta(&mut self, kind: BlobKind, hash: [u8; 32], raw: &[u8]) -> Location {
        self.meta.push(&StoredBlob::pack(kind, hash, raw, Compression::IfItPays))
    }

    fn chunk(&mut self, raw: &[u8]) -> (ChunkId, Location) {
        let id = ChunkId::of(raw);
        (id, self.data.push(&StoredBlob::pack(BlobKind::Chunk, *id.as_bytes(), raw, Compression::IfItPays)))
    }

    /// Chunks of any length make a valid manifest: short ones give it several levels.
    fn content(&mut self, bytes: &[u8], chunk_len: usize) -> (Content, Option<Location>) {
        match bytes.len() {
            0 => (Content::Empty, None),
            1..=MAX_INLINE_BYTES => (Content::Inline(bytes.to_vec().into()), None),
            len if len as u64 <= SINGLE_CHUNK_BYTES => {
                let (id, at) = self.chunk(bytes);
                (Content::Chunk(id), Some(at))
            }
            _ => {
                let chunks = bytes.chunks(chunk_len).map(|raw| {
                    let (id, at) = self.chunk(raw);
                    ChunkItem { id, len: raw.len() as u32, hint: Some(at) }
                });
                let mut nodes = Vec::new();
                let mut cutter = ManifestCutter::new();
                let mut open = Vec::new();
                for chunk in chunks.collect::<Vec<_>>() {
                    open.push(chunk);
                    if cutter.push(chunk.id.as_bytes()) {
                        nodes.push(ManifestNode::Leaf(std::mem::take(&mut open)));
                    }
                }
                if !open.is_empty() {
                    nodes.push(ManifestNode::Leaf(open));
                }
                let mut children: Vec<ManifestChild> =
                    nodes.iter().map(|node| self.manifest_node(node)).collect();
                if children.len() > 1 {
                    assert!(children.len() < 128, "two levels are enough here");
                    let root = ManifestNode::Interior { level: 1, children };
                    children = vec![self.manifest_node(&root)];
                }
                (Content::Manifest(children[0].id), children[0].hint)
            }
        }
    }

    fn manifest_node(&mut self, node: &ManifestNode) -> ManifestChild {
        let (id, blob) = node.encode();
        let hint = Some(self.meta(BlobKind::ManifestNode, *id.as_bytes(), &blob));
        let (chunks, bytes) = node.totals();
        ManifestChild { id, chunks, bytes, hint }
    }

    /// Stores a tree and gives its root node's id, place and counts.
    pub(crate) fn tree(&mut self, tree: &Tree) -> (NodeId, Location, Counts) {
        let mut items = Vec::new();
        for (n, (path, expected)) in tree.iter().enumerate() {
            let mut hints = EntryHints::default();
            let body = match &expected.bytes {
                None => EntryBody::Directory,
                Some(target) if expected.is_symlink => EntryBody::Symlink { target: target.clone().into() },
                Some(bytes) => {
                    let (content, hint) = self.content(bytes, if n % 2 == 0 { 3_000 } else { 700_000 });
                    hints.content = hint;
                    EntryBody::File { size: bytes.len() as u64, content }
                }
            };
            let (xattrs, blob) = XattrList::from_pairs(expected.xattrs.clone()).unwrap().place();
            if let Some((id, blob)) = blob {
                hints.xattrs = Some(self.meta(BlobKind::Xattrs, *id.as_bytes(), &blob));
            }
            // Rescue: some hints are missing, some lead nowhere, some lead to other bytes.
            if let Some(hint) = hints.content.as_mut() {
                match n % 7 {
                    0 => hints.content = None,
                    1 => hint.pack = PackId::from_bytes([0xee; 16]),
                    2 => hint.offset += 1,
                    _ => {}
                }
            }
            let mtime = Mtime { seconds: expected.mtime.0, nanos: expected.mtime.1 };
            let (uid, gid) = (n as u32, u32::MAX - n as u32);
            let entry = Entry { mode: expected.mode, uid, gid, mtime, xattrs, body };
            let key = TreeKey::of(&RepoPath::new(path.clone()).unwrap()).unwrap();
            let item = LeafItem { key, entry, hints };
            item.check().unwrap();
            items.push(item);
        }
        items.sort_by(|a, b| a.key.cmp(&b.key));
        let mut nodes = Vec::new();
        cut(NodeCutter::new(SEED, 0), items, LeafItem::cut_size, NodeCutter::push_leaf, |items| {
            nodes.push(TreeNode::Leaf(items));
        });
        if nodes.is_empty() {
            nodes.push(TreeNode::Leaf(Vec::new()));
        }
        for level in 1.. {
            let children: Vec<ChildItem> = nodes
                .iter()
                .map(|node| {
                    let (id, blob) = node.encode();
                    let hint = Some(self.meta(BlobKind::TreeNode, *id.as_bytes(), &blob));
                    // The empty tree has no last key; its leaf is the root, and nobody's child.
                    let last_key = node.last_key().cloned();
                    last_key.map(|last_key| ChildItem { last_key, id, counts: node.counts(), hint })
                })
                .collect::<Option<_>>()
                .unwrap_or_default();
            match &children[..] {
                [] => {
                    let (id, blob) = nodes[0].encode();
                    return (id, self.meta(BlobKind::TreeNode, *id.as_bytes(), &blob), Counts::default());
                }
                [root] => return (root.id, root.hint.unwrap(), root.counts),
                _ => {}
            }
            nodes.clear();
            let cutter = NodeCutter::new(SEED, level);
            cut(cutter, children, ChildItem::cut_size, NodeCutter::push_child, |children| {
                nodes.push(TreeNode::Interior { level, children });
            });
        }
        unreachable!("levels end")
    }

    pub(crate) fn commit(&mut self, tree: &Tree, parents: Vec<CommitId>, message: &str) -> StoredCommit {
        let (tree, root, counts) = self.tree(tree);
        let Counts { entries, files, bytes } = counts;
        let commit = Commit {
            tree,
            parents,
            author: "Ada <ada@example.org>".into(),
            time: Timestamp::from_micros(1_795_000_001_000_000),
            message: message.into(),
            metadata: [("job".into(), "42".into())].into(),
            totals: Totals { entries, files, bytes },
            nonce: Nonce::from_bytes(self.random.bytes(16).try_into().unwrap()),
        };
        commit.check().unwrap();
        let stored = StoredCommit { commit, place: CommitPlace { root, interior: root.span() } };
        let id = stored.commit.id().to_hex();
        self.put(&format!("commits/{}/{id}.json", &id[..2]), &stored.encode());
        stored
    }

    /// Writes a log: a birth, then a move to each commit; `None` deletes.
    pub(crate) fn log(&mut self, kind: RefKind, name: &str, heads: &[Option<&StoredCommit>]) -> String {
        let name = RefName::new(name).unwrap();
        let folder = match kind {
            RefKind::Branch => format!("refs/heads/{}", name.to_key()),
            RefKind::Tag => format!("refs/tags/{}", name.to_key()),
        };
        let mut record = Record {
            repository: self.format.uuid,
            name: RecordName::Ref(kind, name),
            kind: RecordKind::Birth,
            seq: 1,
            head: None,
            previous_commit: None,
            previous_record: None,
            who: "ada@node7".into(),
            when: Timestamp::from_micros(1_795_000_002_000_000),
            operation: Operation { name: "commit".into(), reason: "why not".into() },
            checks: vec![],
            settings_seq: 0,
            gc_epoch: 0,
            settings: BTreeMap::new(),
            moves: 0,
            nonce: Nonce::from_bytes([1; 16]),
        };
        for head in heads {
            let bytes = self.put_record(&folder, &record);
            record.previous_record = Some(Record::hash_of(&bytes));
            record.previous_commit = record.head.as_ref().map(|(id, _)| *id);
            record.seq += 1;
            record.head = head.map(|stored| (stored.commit.id(), stored.clone()));
            record.kind = if head.is_some() { RecordKind::Move } else { RecordKind::Delete };
            record.moves += u64::from(head.is_some());
        }
        self.put_record(&folder, &record);
        folder
    }

    fn put_record(&self, folder: &str, record: &Record) -> Vec<u8> {
        record.check().unwrap();
        let bytes = record.encode();
        self.put(&format!("{folder}/{:012}.json", 999_999_999_999 - record.seq), &bytes);
        bytes
    }
}

/// A tree with one of everything.
pub(crate) fn sample_tree() -> Tree {
    let mut tree = Tree::new();
    let mut random = SplitMix64(4);
    let mut add = |path: &[u8], bytes: Option<Vec<u8>>| {
        let n = tree.len() as i64;
        let mtime = (1_700_000_000 + n, 1_000 * n as u32);
        let mode = if bytes.is_some() { 0o644 } else { 0o755 };
        let expected = Expected { mode, mtime, bytes, is_symlink: false, xattrs: Vec::new() };
        tree.insert(path.to_vec(), expected);
    };
    for dir in ["empty dir", "sizes", "names", "modes", "labels"] {
        add(dir.as_bytes(), None);
    }
    for len in [0, 1, 511, 512, 513, 5_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_001] {
        add(format!("sizes/noise-{len}").as_bytes(), Some(random.bytes(len)));
        let text = b"2026-11-23,17.5,ok\n".repeat(len / 19 + 1)[..len].to_vec();
        add(format!("sizes/text-{len}").as_bytes(), Some(text));
    }
    let long = "n".repeat(255);
    let deep = ["d".repeat(200), "d".repeat(200), "d".repeat(200), "d".repeat(200)];
    for depth in 1..=deep.len() {
        add(deep[..depth].join("/").as_bytes(), None);
    }
    for name in [
        &b" "[..],
        b"a\nb",
        b"\x01\x7f",
        b"\xff\xfe",
        "\u{e4}\u{1f600}".as_bytes(),
        b"-rf",
        b"a\\b",
        long.as_bytes(),
    ] {
        add(&[b"names/", name].concat(), Some(name.to_vec()));
    }
    // Names whose order as paths and as keys differs.
    for path in ["names/a", "names/a/x", "names/a.b", "names/a-b"] {
        add(path.as_bytes(), if path == "names/a" { None } else { Some(b"x".to_vec()) });
    }
    for n in 0..1_200 {
        add(format!("labels/{n:05}.json").as_bytes(), Some(format!("{{\"label\":{}}}", n * n).into_bytes()));
    }
    for mode in [0o000, 0o400, 0o777, 0o1644] {
        add(format!("modes/{mode:o}").as_bytes(), Some(b"mode".to_vec()));
    }
    for mode in [0o000, 0o400, 0o777, 0o1644] {
        tree_mode(&mut tree, &format!("modes/{mode:o}"), mode);
    }
    tree_mode(&mut tree, "modes", 0o555);
    tree_mode(&mut tree, "empty dir", 0o1777);
    for (path, target) in
        [("link", "sizes/text-5000"), ("names/dangling", "/no/where"), ("names/up", "../..")]
    {
        let bytes = Some(target.as_bytes().to_vec());
        let expected =
            Expected { mode: 0o777, mtime: (-1, 999_999_999), bytes, is_symlink: true, xattrs: Vec::new() };
        tree.insert(path.into(), expected);
    }
    for (path, len) in [("sizes/text-512", 10), ("sizes/noise-513", 2_000), ("empty dir", 3)] {
        let pairs = vec![(b"user.long".to_vec(), vec![b'x'; len]), (b"user.none".to_vec(), Vec::new())];
        tree.get_mut(path.as_bytes()).unwrap().xattrs = pairs;
    }
    tree.get_mut(&b"sizes/text-1"[..]).unwrap().mtime = (-86_400, 1);
    tree
}

fn tree_mode(tree: &mut Tree, path: &str, mode: u16) {
    tree.get_mut(path.as_bytes()).unwrap().mode = mode;
}

/// What lies below a folder, to compare with a [`Tree`].
pub(crate) fn scan(root: &Path) -> Tree {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let mut found = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let bytes = if meta.is_dir() {
                folders.push(path.clone());
                None
            } else if meta.is_symlink() {
                Some(std::fs::read_link(&path).unwrap().into_os_string().into_vec())
            } else {
                Some(std::fs::read(&path).unwrap())
            };
            let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = xattr::list(&path)
                .map(|names| {
                    names.filter(|name| name.as_bytes().starts_with(b"user.")).collect::<Vec<OsString>>()
                })
                .unwrap_or_default()
                .into_iter()
                .map(|name| (name.as_bytes().to_vec(), xattr::get(&path, &name).unwrap().unwrap()))
                .collect();
            xattrs.sort();
            let expected = Expected {
                mode: (meta.mode() & 0o7777) as u16,
                mtime: (meta.mtime(), meta.mtime_nsec() as u32),
                bytes,
                is_symlink: meta.is_symlink(),
                xattrs,
            };
            found.insert(name, expected);
        }
    }
    found
}
