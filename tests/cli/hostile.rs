//! Trees that no atfs would write: names that climb out, order and counters that lie. Each is called damage, by every
//! command, and nothing is written where it points.

use std::sync::Arc;

use atfs::format::*;
use atfs::repo::{Repository, Services, layout};
use atfs::store::LocalStore;
use atfs::types::*;
use bytes::Bytes;

use crate::machine::{Machine, can_mount};

fn file(name: &str, size: u64, text: &'static [u8]) -> LeafItem {
    let body = EntryBody::File { size, content: Content::Inline(Bytes::from_static(text)) };
    let mtime = Mtime { seconds: 1_700_000_000, nanos: 0 };
    let entry = Entry { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Xattrs::None, body };
    let key = TreeKey::of(&RepoPath::new(name).unwrap()).unwrap();
    LeafItem { key, entry, hints: EntryHints::default() }
}

/// `node` with `from` replaced by `to` of the same length in its bytes, under the hash of what it then is.
fn forged(node: &TreeNode, from: &[u8], to: &[u8]) -> (NodeId, Vec<u8>) {
    let (_, mut blob) = node.encode();
    if !from.is_empty() {
        let at = blob.windows(from.len()).position(|window| window == from).expect("the name is in the node");
        blob[at..at + to.len()].copy_from_slice(to);
    }
    let len = u32::from_le_bytes(blob[..4].try_into().unwrap()) as usize;
    (NodeId::of(&blob[4..4 + len]), blob)
}

/// Makes the branch `branch` of the repository with these nodes, the root last.
fn plant(machine: &Machine, branch: &str, nodes: &[(NodeId, Vec<u8>)], totals: Totals) {
    let services = Services {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        index: None,
        who: "Mallory <m@example.org>".into(),
    };
    let store = Arc::new(LocalStore::open(&machine.path("r")).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let repository = Repository::open(store, services).await.unwrap();
        let mut pack = PackBuilder::new(PackId::from_bytes(OsRandom.bytes16()), PackKind::Meta);
        let mut root = None;
        for (id, blob) in nodes {
            let blob = StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), blob, Compression::Never);
            root = Some((*id, pack.push(&blob)));
        }
        let (tree, root) = root.unwrap();
        let pack = pack.finish();
        let store = repository.store();
        store.put(&layout::pack(pack.kind, pack.id), pack.bytes).await.unwrap();
        store.put(&layout::index(pack.id), pack.index).await.unwrap();
        let commit = Commit {
            tree,
            parents: Vec::new(),
            author: "Mallory <m@example.org>".into(),
            time: SystemClock.now(),
            message: "take this".into(),
            metadata: Default::default(),
            totals,
            nonce: Nonce::from_bytes(OsRandom.bytes16()),
        };
        let stored = StoredCommit { commit, place: CommitPlace { root, interior: root.span() } };
        let id = stored.commit.id();
        store.put(&layout::commit(id), stored.encode().into()).await.unwrap();
        let operation = Operation { name: "plant".into(), reason: String::new() };
        let name = RefName::new(branch).unwrap();
        repository.create_ref(RefKind::Branch, &name, (id, stored), operation).await.unwrap();
    });
}

#[test]
fn names_order_and_sizes_in_a_tree() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    std::fs::create_dir(machine.path("mnt")).unwrap();
    let leaf = |items: Vec<LeafItem>| TreeNode::Leaf(items);
    let one = |name: &str| leaf(vec![file(name, 4, b"evil")]);
    let interior = |level, counts| {
        let (id, _) = one("a").encode();
        let child = ChildItem { last_key: file("a", 4, b"evil").key, id, counts, hint: None };
        TreeNode::Interior { level, children: vec![child] }
    };
    for (branch, node, from, to) in [
        ("parent", one("zz"), &b"zz"[..], &b".."[..]),
        ("itself", one("z"), b"z", b"."),
        ("slash", one("x_evil"), b"x_evil", b"x/evil"),
        ("absolute", one("_evil"), b"_evil", b"/evil"),
        ("nul", one("x_evil"), b"x_evil", b"x\0evil"),
        ("reserved", one("_atfs"), b"_atfs", b".atfs"),
        ("order", leaf(vec![file("b", 4, b"evil"), file("a", 4, b"evil")]), b"", b""),
        ("twice", leaf(vec![file("a", 4, b"evil"), file("a", 4, b"evil")]), b"", b""),
        ("size", leaf(vec![file("a", 1 << 60, b"evil")]), b"", b""),
        ("counters", interior(1, Counts { entries: u64::MAX, files: u64::MAX, bytes: u64::MAX }), b"", b""),
        ("high", interior(200, Counts { entries: 1, files: 1, bytes: 4 }), b"", b""),
    ] {
        plant(
            &machine,
            branch,
            &[one("a").encode(), forged(&node, from, to)],
            Totals { entries: 1, files: 1, bytes: 4 },
        );
        let address = format!("DIR/r@{branch}");
        for command in [
            &["ls", &address][..],
            &["ls", "-R", &address],
            &["export", &address, "DIR/copy"],
            &["mount", &address, "DIR/mnt"],
        ] {
            if command[0] == "mount" && !can_mount() {
                continue;
            }
            let err = machine.fails(1, command);
            assert!(err.contains(" is damaged: "), "{branch} {command:?}: {err}");
            assert!(err.contains("\nhint: "), "{branch} {command:?}: {err}");
        }
        assert!(!machine.path("evil").exists() && !std::path::Path::new("/evil").exists());
        let _ = std::fs::remove_dir_all(machine.path("copy"));
    }
    // The other branches are as they were.
    assert_eq!(machine.ok(&["ls", "DIR/r"]), "");
    assert_eq!(machine.ok(&["branch", "DIR/r"]).lines().count(), 12);
}

/// What a commit says of its tree, and the tree says otherwise.
#[test]
fn totals_that_lie() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    let node = TreeNode::Leaf(vec![file("a", 4, b"evil")]).encode();
    for (branch, entries, bytes) in [("more", 1 << 40, 1 << 50), ("fewer", 0, 0), ("bytes", 1, 5)] {
        let totals = Totals { entries, files: entries.min(1), bytes };
        plant(&machine, branch, std::slice::from_ref(&node), totals);
        let err = machine.fails(1, &["ls", &format!("DIR/r@{branch}")]);
        assert!(err.contains(" is damaged: "), "{branch}: {err}");
    }
}
