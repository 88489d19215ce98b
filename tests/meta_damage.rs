//! Whatever happens to the bytes of the index file, it opens, never panics, and never gives back a wrong
//! value.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use atfs::meta::{Index, IndexOptions};
use atfs::types::{ChunkId, Location, PackId, RepoUuid};
use bytes::Bytes;
use proptest::prelude::*;

const NODES: u32 = 60;

fn node(i: u32) -> ([u8; 32], Bytes) {
    let blob = Bytes::from(i.to_le_bytes().repeat(50 + 60 * i as usize));
    (*ChunkId::of(&blob).as_bytes(), blob)
}

fn location(i: u32) -> (ChunkId, Location) {
    (ChunkId::of(&i.to_be_bytes()), Location { pack: PackId::from_bytes([9; 16]), offset: i.into(), len: i })
}

fn repo() -> RepoUuid {
    RepoUuid::from_random([1; 16])
}

fn fill(dir: &Path) {
    let index = Index::open(dir, &IndexOptions::default()).unwrap();
    for half in [0..NODES / 2, NODES / 2..NODES] {
        index.put_nodes(half.clone().map(node));
        index.put_locations(&repo(), half.map(location));
        index.flush();
    }
}

/// Reads all and writes all again; how many nodes were found. Locations are right or none.
fn use_it(dir: &Path) -> u32 {
    let index = Index::open(dir, &IndexOptions::default()).unwrap();
    let mut found = 0;
    for i in 0..NODES {
        let (id, blob) = node(i);
        // The caller has the hash: a wrong blob is his to notice, a panic or a hang is not.
        match index.get_node(&id) {
            Some(seen) if seen == blob => found += 1,
            Some(_) => index.forget_node(&id),
            None => {}
        }
        let (chunk, place) = location(i);
        assert!(index.get_location(&repo(), &chunk).is_none_or(|seen| seen == place), "location {i}");
    }
    index.put_nodes((0..NODES).map(node));
    index.flush();
    found
}

#[derive(Debug, Clone)]
enum Damage {
    Flip { at: f64, bits: u8 },
    Overwrite { at: f64, len: usize, with: u8 },
    Truncate { at: f64 },
    Grow { by: usize },
    SwapPages { a: f64, b: f64 },
}

fn damage() -> impl Strategy<Value = Damage> {
    // Half of all places in the first hundredth: that is where headers and roots are.
    let at = || prop_oneof![0.0..0.01f64, 0.0..1.0f64];
    prop_oneof![
        4 => (at(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip { at, bits }),
        2 => (at(), 1..5000usize, any::<u8>()).prop_map(|(at, len, with)| Damage::Overwrite { at, len, with }),
        2 => at().prop_map(|at| Damage::Truncate { at }),
        1 => (1..10_000usize).prop_map(|by| Damage::Grow { by }),
        1 => (at(), at()).prop_map(|(a, b)| Damage::SwapPages { a, b }),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let place = |at: f64, len: usize| ((len as f64 * at) as usize).min(len.saturating_sub(1));
    let len = bytes.len();
    if len == 0 {
        return;
    }
    match *damage {
        Damage::Flip { at, bits } => bytes[place(at, len)] ^= bits,
        Damage::Overwrite { at, len: n, with } => {
            let start = place(at, len);
            bytes[start..(start + n).min(len)].fill(with);
        }
        Damage::Truncate { at } => bytes.truncate(place(at, len)),
        Damage::Grow { by } => bytes.resize(len + by, 0xA5),
        Damage::SwapPages { a, b } => {
            let (a, b) = (place(a, len / 4096) * 4096, place(b, len / 4096) * 4096);
            for i in 0..4096.min(len - a).min(len - b) {
                bytes.swap(a + i, b + i);
            }
        }
    }
}

fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

proptest! {
    // Each case waits for the disk a dozen times; PROPTEST_CASES=10000 runs for some minutes.
    #![proptest_config(ProptestConfig { cases: cases(64), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_index_opens_and_serves(damages in prop::collection::vec(damage(), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        let file = dir.path().join("index-v1-0.redb");
        let mut bytes = fs::read(&file).unwrap();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        fs::write(&file, bytes).unwrap();
        // The first use may meet the damage and start anew; the second, and all later ones, find what was
        // put since.
        use_it(dir.path());
        use_it(dir.path());
        prop_assert_eq!(use_it(dir.path()), NODES);
    }
}

#[test]
fn an_undamaged_index_finds_all() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    assert_eq!(use_it(dir.path()), NODES, "or the test above shows nothing");
}

#[test]
fn a_file_that_is_cut_short_while_it_is_open_is_replaced_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), &IndexOptions::default()).unwrap();
    // More than the page cache holds, so that reads meet the file.
    let large: Vec<_> = (0..40u8).map(|i| ([i; 32], Bytes::from(vec![i; 600_000]))).collect();
    for nodes in large.chunks(10) {
        index.put_nodes(nodes.to_vec());
        index.flush();
    }
    fs::OpenOptions::new().write(true).open(index.file().unwrap()).unwrap().set_len(8192).unwrap();
    let lost = large.iter().filter(|(id, _)| index.get_node(id).is_none()).count();
    assert!(lost > 0, "or nothing was tried");
    index.put_nodes([node(1)]);
    index.flush();
    assert_eq!(index.get_node(&node(1).0), Some(node(1).1));
}
