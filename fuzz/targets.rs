//! The decoders and what must hold for every input: no panic; an error or a value that obeys the rules and encodes to the
//! very bytes that were hashed; memory bounded by the input's length and, for blobs, the bound that the caller gave.

use atfs::format::*;
use atfs::types::*;

use crate::seeds;

pub(crate) struct Target {
    /// Also the name of its artifacts.
    pub(crate) name: &'static str,
    /// Valid inputs.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// True when the input is accepted.
    pub(crate) run: fn(&[u8]) -> bool,
    /// Memory that the caller allows beyond a multiple of the input.
    pub(crate) announced: usize,
}

const fn target(name: &'static str, seeds: fn() -> Vec<Vec<u8>>, run: fn(&[u8]) -> bool) -> Target {
    Target { name, seeds, run, announced: 0 }
}

/// What a caller of `StoredBlob::unpack` allows here.
const MAX_RAW: usize = 1 << 20;

pub(crate) static TARGETS: [Target; 12] = [
    target("tree_node", seeds::tree_nodes, tree_node),
    target("tree_body", || bodies(seeds::tree_nodes()), |body| tree_node(&blob(body))),
    target("manifest_node", seeds::manifest_nodes, manifest_node),
    target("manifest_body", || bodies(seeds::manifest_nodes()), |body| manifest_node(&blob(body))),
    target("xattr_list", seeds::xattr_lists, xattr_list),
    Target { announced: MAX_RAW, ..target("stored_blob", seeds::stored_blobs, stored_blob) },
    target("index_object", seeds::index_objects, index_object),
    target("whole_pack", seeds::packs, whole_pack),
    target("json", seeds::json, json),
    target("commit", seeds::commits, commit),
    target("record", seeds::records, record),
    target("format_json", seeds::formats, format_json),
];

/// The hashed part of a node's blob.
fn body(blob: &[u8]) -> &[u8] {
    let Some((len, rest)) = blob.split_first_chunk() else { return &[] };
    rest.get(..u32::from_le_bytes(*len) as usize).unwrap_or_default()
}

fn bodies(blobs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    blobs.iter().map(|blob| body(blob).to_vec()).collect()
}

/// A node of this body, without hints: so that mutations meet the body alone.
fn blob(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes(), body, &[0]].concat()
}

fn tree_node(blob: &[u8]) -> bool {
    let id = NodeId::of(body(blob));
    let Ok(node) = TreeNode::decode(id, blob) else { return false };
    let (again, encoded) = node.encode();
    assert_eq!(again, id, "another body than the one that was read");
    // Hints may be spelt in several ways, but they mean the same.
    assert_eq!(TreeNode::decode(id, &encoded), Ok(node.clone()));
    if let TreeNode::Leaf(items) = &node {
        assert!(items.iter().all(|item| item.check().is_ok()));
        assert!(items.is_sorted_by(|a, b| a.key < b.key));
    }
    assert!(node.counts().entries <= MAX_ENTRIES);
    true
}

fn manifest_node(blob: &[u8]) -> bool {
    let id = ManifestId::of(body(blob));
    let Ok(node) = ManifestNode::decode(id, blob) else { return false };
    let (again, encoded) = node.encode();
    assert_eq!(again, id, "another body than the one that was read");
    assert_eq!(ManifestNode::decode(id, &encoded), Ok(node.clone()));
    let (chunks, bytes) = node.totals();
    assert!(chunks >= 1 && bytes >= chunks && bytes <= i64::MAX as u64);
    true
}

fn xattr_list(bytes: &[u8]) -> bool {
    let Ok(list) = XattrList::decode(XattrsId::of(bytes), bytes) else { return false };
    assert_eq!(list.encode(), bytes);
    assert_eq!(list.check(), Ok(()));
    true
}

fn stored_blob(stored: &[u8]) -> bool {
    let Ok(raw) = StoredBlob::unpack(stored, MAX_RAW) else { return false };
    assert!(raw.len() <= MAX_RAW);
    if let Some(less) = raw.len().checked_sub(1) {
        assert!(StoredBlob::unpack(stored, less).is_err());
    }
    true
}

/// An index whose closing hash is right.
fn with_right_hash(mut index: Vec<u8>) -> Vec<u8> {
    if let Some(body) = index.len().checked_sub(32) {
        let hash = blake3::hash(&index[..body]);
        index[body..].copy_from_slice(hash.as_bytes());
    }
    index
}

fn index_object(bytes: &[u8]) -> bool {
    let bytes = with_right_hash(bytes.to_vec());
    let Ok(index) = PackIndex::decode(&bytes) else { return false };
    assert_eq!(index.encode(), bytes);
    let ends = index.entries.iter().map(|e| e.offset + u64::from(e.stored_len));
    assert!(index.entries.iter().skip(1).zip(ends).all(|(entry, end)| entry.offset == end));
    true
}

fn whole_pack(bytes: &[u8]) -> bool {
    // Both hashes put right where the trailer points into the pack.
    let mut pack = bytes.to_vec();
    if let Some(trailer) = pack.len().checked_sub(PackIndex::TRAILER_BYTES) {
        let offset: [u8; 8] = pack[trailer..trailer + 8].try_into().expect("eight bytes");
        if let Some(start) =
            usize::try_from(u64::from_le_bytes(offset)).ok().filter(|start| *start <= trailer)
        {
            let index = with_right_hash(pack[start..trailer].to_vec());
            pack[start..trailer].copy_from_slice(&index);
            pack[trailer + 24..trailer + 56].copy_from_slice(blake3::hash(&index).as_bytes());
        }
    }
    let Ok(index) = PackIndex::of_pack(&pack) else { return false };
    for entry in &index.entries {
        let start = entry.offset as usize;
        assert!(pack.get(start..start + entry.stored_len as usize).is_some(), "a blob outside the pack");
    }
    true
}

/// Integers only, and no deeper than we read.
fn is_plain(value: &serde_json::Value, depth: u32) -> bool {
    use serde_json::Value::*;
    depth <= 32
        && match value {
            Number(number) => !number.is_f64(),
            Array(items) => items.iter().all(|item| is_plain(item, depth + 1)),
            Object(fields) => fields.values().all(|field| is_plain(field, depth + 1)),
            Null | Bool(_) | String(_) => true,
        }
}

/// Our parser and `serde_json` agree: ours takes exactly the texts that serde_json reads and writes again as they were.
fn json(text: &[u8]) -> bool {
    let ours = JsonValue::parse("fuzz", text);
    let theirs = serde_json::from_slice::<serde_json::Value>(text).ok();
    let canonical = theirs.is_some_and(|value| is_plain(&value, 0) && value.to_string().as_bytes() == text);
    assert_eq!(ours.is_ok(), canonical, "{ours:?}");
    if let Ok(value) = &ours {
        assert_eq!(value.to_text().as_bytes(), text);
    }
    ours.is_ok()
}

fn commit(bytes: &[u8]) -> bool {
    let body = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let id = CommitId::of(body);
    let Ok(stored) = StoredCommit::decode(id, bytes) else { return false };
    assert_eq!(stored.encode(), bytes);
    assert_eq!(stored.commit.id(), id);
    true
}

fn record(bytes: &[u8]) -> bool {
    // A changed commit gets its right id, so that it is not refused for that alone.
    let mut bytes = bytes.to_vec();
    if let Ok(JsonValue::Object(mut fields)) =
        JsonValue::parse("fuzz", bytes.strip_suffix(b"\n").unwrap_or_default())
    {
        if let Some(JsonValue::Object(head)) = fields.get_mut("head")
            && let Some(commit) = head.get("commit").map(JsonValue::to_text)
        {
            head.insert("id".into(), JsonValue::Text(CommitId::of(commit.as_bytes()).to_hex()));
        }
        bytes = (JsonValue::Object(fields).to_text() + "\n").into_bytes();
    }
    let Ok(record) = Record::decode(&bytes) else { return false };
    assert_eq!(record.encode(), bytes);
    assert_eq!(record.check(), Ok(()));
    true
}

fn format_json(bytes: &[u8]) -> bool {
    let Ok(format) = RepositoryFormat::decode(bytes) else { return false };
    assert_eq!(format.encode(), bytes);
    true
}
