//! The index as one process sees it; two processes and damage are in `tests/meta_*.rs`.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::{Index, IndexOptions, MetaError, Namespace};
use crate::types::{ChunkId, Location, Nonce, PackId, RepoUuid};

fn open(dir: &Path) -> Index {
    Index::open(dir, &IndexOptions::default()).expect("open")
}

fn node(i: u32, len: usize) -> ([u8; 32], Bytes) {
    let blob = Bytes::from(vec![i as u8; len]);
    (*ChunkId::of(&i.to_le_bytes()).as_bytes(), blob)
}

fn location(offset: u64) -> Location {
    Location { pack: PackId::from_bytes([7; 16]), offset, len: 9 }
}

#[test]
fn what_is_put_is_seen_at_once_and_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let repo = RepoUuid::from_random([3; 16]);
    let (id, blob) = node(1, 40_000);
    let chunk = ChunkId::of(b"chunk");
    {
        let index = open(dir.path());
        assert_eq!(index.get_node(&id), None);
        index.put_node(id, blob.clone());
        index.put_locations(&repo, [(chunk, location(5))]);
        assert_eq!(index.get_node(&id), Some(blob.clone()));
        index.flush();
        assert_eq!(index.get_node(&id), Some(blob.clone()));
        index.put_locations(&repo, [(chunk, location(6))]);
    }
    let index = open(dir.path());
    assert_eq!(index.get_node(&id), Some(blob));
    assert_eq!(index.get_location(&repo, &chunk), Some(location(6)));
    assert_eq!(index.get_location(&RepoUuid::from_random([4; 16]), &chunk), None);

    index.forget_node(&id);
    index.forget_location(&repo, &chunk);
    assert_eq!(index.get_node(&id), None);
    index.flush();
    assert_eq!(index.get_node(&id), None);
    assert_eq!(index.get_location(&repo, &chunk), None);
}

#[test]
fn a_location_that_a_flipped_bit_changed_is_none() {
    let key = super::location_key(&RepoUuid::from_random([3; 16]), &ChunkId::of(b"chunk"));
    let value = super::encode_location(&key, &location(1 << 40));
    assert_eq!(super::decode_location(&key, &value), Some(location(1 << 40)));
    for bit in 0..value.len() * 8 {
        let mut flipped = value.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(super::decode_location(&key, &flipped), None, "bit {bit}");
    }
    assert_eq!(super::decode_location(&key, &value[..31]), None);
}

#[test]
fn nodes_stay_within_their_bytes_on_disk_and_those_in_use_stay() {
    const BUDGET: u64 = 8 << 20;
    let dir = tempfile::tempdir().unwrap();
    let options = IndexOptions { node_bytes: BUDGET, location_bytes: 1 << 20 };
    let index = Index::open(dir.path(), &options).unwrap();
    let (used, blob) = node(0, 20_000);
    index.put_node(used, blob.clone());
    // Five budgets, in steps that the generations can follow: what is asked for in each step is in use.
    for step in 1..=100u32 {
        index.put_nodes((0..20).map(|i| node(step * 100 + i, 20_000)));
        index.flush();
        assert_eq!(index.get_node(&used), Some(blob.clone()), "step {step}");
    }
    assert!(index.get_node(&node(10_019, 0).0).is_some(), "the newest is there");
    assert!(index.get_node(&node(100, 0).0).is_none(), "the oldest is gone");
    let file = index.file().unwrap();
    // Deleted generations leave free pages that the next ones fill; half a budget of slack is theirs.
    let size = fs::metadata(file).unwrap().len();
    assert!(size <= BUDGET * 3 / 2 + (2 << 20), "{size}");
}

#[test]
fn an_entry_larger_than_the_budget_is_not_kept_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = IndexOptions { node_bytes: 64 << 10, location_bytes: 0 };
    let index = Index::open(dir.path(), &options).unwrap();
    let (small, large) = (node(1, 1000), node(2, 200_000));
    index.put_nodes([small.clone(), large.clone()]);
    index.put_locations(&RepoUuid::from_random([0; 16]), [(ChunkId::of(b""), location(0))]);
    index.flush();
    assert_eq!(index.get_node(&large.0), None);
    assert_eq!(index.get_node(&small.0), Some(small.1));
}

#[test]
fn what_is_in_the_way_is_replaced() {
    for case in ["text", "newer", "directory", "empty"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("index-v1-0.redb");
        match case {
            "text" => fs::write(&file, "not a database".repeat(1000)).unwrap(),
            "directory" => fs::create_dir_all(file.join("keep me")).unwrap(),
            "empty" => fs::write(&file, "").unwrap(),
            _ => {
                let db = redb::Database::create(&file).unwrap();
                let write = db.begin_write().unwrap();
                let about = redb::TableDefinition::<&str, &[u8]>::new("about");
                write.open_table(about).unwrap().insert("schema", &b"atfs index 2"[..]).unwrap();
                write.commit().unwrap();
            }
        }
        let (id, blob) = node(1, 100);
        {
            let index = open(dir.path());
            assert_eq!(index.file().as_deref(), Some(&*file), "{case}");
            assert_eq!(index.get_node(&id), None);
            index.put_node(id, blob.clone());
        }
        assert_eq!(open(dir.path()).get_node(&id), Some(blob), "{case}");
    }
}

#[test]
fn a_second_opener_has_a_slot_of_its_own_and_the_ninth_lives_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (id, blob) = node(1, 100);
    let mut all: Vec<Index> = (0..9).map(|_| open(dir.path())).collect();
    assert_eq!(all[8].file(), None);
    for index in &all {
        assert_eq!(index.get_node(&id), None, "slots share nothing");
        index.put_node(id, blob.clone());
        index.flush();
        assert_eq!(index.get_node(&id), Some(blob.clone()));
    }
    let second = all[1].file();
    drop(all.remove(1));
    let again = open(dir.path());
    assert_eq!(again.file(), second, "the free slot is taken again");
    assert_eq!(again.get_node(&id), Some(blob), "with what it held");
}

#[test]
fn no_rights_is_an_error_that_names_the_place() {
    // Root may write anywhere, but not below a file.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Index::open(&file.join("state"), &IndexOptions::default()).unwrap_err();
    assert!(error.to_string().contains("file/state"), "{error}");
    let error = MetaError::new("write", &file, std::io::ErrorKind::PermissionDenied.into());
    assert!(matches!(error, MetaError::Denied { .. }));
}

#[test]
fn attempts_are_files_that_every_handle_sees() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(dir.path()), open(dir.path()));
    let ids = [Nonce::from_bytes([1; 16]), Nonce::from_bytes([2; 16])];
    a.attempts().put(&ids[0], b"{\"seq\":1}").unwrap();
    b.attempts().put(&ids[1], b"{}").unwrap();
    b.attempts().put(&ids[1], b"{\"seq\":2}").unwrap();
    fs::write(dir.path().join("attempts/.tmp-left"), "half").unwrap();
    fs::write(dir.path().join("attempts/README"), "not ours").unwrap();
    let mut seen = a.attempts().list().unwrap();
    seen.sort();
    assert_eq!(seen, [(ids[0], b"{\"seq\":1}".to_vec()), (ids[1], b"{\"seq\":2}".to_vec())]);
    a.attempts().remove(&ids[1]).unwrap();
    a.attempts().remove(&ids[1]).unwrap();
    assert_eq!(b.attempts().list().unwrap().len(), 1);
}

#[test]
fn a_fact_is_the_newest_whole_one_or_none() {
    const SEEN: Namespace = Namespace::new("seen");
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let facts = index.facts();
    assert_eq!(facts.get(SEEN, b"main"), None);
    facts.put(SEEN, b"main", b"1").unwrap();
    facts.put(SEEN, b"main", b"2").unwrap();
    assert_eq!(facts.get(SEEN, b"main"), Some(b"2".to_vec()));
    assert_eq!(facts.get(Namespace::new("other"), b"main"), None);
    for file in fs::read_dir(dir.path().join("facts/seen")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(facts.get(SEEN, b"main"), None, "damaged");
}

#[test]
fn a_maximum_kept_by_many_threads_is_the_maximum() {
    const SEEN: Namespace = Namespace::new("seen");
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let facts = index.facts().clone();
            scope.spawn(move || {
                for i in 0..50u64 {
                    let mine = i * 4 + thread;
                    let raise = |old: Option<Vec<u8>>| {
                        let old = old.map_or(0, |v| u64::from_be_bytes(v.try_into().unwrap()));
                        (mine > old).then(|| mine.to_be_bytes().to_vec())
                    };
                    facts.update(SEEN, b"main", raise).unwrap();
                }
            });
        }
    });
    assert_eq!(index.facts().get(SEEN, b"main"), Some(199u64.to_be_bytes().to_vec()));
}
