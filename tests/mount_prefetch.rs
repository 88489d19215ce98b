//! Files in the cache before anybody reads them.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mount_common::{Fixture, wait_until};

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn size(n: usize) -> usize {
    if n.is_multiple_of(20) { 2 << 20 } else { 30_000 + n }
}

/// 60 files in `a`, 60 in `b/c`, every twentieth of them long; one too small to be anywhere but in the tree.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    for (dir, base) in [("a", 0), ("b/c", 1000)] {
        let dir = fixture.source().join(dir);
        fs::create_dir_all(&dir).unwrap();
        for n in 0..60 {
            let kind = if n % 2 == 0 { "csv" } else { "bin" };
            fs::write(dir.join(format!("{n:02}.{kind}")), noise(base + n, size(n))).unwrap();
        }
    }
    fs::write(fixture.source().join("tiny"), "x").unwrap();
    let mut source = fixture.source().into_os_string();
    source.push("/.");
    fixture.add("", Path::new(&source));
    fixture
}

fn prefetch(fixture: &Fixture, arguments: &[&str]) -> Output {
    run(fixture, "prefetch", arguments)
}

fn run(fixture: &Fixture, command: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_atfs"))
        .arg(command)
        .args(arguments)
        .env("ATFS_CACHE_DIR", fixture.cache_dir())
        .env("ATFS_STATE_DIR", fixture.path("state"))
        .env("ATFS_CONFIG", "")
        .output()
        .unwrap()
}

/// The number of files that the command says to have brought.
fn files(output: &Output) -> u64 {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    json["files"].as_u64().unwrap()
}

fn is_cached(path: &Path) -> bool {
    xattr::get(path, "user.atfs.cached").unwrap().unwrap() == b"yes"
}

#[test]
fn what_was_brought_is_read_without_the_store() {
    let fixture = fixture();
    // Of a version that is not mounted: the daemon brings it all the same.
    let version = format!("{}@main", fixture.url());
    assert_eq!(files(&prefetch(&fixture, &[&version, "--json"])), 121);
    fs::rename(fixture.path("data").join("data"), fixture.path("data-aside")).unwrap();
    let mnt = fixture.mount(Some("main"));
    for (dir, base) in [("a", 0), ("b/c", 1000)] {
        for n in 0..60 {
            let kind = if n % 2 == 0 { "csv" } else { "bin" };
            let path = mnt.join(dir).join(format!("{n:02}.{kind}"));
            assert!(is_cached(&path), "{}", path.display());
            assert!(fs::read(&path).unwrap() == noise(base + n, size(n)), "{}", path.display());
        }
    }
    // Long files are whole, so the kernel reads them by itself.
    assert!(fixture.counter(&mnt, "opens_passthrough") >= 6);
}

#[test]
fn paths_globs_and_lists_select() {
    let fixture = fixture();
    let mnt = fixture.mount(Some("main"));
    let place = mnt.to_str().unwrap();
    let inside = mnt.join("b");
    let inside = inside.to_str().unwrap();
    assert_eq!(files(&prefetch(&fixture, &[place, "a/*.csv", "--json"])), 30);
    assert!(is_cached(&mnt.join("a/20.csv")) && is_cached(&mnt.join("a/02.csv")));
    assert!(!is_cached(&mnt.join("b/c/20.csv")));
    assert_eq!(files(&prefetch(&fixture, &[place, "**/40.*", "tiny", "--json"])), 3);
    assert_eq!(files(&prefetch(&fixture, &[inside, "c/01.bin", "--json"])), 1);
    assert_eq!(files(&prefetch(&fixture, &[inside, "--json", "-j", "2"])), 60);
    // A list of paths, of which one is meant twice.
    let list = fixture.path("list");
    fs::write(&list, "a/00.csv\na/01.bin\r\n\na/01.bin\nb/c/\n").unwrap();
    assert_eq!(files(&prefetch(&fixture, &[place, "--from-file", list.to_str().unwrap(), "--json"])), 62);
    let missing = prefetch(&fixture, &[place, "a/99.csv"]);
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(text.contains("@main:a/99.csv does not exist"), "{text}");
    assert_eq!(prefetch(&fixture, &[place, "a/../b"]).status.code(), Some(2));
    assert_eq!(prefetch(&fixture, &["nothing-of-the-kind@@"]).status.code(), Some(2));
}

#[test]
fn what_is_pinned_stays_until_it_is_let_go() {
    let fixture = fixture();
    let mnt = fixture.mount(Some("main"));
    let place = mnt.to_str().unwrap();
    let cached = |path: &str| is_cached(&mnt.join(path));
    let prune = || assert!(run(&fixture, "cache", &["prune", "--all"]).status.success());
    assert_eq!(files(&prefetch(&fixture, &[place, "a", "--pin", "--json"])), 60);
    // Once more is no second pin.
    assert_eq!(files(&prefetch(&fixture, &[place, "a/0*", "--pin", "--json"])), 10);
    assert_eq!(files(&prefetch(&fixture, &[place, "b", "--json"])), 60);
    prune();
    for n in 0..60 {
        let kind = if n % 2 == 0 { "csv" } else { "bin" };
        assert!(cached(&format!("a/{n:02}.{kind}")), "a/{n:02}.{kind}");
    }
    assert!(!cached("b/c/00.csv") && !cached("b/c/40.csv"), "the long ones are in no slab of others");
    let info = String::from_utf8(run(&fixture, "cache", &["info"]).stdout).unwrap();
    assert!(info.contains("\npinned "), "{info}");
    fs::rename(fixture.path("data").join("data"), fixture.path("data-aside")).unwrap();
    assert!(fs::read(mnt.join("a/40.csv")).unwrap() == noise(40, size(40)));
    assert!(fs::read(mnt.join("a/41.bin")).unwrap() == noise(41, size(41)));

    let text = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for says in ["nothing is pinned any more", "nothing was pinned"] {
        let said = text(prefetch(&fixture, &[place, "--unpin"]));
        assert!(said.contains(says), "{said}");
    }
    prune();
    assert!(!cached("a/00.csv") && !cached("a/01.bin"));
    let version = format!("{}@main", fixture.url());
    let refused = prefetch(&fixture, &[&version, "--pin"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(refused).contains("pins belong to a mount"));
}

#[test]
fn pins_leave_a_quarter_of_the_cache() {
    let fixture = fixture();
    let (url, mnt) = (format!("{}@main", fixture.url()), fixture.mount_point());
    fixture.atfs(&["mount", &url, mnt.to_str().unwrap(), "--cache-size=12MiB"].map(AsRef::as_ref));
    let pinned = prefetch(&fixture, &[mnt.to_str().unwrap(), "--pin", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&pinned.stdout).unwrap();
    assert_eq!(json["full"], true, "{json}");
    let info: serde_json::Value =
        serde_json::from_slice(&run(&fixture, "cache", &["info", "--json"]).stdout).unwrap();
    let held = info["pinned_bytes"].as_u64().unwrap();
    assert!((1..=9 << 20).contains(&held), "{info}");
    // Whatever else is read finds room.
    let other = mnt.join("b/c/40.csv");
    assert!(fs::read(&other).unwrap() == noise(1040, size(40)));
    assert!(is_cached(&other));
}

#[test]
fn a_mount_can_ask_for_it() {
    let fixture = fixture();
    let (url, mnt) = (format!("{}@main", fixture.url()), fixture.mount_point());
    fixture.atfs(&["mount", &url, mnt.to_str().unwrap(), "--prefetch=a/**"].map(AsRef::as_ref));
    wait_until("the files are there", || {
        is_cached(&mnt.join("a/40.csv")) && is_cached(&mnt.join("a/59.bin"))
    });
    assert!(!is_cached(&mnt.join("b/c/00.csv")));
}

#[test]
fn damage_is_said() {
    let fixture = fixture();
    let version = format!("{}@main", fixture.url());
    let packs = fixture.path("data").join("data");
    for pack in
        walkdir::WalkDir::new(&packs).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file())
    {
        let mut bytes = fs::read(pack.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(pack.path()).unwrap();
        fs::write(pack.path(), bytes).unwrap();
    }
    let output = prefetch(&fixture, &[&version]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("damaged") && text.contains("@main:"), "{text}");
}
