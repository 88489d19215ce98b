//! Two real processes on one state directory, and one that is killed: the index is never corrupted, and no
//! attempt is lost.
//!
//! The other process is this test binary, told by an environment variable which role to play.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use atfs::meta::{Index, IndexOptions, Namespace};
use atfs::types::{ChunkId, Nonce};
use bytes::Bytes;

const ROLE: &str = "ATFS_TEST_META_ROLE";
const DIR: &str = "ATFS_TEST_META_DIR";
const COUNTED: Namespace = Namespace::new("counted");

fn node(writer: u8, i: u32) -> ([u8; 32], Bytes) {
    let seed = [&[writer][..], &i.to_le_bytes()].concat();
    let blob: Vec<u8> = seed.iter().copied().cycle().take(500 + (i as usize * 37) % 30_000).collect();
    (*ChunkId::of(&blob).as_bytes(), blob.into())
}

fn attempt(writer: u8, i: u32) -> (Nonce, Vec<u8>) {
    let mut id = [0; 16];
    id[0] = writer;
    id[1..5].copy_from_slice(&i.to_le_bytes());
    (Nonce::from_bytes(id), format!("{{\"writer\":{writer},\"i\":{i}}}").into_bytes())
}

fn count_up(index: &Index) {
    let next = |old: Option<Vec<u8>>| {
        let old = old.map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        Some((old + 1).to_le_bytes().to_vec())
    };
    index.facts().update(COUNTED, b"all", next).unwrap();
}

/// Writes nodes, attempts and counts, and says to `noted` which attempts are noted.
fn work(index: &Index, writer: u8, range: std::ops::Range<u32>, mut noted: impl Write) {
    for i in range {
        index.put_node(node(writer, i).0, node(writer, i).1);
        let (id, body) = attempt(writer, i);
        index.attempts().put(&id, &body).unwrap();
        count_up(index);
        writeln!(noted, "noted {i}").unwrap();
        if i % 40 == 39 {
            index.flush();
        }
    }
}

/// Not a test of its own: what the other process does.
#[test]
#[ignore = "a role that the other tests start in a process of its own"]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let index = Index::open(&dir, &IndexOptions::default()).unwrap();
    println!("file {}", index.file().unwrap().display());
    match role.as_str() {
        "work" => work(&index, 2, 0..200, std::io::stdout()),
        "work for ever" => work(&index, 3, 0..u32::MAX, std::io::stdout()),
        other => panic!("no role {other}"),
    }
    println!("done");
}

fn start(role: &str, dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// What stands behind `with` on the next line that holds it.
fn next_word(out: &mut impl BufRead, with: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the other process ended before {with:?}");
        if let Some(at) = line.find(with) {
            return line[at + with.len()..].trim().to_owned();
        }
    }
}

fn check_nodes(index: &Index, writer: u8, range: std::ops::Range<u32>) -> usize {
    let mut found = 0;
    for i in range {
        let (id, blob) = node(writer, i);
        if let Some(seen) = index.get_node(&id) {
            assert_eq!(seen, blob, "node {i}");
            found += 1;
        }
    }
    found
}

#[test]
fn a_command_beside_a_daemon_has_its_own_slot_and_shares_attempts_and_facts() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Index::open(dir.path(), &IndexOptions::default()).unwrap();
    let (mut command, mut out) = start("work", dir.path());
    let file = next_word(&mut out, "file ");
    assert!(file.ends_with("index-v1-1.redb"), "{file}");
    work(&daemon, 1, 0..200, std::io::sink());
    next_word(&mut out, "done");
    assert!(command.wait().unwrap().success());

    assert_eq!(daemon.attempts().list().unwrap().len(), 400);
    assert_eq!(daemon.facts().get(COUNTED, b"all"), Some(400u32.to_le_bytes().to_vec()));
    assert_eq!(check_nodes(&daemon, 1, 0..200), 200);
    assert_eq!(check_nodes(&daemon, 2, 0..200), 0, "the daemon's file was not touched");

    // The next command takes the same slot and finds what the last one left.
    let next = Index::open(dir.path(), &IndexOptions::default()).unwrap();
    assert_eq!(next.file().unwrap().to_str(), Some(&*file));
    assert_eq!(check_nodes(&next, 2, 0..200), 200);
}

#[test]
fn a_killed_writer_leaves_an_index_that_opens_and_every_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let mut flushed = 0;
    for round in 0..4u32 {
        let (mut child, mut out) = start("work for ever", dir.path());
        let file = next_word(&mut out, "file ");
        assert!(file.ends_with("index-v1-0.redb"), "the killed one's slot is free: {file}");
        let stop_at = 60 + round * 7;
        while next_word(&mut out, "noted ").parse::<u32>().unwrap() < stop_at {}
        child.kill().unwrap();
        child.wait().unwrap();
        let last = std::iter::from_fn(|| {
            let mut line = String::new();
            out.read_line(&mut line).ok().filter(|&n| n > 0)?;
            line.strip_suffix('\n')?.strip_prefix("noted ")?.parse().ok()
        })
        .last();
        let noted = 1 + last.unwrap_or(stop_at);

        let index = Index::open(dir.path(), &IndexOptions::default()).unwrap();
        let attempts = index.attempts().list().unwrap();
        for i in 0..noted {
            assert!(attempts.contains(&attempt(3, i)), "attempt {i} of round {round} is lost");
        }
        // Each 40th was followed by a flush, which was over when the next one was noted.
        flushed = flushed.max((noted - 1) / 40 * 40);
        let found = check_nodes(&index, 3, 0..noted + 1000);
        assert!(found >= flushed as usize, "{found} of {flushed} flushed nodes");
    }
}
