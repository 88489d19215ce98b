//! The format cannot change unnoticed: stored bytes of every structure, and every boundary that identity depends on,
//! stand in `tests/golden/`. `ATFS_WRITE_GOLDEN=1 cargo test --test format_golden` writes them anew; a difference in an
//! existing file means that older repositories would be read or cut differently.

#![allow(clippy::unwrap_used)]

mod format_support;

use std::fmt::Write;
use std::path::Path;

use atfs::format::*;
use atfs::types::*;
use bytes::Bytes;
use format_support::{SplitMix64, build_tree, chunk_file, inline_file, item, key};

const SEED: [u8; 32] = *b"golden cut seed: 32 bytes of it.";

/// Compares with the file, or writes it.
fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("ATFS_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    let first = expected.iter().zip(bytes).position(|(a, b)| a != b);
    assert!(
        expected == bytes,
        "{name} has changed: {} bytes, now {}; first difference at {first:?}",
        expected.len(),
        bytes.len()
    );
}

fn at(pack: u8, offset: u64, len: u32) -> Option<Location> {
    Some(Location { pack: PackId::from_bytes([pack; 16]), offset, len })
}

/// One entry of every kind.
fn leaf() -> TreeNode {
    let external = ExternalObject {
        bucket: "scans-raw".into(),
        key: "2026/ü x.svs".into(),
        version: "v.3L4kqtJlcpXroDTDmJ".into(),
        etag: "9b2cf535f27731c974343645a3985328-12".into(),
    };
    let xattrs = XattrList::from_pairs(vec![
        (b"user.stain".to_vec(), b"H&E".to_vec()),
        (b"user.empty".to_vec(), b"".to_vec()),
    ]);
    let mut items = vec![
        item("dir", EntryBody::Directory),
        inline_file("dir/empty", b""),
        inline_file("dir/inline.txt", b"hello\n"),
        chunk_file("dir/chunk.jpg"),
        item(
            "dir/slide.svs",
            EntryBody::File { size: 5 << 30, content: Content::Manifest(ManifestId::of(b"m")) },
        ),
        item(
            "dir/external.svs",
            EntryBody::File { size: 1 << 40, content: Content::External(Box::new(external)) },
        ),
        item("dir/link", EntryBody::Symlink { target: Bytes::from_static(b"../other") }),
        item("odd \"name\"\n\u{1f600}", EntryBody::Directory),
    ];
    items[0].entry.mode = 0o1755;
    items[0].entry.mtime = Mtime { seconds: -1, nanos: 1 };
    items[2].entry.xattrs = xattrs.unwrap().place().0;
    items[3].entry.xattrs = Xattrs::Blob(XattrsId::of(b"x"));
    items[3].hints = EntryHints { content: at(1, 25, 40_000), xattrs: at(2, 25, 1500) };
    items[4].hints.content = at(2, 1525, 800);
    items.sort_by(|a, b| a.key.cmp(&b.key));
    TreeNode::Leaf(items)
}

#[test]
fn nodes() {
    let leaf = leaf();
    let (leaf_id, leaf_blob) = leaf.encode();
    golden("tree-leaf.bin", &leaf_blob);
    assert_eq!(TreeNode::decode(leaf_id, &leaf_blob), Ok(leaf.clone()));

    let child =
        |last_key: &str, id, hint| ChildItem { last_key: key(last_key), id, counts: leaf.counts(), hint };
    let children = vec![
        child("a", leaf_id, at(3, 25, 300)),
        child("b/c", NodeId::of(b"c"), at(3, 325, 200)),
        child("b/d", NodeId::of(b"d"), None),
        child("b/e", NodeId::of(b"e"), at(4, 1 << 33, 4_194_368)),
    ];
    let interior = TreeNode::Interior { level: 2, children };
    let (interior_id, blob) = interior.encode();
    golden("tree-interior.bin", &blob);
    assert_eq!(TreeNode::decode(interior_id, &blob), Ok(interior));

    let (empty_id, blob) = TreeNode::Leaf(vec![]).encode();
    golden("tree-empty.bin", &blob);

    let chunks = (0..3u8).map(|n| {
        let len = 1_000_000 + u32::from(n);
        ChunkItem { id: ChunkId::of(&[n]), len, hint: at(5, 25 + u64::from(n) * 1_000_001, 1_000_001) }
    });
    let manifest = ManifestNode::Leaf(chunks.collect());
    let (manifest_id, blob) = manifest.encode();
    golden("manifest-leaf.bin", &blob);
    assert_eq!(ManifestNode::decode(manifest_id, &blob), Ok(manifest));

    let child = |chunks, hint| ManifestChild { id: manifest_id, chunks, bytes: chunks * 1_000_001, hint };
    let root = ManifestNode::Interior { level: 1, children: vec![child(3, at(6, 25, 99)), child(400, None)] };
    let (root_id, blob) = root.encode();
    golden("manifest-interior.bin", &blob);
    assert_eq!(ManifestNode::decode(root_id, &blob), Ok(root));

    let list = XattrList(vec![(b"user.a".to_vec(), vec![0x61; 1000]), (b"user.b".to_vec(), vec![0x62; 64])]);
    let blob = list.encode();
    let xattrs_id = XattrsId::of(&blob);
    golden("xattrs.bin", &blob);
    assert_eq!(XattrList::decode(xattrs_id, &blob), Ok(list));

    let ids = format!(
        "tree-leaf {leaf_id}\ntree-interior {interior_id}\ntree-empty {empty_id}\nmanifest-leaf {manifest_id}\n\
         manifest-interior {root_id}\nxattrs {xattrs_id}\n"
    );
    golden("node-ids.txt", ids.as_bytes());
}

#[test]
fn packs() {
    let mut data = PackBuilder::new(PackId::from_bytes([0xd1; 16]), PackKind::Data);
    for raw in [&b"first chunk"[..], b"", &[7; 700]] {
        let hash = *ChunkId::of(raw).as_bytes();
        data.push(&StoredBlob::pack(BlobKind::Chunk, hash, raw, Compression::Never));
    }
    let data = data.finish();
    golden("pack-data.bin", &data.bytes);
    golden("pack-index.bin", &data.index);
    assert_eq!(PackIndex::of_pack(&data.bytes), PackIndex::decode(&data.index));

    let mut meta = PackBuilder::new(PackId::from_bytes([0x3e; 16]), PackKind::Meta);
    let (id, blob) = leaf().encode();
    meta.push(&StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), &blob, Compression::Never));
    let (id, blob) =
        ManifestNode::Leaf(vec![ChunkItem { id: ChunkId::of(b""), len: 1, hint: None }]).encode();
    meta.push(&StoredBlob::pack(BlobKind::ManifestNode, *id.as_bytes(), &blob, Compression::Never));
    let blob = XattrList(vec![(b"user.a".to_vec(), vec![1; 1100])]).encode();
    meta.push(&StoredBlob::pack(
        BlobKind::Xattrs,
        *XattrsId::of(&blob).as_bytes(),
        &blob,
        Compression::Never,
    ));
    golden("pack-meta.bin", &meta.finish().bytes);
}

/// Other versions of zstd may write other bytes; all must read these.
#[test]
fn frames() {
    let raw = b"2026-11-23,17.5,ok\n".repeat(500);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/blob-zstd.bin");
    if std::env::var_os("ATFS_WRITE_GOLDEN").is_some() && !path.exists() {
        let blob = StoredBlob::pack(BlobKind::Chunk, [0; 32], &raw, Compression::IfItPays);
        std::fs::write(&path, &blob.stored).unwrap();
    }
    let stored = std::fs::read(&path).unwrap();
    assert_eq!(stored[0], 1);
    assert_eq!(StoredBlob::unpack(&stored, raw.len()).unwrap(), raw);
}

fn commit() -> StoredCommit {
    let pack = PackId::from_bytes([0x3e; 16]);
    StoredCommit {
        commit: Commit {
            tree: leaf().encode().0,
            parents: vec![CommitId::of(b"first"), CommitId::of(b"second")],
            author: "Ada Lovelace <ada@example.org>".into(),
            time: "2026-11-23T10:00:00.000001Z".parse().unwrap(),
            message: "a \"quoted\"\tline\nand \\ \u{0}\u{8}\u{c}\r\u{1f}\u{7f}é\u{2028}\u{1f600}".into(),
            metadata: [("job".into(), "42".into()), ("Zeile".into(), "ü".into()), ("é".into(), "".into())]
                .into(),
            totals: Totals { entries: 8, files: 5, bytes: (5 << 30) + (1 << 40) },
            nonce: Nonce::from_bytes([0x11; 16]),
        },
        place: CommitPlace {
            root: Location { pack, offset: 25, len: 512 },
            interior: Span { pack, offset: 25, len: 512 },
        },
    }
}

#[test]
fn commits_and_records() {
    let stored = commit();
    let id = stored.commit.id();
    golden("commit.json", &stored.encode());
    golden("commit-id.txt", format!("{id}\n").as_bytes());
    assert_eq!(StoredCommit::decode(id, &stored.encode()), Ok(stored.clone()));

    let birth = Record {
        repository: RepoUuid::from_random([0x77; 16]),
        name: RecordName::Ref(RefKind::Branch, RefName::new("ingest/2026").unwrap()),
        kind: RecordKind::Birth,
        seq: 1,
        head: None,
        previous_commit: None,
        previous_record: None,
        who: "ada@node7".into(),
        when: "2026-11-23T10:00:00Z".parse().unwrap(),
        operation: Operation { name: "branch create".into(), reason: String::new() },
        checks: vec![],
        settings_seq: 0,
        gc_epoch: 0,
        settings: [].into(),
        moves: 0,
        nonce: Nonce::from_bytes([0x22; 16]),
    };
    let after = |record: &Record, kind, head: bool| Record {
        kind,
        seq: record.seq + 1,
        head: head.then(|| (id, stored.clone())),
        previous_commit: record.head.as_ref().map(|(id, _)| *id),
        previous_record: Some(Record::hash_of(&record.encode())),
        moves: record.moves + u64::from(kind == RecordKind::Move),
        ..record.clone()
    };
    let mut moved = after(&birth, RecordKind::Move, true);
    moved.checks =
        vec![CheckResult { name: "row counts".into(), passed: true, detail: "s3://logs/1".into() }];
    let fence = Record { gc_epoch: 1, ..after(&moved, RecordKind::Fence, true) };
    let delete = after(&fence, RecordKind::Delete, false);
    let settings = Record {
        name: RecordName::Settings,
        kind: RecordKind::Settings,
        settings: [
            ("protect".into(), JsonValue::Object([("main".into(), JsonValue::Bool(true))].into())),
            ("retention_days".into(), JsonValue::Integer(400)),
        ]
        .into(),
        ..birth.clone()
    };
    let mut hashes = String::new();
    for (name, record) in
        [("birth", birth), ("move", moved), ("fence", fence), ("delete", delete), ("settings", settings)]
    {
        let bytes = record.encode();
        golden(&format!("record-{name}.json"), &bytes);
        assert_eq!(Record::decode(&bytes), Ok(record));
        writeln!(hashes, "{name} {}", Record::hash_of(&bytes)).unwrap();
    }
    golden("record-hashes.txt", hashes.as_bytes());
}

#[test]
fn format_json() {
    let format = RepositoryFormat {
        uuid: RepoUuid::from_random([0x77; 16]),
        created: "2026-11-23T10:00:00Z".parse().unwrap(),
        default_branch: RefName::new("main").unwrap(),
        chunker: ChunkerParameters::DEFAULT,
        cut_seed: SEED,
    };
    golden("format.json", &format.encode());
    assert_eq!(RepositoryFormat::decode(&format.encode()), Ok(format));
}

/// 20,000 keys and a whole tree of them: where leaves end, and every id of every level.
#[test]
fn tree_cuts() {
    let mut items: Vec<LeafItem> = (0..20_000)
        .map(|n| match n % 10 {
            0 => inline_file(&format!("labels/{n:06}.json"), format!("{{\"n\":{n}}}").as_bytes()),
            _ => chunk_file(&format!("2026/{:03}/image_{n:06}.jpg", n / 100)),
        })
        .collect();
    items.extend(["labels", "2026"].map(|path| item(path, EntryBody::Directory)));
    items.extend((0..200).map(|n| item(&format!("2026/{n:03}"), EntryBody::Directory)));
    items.sort_by(|a, b| a.key.cmp(&b.key));
    let mut text = String::new();
    for (level, nodes) in build_tree(SEED, items).iter().enumerate() {
        for (id, node) in nodes {
            let count = match node {
                TreeNode::Leaf(items) => items.len(),
                TreeNode::Interior { children, .. } => children.len(),
            };
            writeln!(text, "{level} {id} {count} {:?}", node.last_key().unwrap()).unwrap();
        }
    }
    golden("tree-cuts.txt", text.as_bytes());
}

#[test]
fn manifest_cuts() {
    let mut cutter = ManifestCutter::new();
    let (mut open, mut text) = (0, String::new());
    for n in 0..20_000u64 {
        open += 1;
        if cutter.push(blake3::hash(&n.to_le_bytes()).as_bytes()) {
            writeln!(text, "{open}").unwrap();
            open = 0;
        }
    }
    writeln!(text, "{open} left").unwrap();
    golden("manifest-cuts.txt", text.as_bytes());
}

/// Lengths of the chunks of data that anyone can make: an upgrade of the crate must not move them.
#[test]
fn chunk_boundaries() {
    let random = SplitMix64(1).bytes(24 << 20);
    let mut generator = SplitMix64(2);
    let mut table = Vec::new();
    while table.len() < 12 << 20 {
        let n = generator.next();
        table.extend_from_slice(format!("{},{},{}\n", n % 100_000, n >> 32, n % 7).as_bytes());
    }
    let odd = SplitMix64(3).bytes((3 << 20) + 1);
    let mut text = String::new();
    for (name, data) in [("random", random), ("table", table), ("zeros", vec![0; 9 << 20]), ("odd", odd)] {
        let ChunkerParameters { min, average, max } = ChunkerParameters::DEFAULT;
        let chunker = fastcdc::v2020::FastCDC::new(&data, min as usize, average as usize, max as usize);
        let lengths: Vec<String> = chunker.map(|chunk| chunk.length.to_string()).collect();
        writeln!(text, "{name} {} bytes, BLAKE3 {}: {}", data.len(), blake3::hash(&data), lengths.join(" "))
            .unwrap();
    }
    golden("chunks.txt", text.as_bytes());
}
