//! Where trees are cut: sizes, resynchronisation after an edit, and levels that end whatever the keys are. `docs/format.md`
//! has the numbers for a million keys: `ATFS_CUT_KEYS=1000000 cargo test --test format_cuts -- --nocapture`.

#![allow(clippy::unwrap_used)]

mod format_support;

use atfs::format::{
    BlobKind, ChildItem, Compression, Counts, LeafItem, ManifestCutter, NodeCutter, StoredBlob, TreeNode,
};
use atfs::types::{Location, NodeId, PackId};
use format_support::{SplitMix64, build_tree, chunk_file, inline_file, key};

const SEED: [u8; 32] = [0x5e; 32];

fn keys() -> usize {
    std::env::var("ATFS_CUT_KEYS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000)
}

/// Where the nodes of items of these sizes end.
fn ends(sizes: &[usize], hits: impl Fn(&mut NodeCutter, usize) -> bool) -> Vec<usize> {
    let mut cutter = NodeCutter::new(SEED, 0);
    let mut ends = Vec::new();
    for (n, size) in sizes.iter().enumerate() {
        if cutter.must_end_before(*size) {
            cutter.restart();
            ends.push(n);
        }
        if hits(&mut cutter, n) {
            ends.push(n + 1);
        }
    }
    if ends.last() != Some(&sizes.len()) {
        ends.push(sizes.len());
    }
    ends
}

fn cut_leaves(items: &[LeafItem]) -> Vec<usize> {
    let sizes: Vec<usize> = items.iter().map(LeafItem::cut_size).collect();
    ends(&sizes, |cutter, n| cutter.push_leaf(&items[n]))
}

/// A table of kinds of trees: many directories, one flat directory of long names, tiny inline files.
fn samples(count: usize) -> Vec<(&'static str, Vec<LeafItem>)> {
    let mut tables = vec![
        ("dirs of 100 images", (0..count).map(|n| format!("2026/{:05}/image_{n:09}.jpg", n / 100)).collect()),
        (
            "one dir, long names",
            (0..count).map(|n| format!("{}_{n:09}.parquet", "part-column".repeat(10))).collect(),
        ),
        ("short names", (0..count).map(|n| format!("{n:x}")).collect::<Vec<_>>()),
    ]
    .into_iter()
    .map(|(name, paths): (_, Vec<String>)| (name, paths.iter().map(|p| chunk_file(p)).collect()))
    .collect::<Vec<(_, Vec<LeafItem>)>>();
    let mut random = SplitMix64(1);
    let inline = (0..count).map(|n| {
        let len = random.below(513);
        inline_file(&format!("labels/{n:08}.json"), &random.bytes(len))
    });
    tables.push(("inline files of 0 to 512 bytes", inline.collect()));
    for (_, items) in &mut tables {
        items.sort_by(|a, b| a.key.cmp(&b.key));
        // Chunks lie in key order, one behind the other.
        let mut offset = 25;
        for item in items.iter_mut().filter(|item| item.entry.size() > 512) {
            let len = item.entry.size() as u32;
            item.hints.content = Some(Location { pack: PackId::from_bytes([1; 16]), offset, len });
            offset += u64::from(len);
        }
    }
    tables
}

#[test]
fn node_sizes_stay_near_the_target() {
    for (name, items) in samples(keys()) {
        let ends = cut_leaves(&items);
        let mut start = 0;
        let mut sizes = Vec::new();
        let (mut bodies, mut stored) = (0, 0);
        for end in &ends {
            let node = TreeNode::Leaf(items[start..*end].to_vec());
            sizes.push(items[start..*end].iter().map(LeafItem::cut_size).sum::<usize>());
            let (id, blob) = node.encode();
            bodies += u32::from_le_bytes(blob[..4].try_into().unwrap()) as usize;
            stored += StoredBlob::pack(BlobKind::TreeNode, *id.as_bytes(), &blob, Compression::IfItPays)
                .stored
                .len();
            start = *end;
        }
        let count = sizes.len();
        let mean = sizes.iter().sum::<usize>() / count;
        let spread =
            (sizes.iter().map(|s| (*s as f64 - mean as f64).powi(2)).sum::<f64>() / count as f64).sqrt();
        let inner = &sizes[..count - 1];
        let (least, most) = (inner.iter().min().unwrap(), inner.iter().max().unwrap());
        let short = inner.iter().filter(|s| **s < 32 << 10).count() as f64 / count as f64;
        println!(
            "{name}: {} entries, {count} leaves of {} entries, cut size mean {mean} spread {spread:.0} least {least} \
             most {most}, {:.0} % below target, body mean {}, stored mean {}",
            items.len(),
            items.len() / count,
            short * 100.0,
            bodies / count,
            stored / count
        );
        assert!((32 << 10..=41 << 10).contains(&mean), "{name}: {mean}");
        assert!(*least >= 8 << 10 && *most <= 128 << 10);
    }
}

/// One edit changes one leaf or two: behind it the cuts fall on the old places again.
#[test]
fn cuts_fall_into_step_again_after_an_edit() {
    for (name, items) in samples(keys()) {
        let old = cut_leaves(&items);
        let mut random = SplitMix64(2);
        let mut changed = Vec::new();
        for round in 0..keys() / 1_000 {
            let at = random.below(items.len() - 1);
            // Leaves before the one that holds `at` cannot change: cutting starts at its beginning.
            let first = old.partition_point(|end| *end <= at);
            let start = if first == 0 { 0 } else { old[first - 1] };
            // Far enough to be in step again; the end of this part is no cut.
            let mut edited = items[start..items.len().min(at + 30_000)].to_vec();
            let shift: isize = match round % 3 {
                0 => {
                    let path = items[at].key.to_path().unwrap();
                    edited.insert(at - start + 1, chunk_file(&format!("{path}~")));
                    1
                }
                1 => {
                    edited.remove(at - start);
                    -1
                }
                _ => {
                    edited[at - start].entry = chunk_file(&format!("new content {round}")).entry;
                    0
                }
            };
            edited.sort_by(|a, b| a.key.cmp(&b.key));
            let new = cut_leaves(&edited);
            let nodes = new.iter().position(|end| {
                let then = (start + end).wrapping_add_signed(-shift);
                then > at && old.binary_search(&then).is_ok()
            });
            changed.push(nodes.expect("in step again within 30,000 entries") + 1);
        }
        changed.sort_unstable();
        let mean = changed.iter().sum::<usize>() as f64 / changed.len() as f64;
        let (p99, most) = (changed[changed.len() * 99 / 100], changed[changed.len() - 1]);
        println!("{name}: leaves rewritten per edit: mean {mean:.2}, 99th percentile {p99}, most {most}");
        assert!(mean < 1.6 && p99 <= 8, "{name}: {mean} {p99} {most}");
    }
}

/// The promise of `format::cut`: no node but the last of its level has fewer than eight items, so levels end, even
/// for the longest keys, each chosen so that the rule would cut behind it as soon as it may.
#[test]
fn levels_shrink_whatever_the_keys() {
    let mut children: Vec<ChildItem> = Vec::new();
    let long = "d".repeat(250);
    let path = |n: u32| format!("{}{n:08}", format!("{long}/").repeat(16));
    let mut n = 0;
    while children.len() < 200 {
        n += 1;
        let child = ChildItem {
            last_key: key(&path(n)),
            id: NodeId::of(&n.to_le_bytes()),
            counts: Counts { entries: u64::MAX >> 22, files: u64::MAX >> 23, bytes: u64::MAX >> 9 },
            hint: None,
        };
        assert!(child.cut_size() < 4200);
        // A cutter with enough behind it to be allowed to cut.
        let mut cutter = NodeCutter::new(SEED, 1);
        (0..NodeCutter::MIN_ITEMS).for_each(|_| {
            cutter.push_child(&child);
        });
        cutter.restart();
        let cuts = (0..NodeCutter::MIN_ITEMS).any(|_| cutter.push_child(&child));
        if cuts {
            children.push(child);
        }
    }
    let mut cutter = NodeCutter::new(SEED, 1);
    let (mut open, mut least, mut nodes) = (0, usize::MAX, 0);
    for child in &children {
        assert!(open < NodeCutter::MIN_ITEMS || !cutter.must_end_before(child.cut_size()) || open >= 8);
        if cutter.must_end_before(child.cut_size()) {
            cutter.restart();
            (least, open, nodes) = (least.min(open), 0, nodes + 1);
        }
        open += 1;
        if cutter.push_child(child) {
            (least, open, nodes) = (least.min(open), 0, nodes + 1);
        }
    }
    assert_eq!(least, NodeCutter::MIN_ITEMS, "the rule was driven to its limit");
    assert_eq!(nodes, 200 / 8);
}

#[test]
fn equal_entries_have_equal_trees_and_unequal_ones_share_most_nodes() {
    let mut items: Vec<LeafItem> =
        (0..20_000).map(|n| chunk_file(&format!("{:03}/{n:06}", n / 100))).collect();
    items.sort_by(|a, b| a.key.cmp(&b.key));
    let ids = |items: &[LeafItem]| -> Vec<NodeId> {
        build_tree(SEED, items.to_vec()).into_iter().flatten().map(|(id, _)| id).collect()
    };
    let before = ids(&items);
    let removed = items.remove(12_345);
    let after = ids(&items);
    let fresh = after.iter().filter(|id| !before.contains(id)).count();
    assert!((1..=6).contains(&fresh), "{fresh} new nodes");
    items.insert(12_345, removed);
    assert_eq!(ids(&items), before);
    for (id, node) in build_tree(SEED, items).into_iter().flatten() {
        assert_eq!(TreeNode::decode(id, &node.encode().1), Ok(node));
    }
}

#[test]
fn manifest_nodes_have_some_five_hundred_items() {
    let mut cutter = ManifestCutter::new();
    let (mut open, mut sizes) = (0usize, Vec::new());
    for n in 0..keys() as u64 {
        open += 1;
        if cutter.push(blake3::hash(&n.to_le_bytes()).as_bytes()) {
            sizes.push(std::mem::take(&mut open));
        }
    }
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    println!(
        "manifest nodes: {} of mean {mean}, least {}, most {}",
        sizes.len(),
        sizes.iter().min().unwrap(),
        sizes.iter().max().unwrap()
    );
    assert!((430..=590).contains(&mean), "{mean}");
    assert!(sizes.iter().all(|size| (128..=2048).contains(size)));
    // A file of equal chunks: the maximum cuts.
    let mut cutter = ManifestCutter::new();
    assert_eq!((0..4096).filter(|_| cutter.push(&[0xff; 32])).count(), 2);
}
