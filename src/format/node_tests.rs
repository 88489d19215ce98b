//! Tree and manifest nodes: round trips, one spelling, and what is refused.

use bytes::Bytes;

use super::*;
use crate::types::{ChunkId, Location, ManifestId, NodeId, PackId, RepoPath, XattrsId};

fn key(path: &str) -> TreeKey {
    TreeKey::of(&RepoPath::new(path).expect("valid")).expect("not the root")
}

fn at(pack: u8, offset: u64, len: u32) -> Option<Location> {
    Some(Location { pack: PackId::from_bytes([pack; 16]), offset, len })
}

fn entry(body: EntryBody) -> Entry {
    let mtime = Mtime { seconds: 1_795_000_000, nanos: 123_456_789 };
    Entry { mode: 0o644, uid: 1000, gid: 100, mtime, xattrs: Xattrs::None, body }
}

fn file(path: &str, size: u64, content: Content) -> LeafItem {
    LeafItem { key: key(path), entry: entry(EntryBody::File { size, content }), hints: EntryHints::default() }
}

/// One item of every kind, in key order.
fn items() -> Vec<LeafItem> {
    let external = ExternalObject {
        bucket: "scans-raw".into(),
        key: "2026/11/ü x.svs".into(),
        version: "3L4kqtJlcpXroDTDmJ".into(),
        etag: "9b2cf535f27731c974343645a3985328-12".into(),
    };
    let mut items = vec![
        file("a", 0, Content::Empty),
        file("a.txt", 5, Content::Inline(Bytes::from_static(b"hello"))),
        file("b", 1 << 20, Content::Chunk(ChunkId::of(b"b"))),
        file("big", 5 << 30, Content::Manifest(ManifestId::of(b"m"))),
        file("dir/ext", 1 << 40, Content::External(Box::new(external))),
        LeafItem { key: key("dir2"), entry: entry(EntryBody::Directory), hints: EntryHints::default() },
        LeafItem {
            key: key("dir2/link"),
            entry: entry(EntryBody::Symlink { target: Bytes::from_static(b"../b") }),
            hints: EntryHints::default(),
        },
    ];
    items[2].hints.content = at(1, 25, 700_000);
    items[3].hints.content = at(2, 4_000, 90);
    items[3].entry.xattrs = Xattrs::Blob(XattrsId::of(b"x"));
    items[3].hints.xattrs = at(2, 4_090, 1_200);
    items[5].entry.mode = 0o1777;
    items[5].entry.mtime = Mtime { seconds: -1, nanos: 999_999_999 };
    let pairs = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), Vec::new())];
    items[6].entry.xattrs = Xattrs::Inline(XattrList(pairs));
    items.sort_by(|a, b| a.key.cmp(&b.key));
    items
}

fn children() -> Vec<ChildItem> {
    (1..=3u64)
        .map(|n| ChildItem {
            last_key: key(&format!("dir/{n}")),
            id: NodeId::of(&[n as u8]),
            counts: Counts { entries: n * 1000, files: n * 900, bytes: n << 40 },
            hint: if n == 2 { None } else { at(n as u8, n * 100, 50) },
        })
        .collect()
}

/// The blob of a body that need not obey any rule, and its right id.
fn blob_of(body: &[u8]) -> (NodeId, Vec<u8>) {
    (NodeId::of(body), [&(body.len() as u32).to_le_bytes(), body, &[0]].concat())
}

fn refused(node: &TreeNode) -> bool {
    let (id, blob) = node.encode();
    matches!(TreeNode::decode(id, &blob), Err(FormatError::Malformed { .. }))
}

#[test]
fn nodes_come_back_as_they_were() {
    for node in [
        TreeNode::Leaf(vec![]),
        TreeNode::Leaf(items()),
        TreeNode::Interior { level: 1, children: children() },
        TreeNode::Interior { level: 15, children: children()[..1].to_vec() },
    ] {
        let (id, blob) = node.encode();
        let decoded = TreeNode::decode(id, &blob).expect("valid");
        assert_eq!(decoded, node);
        assert_eq!(decoded.encode(), (id, blob));
    }
    let counts = TreeNode::Leaf(items()).counts();
    assert_eq!((counts.entries, counts.files), (7, 5));
    assert_eq!(counts.bytes, 5 + (1 << 20) + (5 << 30) + (1 << 40));
}

#[test]
fn cut_size_is_the_length_of_the_item_standing_alone() {
    for item in items() {
        let (_, blob) = TreeNode::Leaf(vec![item.clone()]).encode();
        let body = u32::from_le_bytes(blob[..4].try_into().expect("four")) as usize;
        assert_eq!(item.cut_size(), body - 4, "{:?}", item.key);
    }
    for child in children() {
        let (_, blob) = TreeNode::Interior { level: 1, children: vec![child.clone()] }.encode();
        let body = u32::from_le_bytes(blob[..4].try_into().expect("four")) as usize;
        assert_eq!(child.cut_size(), body - 4);
    }
}

#[test]
fn hints_are_outside_the_hash_and_damage_in_them_is_survived() {
    let node = TreeNode::Leaf(items());
    let (id, blob) = node.encode();
    let mut bare = items();
    bare.iter_mut().for_each(|item| item.hints = EntryHints::default());
    let bare = TreeNode::Leaf(bare);
    assert_eq!(bare.encode().0, id);
    let body_end = 4 + u32::from_le_bytes(blob[..4].try_into().expect("four")) as usize;
    for at in body_end..blob.len() {
        let mut damaged = blob.clone();
        damaged[at] ^= 0xff;
        assert_eq!(TreeNode::decode(id, &damaged).expect("the body is whole").encode().0, id);
        assert_eq!(TreeNode::decode(id, &blob[..at]), Ok(bare.clone()));
    }
    for at in 0..body_end {
        let mut damaged = blob.clone();
        damaged[at] ^= 1;
        assert!(TreeNode::decode(id, &damaged).is_err(), "byte {at}");
    }
}

#[test]
fn entries_that_break_a_rule_are_refused() {
    type Edit = Box<dyn Fn(&mut LeafItem)>;
    let body = |size, content| -> Edit {
        Box::new(move |i| i.entry.body = EntryBody::File { size, content: Content::clone(&content) })
    };
    let inline = |len: usize| Content::Inline(vec![7; len].into());
    let target = |len: usize| -> Edit {
        Box::new(move |i| i.entry.body = EntryBody::Symlink { target: vec![b'x'; len].into() })
    };
    let external = |edit: fn(&mut ExternalObject)| -> Edit {
        Box::new(move |i| {
            let mut object = ExternalObject {
                bucket: "abc".into(),
                key: "k".into(),
                version: String::new(),
                etag: "e".into(),
            };
            edit(&mut object);
            i.entry.body = EntryBody::File { size: 0, content: Content::External(Box::new(object)) };
        })
    };
    let chunk = Content::Chunk(ChunkId::of(b""));
    let manifest = Content::Manifest(ManifestId::of(b""));
    let good: Vec<Edit> = vec![
        body(512, inline(512)),
        body(513, chunk.clone()),
        body(1 << 20, chunk.clone()),
        body((1 << 20) + 1, manifest.clone()),
        body(i64::MAX as u64, manifest.clone()),
        target(1),
        target(4095),
        external(|_| ()),
    ];
    let bad: Vec<Edit> = vec![
        body(1, Content::Empty),
        body(0, inline(0)),
        body(513, inline(513)),
        body(512, chunk.clone()),
        body((1 << 20) + 1, chunk),
        body(1 << 20, manifest.clone()),
        body(1 << 63, manifest),
        target(0),
        target(4096),
        Box::new(|i| i.entry.body = EntryBody::Symlink { target: Bytes::from_static(b"a\0b") }),
        external(|o| o.bucket = "A_B".into()),
        external(|o| o.key.clear()),
        external(|o| o.key = "k".repeat(1025)),
        external(|o| o.etag = "e\r\nX-Evil: 1".into()),
        external(|o| o.version = "v w".into()),
        Box::new(|i| i.entry.mode = 0o4755),
        Box::new(|i| i.entry.mode = 0o2755),
        Box::new(|i| i.entry.mtime.nanos = 1_000_000_000),
        Box::new(|i| i.entry.xattrs = Xattrs::Inline(XattrList::default())),
        Box::new(|i| i.entry.xattrs = Xattrs::Inline(XattrList(vec![(b"user.x".to_vec(), vec![0; 1015])]))),
        Box::new(|i| i.entry.xattrs = Xattrs::Inline(XattrList(vec![(b"security.x".to_vec(), vec![])]))),
        Box::new(|i| i.key = key(".atfs")),
        Box::new(|i| i.key = key(".atfs/x")),
    ];
    for (edits, ok) in [(good, true), (bad, false)] {
        for (n, edit) in edits.iter().enumerate() {
            let mut item = file("x", 0, Content::Empty);
            edit(&mut item);
            assert_eq!(item.check().is_ok(), ok, "{n}: {item:?}");
            let node = TreeNode::Leaf(vec![item]);
            let (id, blob) = node.encode();
            assert_eq!(TreeNode::decode(id, &blob) == Ok(node), ok, "{n}");
        }
    }
}

#[test]
fn nodes_that_break_a_rule_are_refused() {
    let reversed: Vec<_> = items().into_iter().rev().collect();
    let twice = vec![items()[0].clone(), items()[0].clone()];
    let huge = file("x", i64::MAX as u64, Content::Manifest(ManifestId::of(b"")));
    let overflow: Vec<_> = ["x", "y", "z"].map(|path| LeafItem { key: key(path), ..huge.clone() }).to_vec();
    // Prefix compression must not let a small body ask for much memory.
    let long = "x".repeat(250);
    let repetitive: Vec<_> = (0..3_000).map(|n| file(&format!("{long}{n:05}"), 0, Content::Empty)).collect();
    for leaf in [reversed, twice, overflow, repetitive] {
        assert!(refused(&TreeNode::Leaf(leaf)));
    }
    let child = |edit: fn(&mut Counts)| {
        let mut children = children();
        edit(&mut children[1].counts);
        refused(&TreeNode::Interior { level: 1, children })
    };
    assert!(!child(|_| ()));
    assert!(child(|c| c.entries = 0));
    assert!(child(|c| c.files = c.entries + 1));
    assert!(child(|c| c.files = 0));
    assert!(child(|c| c.bytes = u64::MAX));
    assert!(child(|c| c.entries = MAX_ENTRIES));
    assert!(child(|c| c.entries = u64::MAX));
    assert!(refused(&TreeNode::Interior { level: 1, children: vec![] }));
    assert!(refused(&TreeNode::Interior { level: 16, children: children() }));
}

#[test]
fn equal_content_has_one_spelling() {
    let good = b"T\x01\x00\x02\x00\x02\0a\x01\0\0\0\0\0\x01\x01b\x01\0\0\0\0\0";
    let (id, blob) = blob_of(good);
    let node = TreeNode::decode(id, &blob).expect("valid");
    assert_eq!(node.encode().0, id);
    for bad in [
        &b"T\x01\x00\x02\x00\x02\0a\x01\0\0\0\0\0\x00\x02\0b\x01\0\0\0\0\0"[..], // a shorter prefix than there is
        b"T\x01\x00\x02\x00\x02\0b\x01\0\0\0\0\0\x01\x01a\x01\0\0\0\0\0",        // descending
        b"T\x01\x00\x02\x00\x02\0a\x01\0\0\0\0\0\x02\x00\x01\0\0\0\0\0",         // the same key again
        b"T\x01\x00\x01\x00\x82\x00\0a\x01\0\0\0\0\0",                           // a long varint
        b"T\x01\x00\x01\x01\x02\0a\x01\0\0\0\0\0",                               // shares more than there is
        b"T\x01\x00\x01\x00\x02\0a\x03\0\0\0\0\0",                               // kind 3
        b"T\x01\x00\x01\x00\x02\0a\x05\0\0\0\0\0",                               // a directory with content
        b"T\x01\x00\x01\x00\x02\0a\x61\0\0\0\0\0",                               // xattr kind 3
        b"T\x01\x00\x01\x00\x02\0a\x81\0\0\0\0\0",                               // bit 7
        b"T\x01\x00\x02\x00\x02\0a\x01\0\0\0\0\0",                               // a missing item
        b"T\x01\x00\x01\x00\x02\0a\x01\0\0\0\0\0\0",                             // a byte too many
        b"T\x00\x00\x00",
        b"M\x01\x00\x00",
        b"",
    ] {
        let (id, blob) = blob_of(bad);
        let error = TreeNode::decode(id, &blob).expect_err("refused");
        assert!(!matches!(error, FormatError::WrongHash { .. }), "{error}");
    }
    let (id, blob) = blob_of(b"T\x02whatever");
    assert!(matches!(TreeNode::decode(id, &blob), Err(FormatError::Newer { found: 2, .. })));
}

#[test]
fn a_parent_is_checked_against_its_child() {
    let leaf = TreeNode::Leaf(items());
    let item = ChildItem {
        last_key: leaf.last_key().expect("not empty").clone(),
        id: leaf.encode().0,
        counts: leaf.counts(),
        hint: None,
    };
    let first = items()[0].key.clone();
    assert_eq!(leaf.check_as_child(1, &item, None), Ok(()));
    assert_eq!(leaf.check_as_child(1, &item, Some(&key("Z"))), Ok(()));
    assert!(leaf.check_as_child(2, &item, None).is_err());
    assert!(leaf.check_as_child(1, &item, Some(&first)).is_err());
    assert!(TreeNode::Leaf(vec![]).check_as_child(1, &item, None).is_err());
    let mut wrong = item.clone();
    wrong.counts.bytes += 1;
    assert!(leaf.check_as_child(1, &wrong, None).is_err());
    let wrong = ChildItem { last_key: key("zzz/z"), ..item };
    assert!(leaf.check_as_child(1, &wrong, None).is_err());
}

fn chunks(count: usize) -> Vec<ChunkItem> {
    (0..count)
        .map(|n| ChunkItem {
            id: ChunkId::of(&n.to_le_bytes()),
            len: 1 + n as u32,
            hint: at(9, 25 + n as u64, 7),
        })
        .collect()
}

#[test]
fn manifests_come_back_and_keep_their_rules() {
    let leaf = ManifestNode::Leaf(chunks(2048));
    let child =
        ManifestChild { id: leaf.encode().0, chunks: 2048, bytes: leaf.totals().1, hint: at(1, 2, 3) };
    let interior = ManifestNode::Interior { level: 1, children: vec![child; 3] };
    assert_eq!(leaf.totals(), (2048, 2048 * 2049 / 2));
    assert_eq!(leaf.check_as_child(1, &child), Ok(()));
    assert!(leaf.check_as_child(2, &child).is_err());
    assert!(leaf.check_as_child(1, &ManifestChild { bytes: 9999, ..child }).is_err());
    for node in [&leaf, &interior] {
        let (id, blob) = node.encode();
        assert_eq!(ManifestNode::decode(id, &blob).as_ref(), Ok(node));
        for at in 0..4 + u32::from_le_bytes(blob[..4].try_into().expect("four")) as usize {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert!(ManifestNode::decode(id, &damaged).is_err(), "byte {at}");
        }
    }
    let refused = |node: ManifestNode| {
        let (id, blob) = node.encode();
        matches!(ManifestNode::decode(id, &blob), Err(FormatError::Malformed { .. }))
    };
    assert!(refused(ManifestNode::Leaf(vec![])));
    assert!(refused(ManifestNode::Leaf(chunks(2049))));
    assert!(refused(ManifestNode::Leaf(vec![ChunkItem { len: 0, ..chunks(1)[0] }])));
    assert!(refused(ManifestNode::Leaf(vec![ChunkItem { len: MAX_CHUNK_BYTES + 1, ..chunks(1)[0] }])));
    assert!(refused(ManifestNode::Interior { level: 1, children: vec![] }));
    assert!(refused(ManifestNode::Interior { level: 8, children: vec![child] }));
    let huge = ManifestChild { chunks: 1 << 41, bytes: 1 << 62, ..child };
    assert!(refused(ManifestNode::Interior { level: 1, children: vec![huge; 2] }));
    assert!(refused(ManifestNode::Interior {
        level: 1,
        children: vec![ManifestChild { chunks: 0, ..child }]
    }));
    assert!(refused(ManifestNode::Interior {
        level: 1,
        children: vec![ManifestChild { bytes: 1, ..child }]
    }));
}
