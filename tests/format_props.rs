//! Whatever obeys the rules comes back as it was, and has one encoding.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use atfs::format::*;
use atfs::types::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'c', 1 => any::<u8>()];
    vec(byte, 1..12).prop_filter("a name", |name| Name::new(name).is_ok())
}

fn key() -> impl Strategy<Value = TreeKey> {
    vec(name(), 1..5)
        .prop_map(|names| TreeKey::of(&RepoPath::new(names.join(&b'/')).unwrap()).unwrap())
        .prop_filter("not reserved", |key| !key.is_reserved())
}

fn hash() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn location() -> impl Strategy<Value = Option<Location>> {
    // Few packs, so that tables are shared; offsets of all magnitudes.
    let offset = (0..64u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift >> 1);
    option::of((0..4u8, offset, 1..=MAX_STORED_BLOB_BYTES).prop_map(|(pack, offset, len)| Location {
        pack: PackId::from_bytes([pack; 16]),
        offset,
        len,
    }))
}

fn xattrs() -> impl Strategy<Value = Xattrs> {
    let attribute_name =
        "user\\.[a-z.]{1,20}".prop_filter("stored", |n| XattrList::is_stored_name(n.as_bytes()));
    let list = btree_map(attribute_name.prop_map(String::into_bytes), vec(any::<u8>(), 0..40), 1..8)
        .prop_map(|map| XattrList(map.into_iter().collect()));
    prop_oneof![
        4 => Just(Xattrs::None),
        1 => list.prop_map(|list| list.place().0),
        1 => hash().prop_map(|id| Xattrs::Blob(XattrsId::from_bytes(id))),
    ]
}

fn external() -> impl Strategy<Value = Content> {
    ("[a-z0-9.-]{3,63}", "[^\0]{1,80}", "[!#-~]{0,40}", "[!#-~]{1,60}").prop_map(
        |(bucket, key, version, etag)| {
            Content::External(Box::new(ExternalObject { bucket, key, version, etag }))
        },
    )
}

fn body() -> impl Strategy<Value = EntryBody> {
    let file = |size: u64, content| EntryBody::File { size, content };
    let whole = i64::MAX as u64;
    prop_oneof![
        Just(EntryBody::Directory),
        Just(file(0, Content::Empty)),
        vec(1..=u8::MAX, 1..200).prop_map(|target| EntryBody::Symlink { target: target.into() }),
        vec(any::<u8>(), 1..=512)
            .prop_map(move |bytes| file(bytes.len() as u64, Content::Inline(bytes.into()))),
        (513..=1u64 << 20, hash())
            .prop_map(move |(size, id)| file(size, Content::Chunk(ChunkId::from_bytes(id)))),
        ((1 << 20) + 1..whole / 1000, hash())
            .prop_map(move |(size, id)| file(size, Content::Manifest(ManifestId::from_bytes(id)))),
        (0..whole / 1000, external()).prop_map(move |(size, content)| file(size, content)),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let mtime = (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Mtime { seconds, nanos });
    (0..=0o1777u16, any::<u32>(), any::<u32>(), mtime, xattrs(), body()).prop_map(
        |(mode, uid, gid, mtime, xattrs, body)| Entry { mode: mode & 0o1777, uid, gid, mtime, xattrs, body },
    )
}

fn leaf() -> impl Strategy<Value = TreeNode> {
    let value = (entry(), location(), location());
    btree_map(key(), value, 0..60).prop_map(|map| {
        let items = map.into_iter().map(|(key, (entry, content, xattrs))| {
            // A hint is encoded only for a blob that the entry names.
            let chunked = matches!(
                entry.body,
                EntryBody::File { content: Content::Chunk(_) | Content::Manifest(_), .. }
            );
            let has_blob = matches!(entry.xattrs, Xattrs::Blob(_));
            let hints =
                EntryHints { content: content.filter(|_| chunked), xattrs: xattrs.filter(|_| has_blob) };
            LeafItem { key, entry, hints }
        });
        TreeNode::Leaf(items.collect())
    })
}

fn interior() -> impl Strategy<Value = TreeNode> {
    let counts = (1..1u64 << 30, any::<u64>(), any::<u64>()).prop_map(|(entries, files, bytes)| {
        let files = files % (entries + 1);
        Counts { entries, files, bytes: if files == 0 { 0 } else { bytes >> 12 } }
    });
    (1..=15u8, btree_map(key(), (hash(), counts, location()), 1..60)).prop_map(|(level, map)| {
        let children = map.into_iter().map(|(last_key, (id, counts, hint))| ChildItem {
            last_key,
            id: NodeId::from_bytes(id),
            counts,
            hint,
        });
        TreeNode::Interior { level, children: children.collect() }
    })
}

fn manifest() -> impl Strategy<Value = ManifestNode> {
    let chunk = (hash(), 1..=MAX_CHUNK_BYTES, location()).prop_map(|(id, len, hint)| ChunkItem {
        id: ChunkId::from_bytes(id),
        len,
        hint,
    });
    let child = (hash(), 1..1u64 << 30, any::<u64>(), location()).prop_map(|(id, chunks, bytes, hint)| {
        let bytes = chunks + bytes % (chunks * (u64::from(MAX_CHUNK_BYTES) - 1));
        ManifestChild { id: ManifestId::from_bytes(id), chunks, bytes, hint }
    });
    prop_oneof![
        vec(chunk, 1..100).prop_map(ManifestNode::Leaf),
        (1..=7u8, vec(child, 1..100))
            .prop_map(|(level, children)| ManifestNode::Interior { level, children }),
    ]
}

fn text(max: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 1..max).prop_map(String::from_iter)
}

fn json() -> impl Strategy<Value = JsonValue> {
    let leaf = prop_oneof![
        Just(JsonValue::Null),
        any::<bool>().prop_map(JsonValue::Bool),
        any::<i64>().prop_map(|n| JsonValue::Integer(n.into())),
        any::<u64>().prop_map(|n| JsonValue::Integer(n.into())),
        text(12).prop_map(JsonValue::Text),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(JsonValue::List),
            btree_map(text(6), inner, 0..8).prop_map(JsonValue::Object),
        ]
    })
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

fn stored_commit() -> impl Strategy<Value = StoredCommit> {
    let place = (0..3u8, any::<u64>(), 1..=MAX_STORED_BLOB_BYTES, any::<u64>()).prop_map(
        |(pack, offset, len, interior)| {
            let pack = PackId::from_bytes([pack; 16]);
            let root = Location { pack, offset: offset >> 1, len };
            CommitPlace { root, interior: Span { pack, offset: interior >> 1, len: (offset >> 1) + 1 } }
        },
    );
    let totals = (0..1u64 << 43, any::<u64>(), any::<u64>()).prop_map(|(entries, files, bytes)| {
        let files = files % (entries + 1);
        Totals { entries, files, bytes: if files == 0 { 0 } else { bytes } }
    });
    let body = (
        hash(),
        btree_set(hash(), 0..5),
        text(40),
        time(),
        option::of(text(200)),
        btree_map(text(8), text(8), 0..6),
        totals,
        any::<[u8; 16]>(),
    );
    (body, place).prop_map(|((tree, parents, author, time, message, metadata, totals, nonce), place)| {
        let commit = Commit {
            tree: NodeId::from_bytes(tree),
            parents: parents.into_iter().map(CommitId::from_bytes).collect(),
            author,
            time,
            message: message.unwrap_or_default(),
            metadata,
            totals,
            nonce: Nonce::from_bytes(nonce),
        };
        StoredCommit { commit, place }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let check = (text(9), any::<bool>(), text(20)).prop_map(|(name, passed, detail)| CheckResult {
        name,
        passed,
        detail,
    });
    let name = (any::<bool>(), "[a-z0-9]{1,9}(/[a-z0-9]{1,9}){0,3}").prop_map(|(tag, name)| {
        let kind = if tag { RefKind::Tag } else { RefKind::Branch };
        RecordName::Ref(kind, RefName::new(name).unwrap())
    });
    let head = option::of(stored_commit().prop_map(|stored| (stored.commit.id(), stored)));
    let numbers = (2..=999_999_999_999u64, any::<u64>(), any::<u64>(), any::<u64>());
    let texts = (text(20), time(), text(9), text(30), vec(check, 0..4));
    let ids = (any::<[u8; 16]>(), hash(), option::of(hash()));
    let settings = btree_map(text(9), json(), 0..4);
    (name, head, numbers, texts, ids, settings, 0..5usize).prop_map(
        |(name, head, numbers, texts, ids, settings, kind)| {
            let (seq, moves, settings_seq, gc_epoch) = numbers;
            let (who, when, operation, reason, checks) = texts;
            let (random, previous_record, previous_commit) = ids;
            let mut record = Record {
                repository: RepoUuid::from_random(random),
                name,
                kind: RecordKind::Move,
                seq,
                head,
                previous_commit: previous_commit.map(CommitId::from_bytes),
                previous_record: Some(RecordHash::from_bytes(previous_record)),
                who,
                when,
                operation: Operation { name: operation, reason },
                checks,
                settings_seq,
                gc_epoch,
                settings: BTreeMap::new(),
                moves: 1 + moves % (seq - 1),
                nonce: Nonce::from_bytes(random),
            };
            match (kind, record.head.is_some()) {
                (0, true) => {}
                (0 | 1, _) => {
                    record.kind = RecordKind::Fence;
                    record.previous_commit = record.head.as_ref().map(|(id, _)| *id);
                }
                (2, _) => (record.kind, record.head) = (RecordKind::Delete, None),
                (3, _) => {
                    (record.kind, record.head, record.previous_commit) = (RecordKind::Birth, None, None);
                }
                _ => {
                    (record.kind, record.head, record.previous_commit) = (RecordKind::Settings, None, None);
                    (record.name, record.settings, record.moves) = (RecordName::Settings, settings, 0);
                }
            }
            record
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tree_nodes(node in prop_oneof![leaf(), interior()]) {
        if let TreeNode::Leaf(items) = &node {
            for item in items {
                prop_assert_eq!(item.check(), Ok(()));
            }
        }
        let (id, blob) = node.encode();
        let decoded = TreeNode::decode(id, &blob);
        prop_assert_eq!(decoded.as_ref(), Ok(&node));
        prop_assert_eq!(decoded.unwrap().encode(), (id, blob));
    }

    /// Two different leaves never share a body, so never an id.
    #[test]
    fn different_leaves_have_different_ids(a in leaf(), b in leaf()) {
        let bare = |node: &TreeNode| match node.clone() {
            TreeNode::Leaf(mut items) => {
                items.iter_mut().for_each(|item| item.hints = EntryHints::default());
                TreeNode::Leaf(items)
            }
            interior => interior,
        };
        prop_assert_eq!(a.encode().0 == b.encode().0, bare(&a) == bare(&b));
        prop_assert_eq!(bare(&a).encode().0, a.encode().0);
    }

    #[test]
    fn manifests(node in manifest()) {
        let (id, blob) = node.encode();
        let decoded = ManifestNode::decode(id, &blob);
        prop_assert_eq!(decoded.as_ref(), Ok(&node));
        prop_assert_eq!(decoded.unwrap().encode(), (id, blob));
    }

    #[test]
    fn blobs(raw in vec(prop_oneof![3 => Just(b'x'), 1 => any::<u8>()], 0..5_000)) {
        let hash = *blake3::hash(&raw).as_bytes();
        for compression in [Compression::IfItPays, Compression::Never] {
            let blob = StoredBlob::pack(BlobKind::Chunk, hash, &raw, compression);
            prop_assert!(blob.stored.len() <= raw.len() + 1);
            prop_assert_eq!(StoredBlob::unpack(&blob.stored, raw.len()).unwrap(), &raw);
        }
    }

    #[test]
    fn packs(blobs in vec(vec(any::<u8>(), 0..300), 0..20), id in any::<[u8; 16]>()) {
        let mut builder = PackBuilder::new(PackId::from_bytes(id), PackKind::Data);
        let places: Vec<Location> = blobs
            .iter()
            .map(|raw| {
                let hash = *blake3::hash(raw).as_bytes();
                builder.push(&StoredBlob::pack(BlobKind::Chunk, hash, raw, Compression::IfItPays))
            })
            .collect();
        let pack = builder.finish();
        let index = PackIndex::of_pack(&pack.bytes).unwrap();
        prop_assert_eq!(PackIndex::decode(&pack.index).unwrap(), index.clone());
        prop_assert_eq!(index.entries.len(), blobs.len());
        for (place, raw) in places.iter().zip(&blobs) {
            let stored = &pack.bytes[place.offset as usize..place.end().unwrap() as usize];
            prop_assert_eq!(StoredBlob::unpack(stored, 300).unwrap(), raw);
        }
    }

    #[test]
    fn json_values(value in json()) {
        let text = value.to_text();
        prop_assert_eq!(JsonValue::parse("test", text.as_bytes()), Ok(value));
        let other: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(other.to_string(), text);
    }

    #[test]
    fn commits(stored in stored_commit()) {
        prop_assert_eq!(stored.commit.check(), Ok(()));
        prop_assert_eq!(StoredCommit::decode(stored.commit.id(), &stored.encode()), Ok(stored));
    }

    #[test]
    fn records(record in record()) {
        prop_assert_eq!(record.check(), Ok(()));
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn keys(bytes in vec(prop_oneof![Just(0u8), Just(b'/'), Just(b'.'), Just(b'a')], 0..12)) {
        if let Ok(key) = TreeKey::from_bytes(bytes.clone()) {
            prop_assert_eq!(TreeKey::of(&key.to_path().unwrap()).unwrap(), key);
        }
    }
}
