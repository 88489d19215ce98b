use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::format::{Content, EntryBody, Mtime, Xattrs};
use crate::types::{ChunkId, Location, PackId, RepoPath};

fn key(text: &str) -> TreeKey {
    TreeKey::of(&RepoPath::new(text).expect("valid")).expect("not the root")
}

fn entry(body: EntryBody) -> Entry {
    let mtime = Mtime { seconds: 1_790_000_000, nanos: 123_456_789 };
    Entry { mode: 0o644, uid: 1000, gid: 1000, mtime, xattrs: Xattrs::None, body }
}

fn short(text: &str) -> Placed {
    let content = Content::Inline(Bytes::copy_from_slice(text.as_bytes()));
    let body = EntryBody::File { size: text.len() as u64, content };
    Placed { entry: entry(body), hints: EntryHints::default() }
}

fn with_chunk(n: u64) -> Placed {
    let content = Content::Chunk(ChunkId::of(&n.to_le_bytes()));
    let place = Location { pack: PackId::from_bytes([7; 16]), offset: 25 + 700 * n, len: 700 };
    let hints = EntryHints { content: Some(place), xattrs: None };
    Placed { entry: entry(EntryBody::File { size: 1000, content }), hints }
}

fn link(len: usize) -> Placed {
    let target = Bytes::from(vec![b'x'; len]);
    Placed { entry: entry(EntryBody::Symlink { target }), hints: EntryHints::default() }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u16, Placed),
    Remove(u16),
    Forget(u16),
    /// Many puts in a row, so that blocks fill and split.
    Run(u16, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let placed = prop_oneof![
        "[a-z]{1,20}".prop_map(|text| short(&text)),
        (0..100_u64).prop_map(with_chunk),
        // As long as entries can be: few of them fill a block.
        (1..4095_usize).prop_map(link),
    ];
    prop_oneof![
        4 => (any::<u16>(), placed).prop_map(|(n, placed)| Step::Put(n, placed)),
        2 => any::<u16>().prop_map(Step::Remove),
        2 => any::<u16>().prop_map(Step::Forget),
        1 => (any::<u16>(), 1..1500_u16).prop_map(|(n, len)| Step::Run(n, len)),
    ]
}

fn numbered(n: u16) -> TreeKey {
    key(&format!("d{}/f{:05}", n % 7, n / 3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the order in which edits come, they are those of a plain map.
    #[test]
    fn edits_are_a_map(steps in prop::collection::vec(step(), 1..60)) {
        let (mut edits, mut model) = (Edits::new(), BTreeMap::new());
        let mut earlier = None;
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Put(n, placed) => {
                    edits.put(numbered(*n), placed.clone()).expect("valid");
                    model.insert(numbered(*n), Some(placed.clone()));
                }
                Step::Remove(n) => {
                    edits.remove(numbered(*n));
                    model.insert(numbered(*n), None);
                }
                Step::Forget(n) => {
                    edits.forget(&numbered(*n));
                    model.remove(&numbered(*n));
                }
                Step::Run(from, len) => for n in (0..*len).map(|n| from.wrapping_add(n)) {
                    edits.put(numbered(n), with_chunk(n.into())).expect("valid");
                    model.insert(numbered(n), Some(with_chunk(n.into())));
                },
            }
            if at == steps.len() / 2 {
                earlier = Some((edits.clone(), model.clone()));
            }
        }
        // A clone is not touched by what came later.
        for (edits, model) in earlier.into_iter().chain([(edits, model)]) {
            prop_assert_eq!(edits.is_empty(), model.is_empty());
            prop_assert!(edits.iter().eq(model.iter().map(|(key, placed)| (key.clone(), placed.clone()))));
            let mut finder = edits.finder();
            for n in (0..u16::MAX).step_by(37) {
                let expected = model.get(&numbered(n));
                prop_assert_eq!(finder.get(&numbered(n)), expected.map(Option::as_ref));
                prop_assert_eq!(edits.get(&numbered(n)), expected.cloned());
            }
            for block in edits.blocks.values() {
                prop_assert!((1..=64).contains(&block.open().count()));
            }
        }
    }
}

/// Bytes that the blocks of `count` edits take, those of the map above them included.
fn bytes_each(count: u64, order: impl Fn(u64) -> u64, placed: impl Fn(u64) -> Placed) -> u64 {
    let mut edits = Edits::new();
    for n in (0..count).map(order) {
        edits.put(key(&format!("d{:03}/f{:04}", n / 1000, n % 1000)), placed(n)).expect("valid");
    }
    edits.work_in();
    let keys = |key: &TreeKey| key.as_bytes().len() + size_of::<TreeKey>();
    let block = |(first, block): (&TreeKey, &Arc<Block>)| {
        keys(first) + keys(&block.last) + block.encoded_len() + size_of::<Block>() + size_of::<usize>() * 3
    };
    edits.blocks.iter().map(block).sum::<usize>() as u64 / count
}

#[test]
fn a_million_edits_are_some_tens_of_megabytes() {
    let short = |n: u64| short(&n.to_string());
    let ascending = bytes_each(100_000, |n| n, short);
    // 7919 is prime to the count: every number once, all over the place.
    let scattered = bytes_each(100_000, |n| n * 7919 % 100_000, short);
    let chunks = bytes_each(100_000, |n| n, with_chunk);
    println!("bytes each: {ascending} ascending, {scattered} scattered, {chunks} with a chunk");
    assert!(ascending <= 45 && scattered <= 60 && chunks <= 80);
}

#[test]
fn what_cannot_be_stored_is_refused_at_once() {
    let mut edits = Edits::new();
    let mut wrong = short("x");
    wrong.entry.mode = 0o4755;
    assert!(edits.put(key("a"), wrong).is_err());
    assert!(edits.put(key(".atfs"), short("x")).is_err());
    edits.remove(key(".atfs/x"));
    assert!(edits.is_empty());
}
