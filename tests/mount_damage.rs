//! Damage in the repository: EIO for what is hit and nothing else, and a line in the log that says what to do.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::path::{Path, PathBuf};

use atfs::daemon::DaemonError;
use mount_common::Fixture;

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Every object of the repository below `folder`.
fn objects(fixture: &Fixture, folder: &str) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(fixture.path("data").join(folder)).into_iter();
    files.map(|e| e.unwrap()).filter(|e| e.file_type().is_file()).map(|e| e.into_path()).collect()
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    // Objects are read-only files.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).expect("stored uncompressed")
}

fn assert_eio(path: &Path) {
    let error = fs::read(path).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{}: {error}", path.display());
}

#[test]
fn a_flipped_bit_hits_one_file() {
    let fixture = Fixture::new();
    for (name, seed, len) in [("good", 1, 50_000), ("bad", 2, 50_000), ("also good", 3, 3 << 20)] {
        fs::write(fixture.source().join(name), noise(seed, len)).unwrap();
    }
    fs::write(fixture.source().join("inline"), "small").unwrap();
    fixture.commit("work");
    let packs = objects(&fixture, "data");
    assert_eq!(packs.len(), 1);
    rewrite(&packs[0], |bytes| {
        let at = find(bytes, &noise(2, 50_000)[..64]);
        bytes[at + 40_000] ^= 1;
    });
    let mnt = fixture.mount(Some("work"));
    assert_eio(&mnt.join("bad"));
    assert_eio(&mnt.join("bad"));
    for (name, seed, len) in [("good", 1, 50_000), ("also good", 3, 3 << 20)] {
        assert!(fs::read(mnt.join(name)).unwrap() == noise(seed, len), "{name}");
    }
    assert_eq!(fs::read(mnt.join("inline")).unwrap(), b"small");
    let log = fixture.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "said once: {log}");
    let pack = packs[0].file_name().unwrap().to_str().unwrap();
    for said in ["@work:bad", "data/", pack, "damaged", "remedy", "restore this object"] {
        assert!(lines[0].contains(said), "{said:?} is not in {}", lines[0]);
    }
}

#[test]
fn a_missing_pack_hits_the_files_in_it() {
    let fixture = Fixture::new();
    fs::write(fixture.source().join("old"), noise(1, 50_000)).unwrap();
    fixture.commit("old");
    let before = objects(&fixture, "data");
    fs::write(fixture.source().join("new"), noise(2, 50_000)).unwrap();
    fs::remove_file(fixture.source().join("old")).unwrap();
    fixture.commit("new");
    let pack = objects(&fixture, "data").into_iter().find(|pack| !before.contains(pack)).unwrap();
    let kept = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    let mnt = fixture.mount(None);
    assert_eio(&mnt.join("data@new/new"));
    assert!(fs::read(mnt.join("data@old/old")).unwrap() == noise(1, 50_000));
    let log = fixture.log();
    let line = log.lines().find(|line| line.contains("ERROR")).unwrap();
    for said in ["@new:new", "missing", "remedy"] {
        assert!(line.contains(said), "{said:?} is not in {line}");
    }
    // Once it is restored, the file reads: nothing bad was remembered.
    fs::write(&pack, kept).unwrap();
    assert!(fs::read(mnt.join("data@new/new")).unwrap() == noise(2, 50_000));
}

#[test]
fn a_commit_without_its_tree_is_refused_before_it_is_mounted() {
    let fixture = Fixture::new();
    let before = objects(&fixture, "meta");
    fs::write(fixture.source().join("a"), "a").unwrap();
    fixture.commit("work");
    let pack = objects(&fixture, "meta").into_iter().find(|pack| !before.contains(pack)).unwrap();
    rewrite(&pack, |bytes| bytes.truncate(10));
    let error = fixture.try_mount(&fixture.order(Some("work"))).unwrap_err();
    assert!(matches!(error, DaemonError::Refused(_)), "{error}");
    assert!(fixture.mount_point().read_dir().unwrap().next().is_none());
    fixture.mount(Some("main"));
}
