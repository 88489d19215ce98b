//! The state directory's disk is full: what must not be lost says so, what is a cache goes without.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::fs;

use atfs::meta::{Index, IndexOptions, MetaError, Namespace};
use atfs::types::Nonce;
use bytes::Bytes;
use cache_support::SmallDisk;

const SEEN: Namespace = Namespace::new("seen");

fn fill_up(disk: &SmallDisk) {
    // The last pages byte by byte, so that nothing at all fits.
    let _ = fs::write(disk.path().join("foreign"), vec![1; 16 << 20]);
    assert_eq!(fs::write(disk.path().join("more"), "x").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn an_index_cannot_be_made_on_a_full_disk_and_says_why() {
    let disk = SmallDisk::new(1 << 20);
    fill_up(&disk);
    match Index::open(&disk.path().join("state"), &IndexOptions::default()) {
        Err(MetaError::NoSpace { path, .. }) => assert!(path.contains("state"), "{path}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_open_index_goes_without_and_an_attempt_is_refused() {
    let disk = SmallDisk::new(4 << 20);
    let index = Index::open(&disk.path().join("state"), &IndexOptions::default()).unwrap();
    let nonce = Nonce::from_bytes([1; 16]);
    index.put_node([1; 32], Bytes::from(vec![1; 10_000]));
    index.flush();
    fill_up(&disk);
    index.put_nodes((2..200u8).map(|i| ([i; 32], Bytes::from(vec![i; 30_000]))));
    index.flush();
    // Right or none.
    for i in 1..200u8 {
        assert!(index.get_node(&[i; 32]).is_none_or(|blob| blob.iter().all(|&byte| byte == i)));
    }
    assert!(matches!(index.attempts().put(&nonce, b"{}"), Err(MetaError::NoSpace { .. })));
    assert!(matches!(index.facts().put(SEEN, b"main", b"1"), Err(MetaError::NoSpace { .. })));
    assert!(index.attempts().list().unwrap().is_empty(), "no half of one is left");

    fs::remove_file(disk.path().join("foreign")).unwrap();
    index.attempts().put(&nonce, b"{}").unwrap();
    index.facts().put(SEEN, b"main", b"1").unwrap();
    assert_eq!(index.attempts().list().unwrap().len(), 1);
    drop(index);
    // And the next process finds an index that works.
    let index = Index::open(&disk.path().join("state"), &IndexOptions::default()).unwrap();
    index.put_node([7; 32], Bytes::from_static(b"seven"));
    index.flush();
    assert_eq!(index.get_node(&[7; 32]), Some(Bytes::from_static(b"seven")));
}
