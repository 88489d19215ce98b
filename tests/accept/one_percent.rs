//! The next version, of which one percent is new: reading all of it on a machine that has read the one before brings that
//! percent and nothing else, for small files and for a long one. Counted between the program and a real server.

use std::fs;
use std::path::Path;

use crate::far::{Kind, Proxy, Settings};
use crate::sample::noise;
use crate::site::{Site, has_fuse};
use crate::support::servers;

/// Small files: 20 MB in four packs' worth of neighbours.
const FILES: usize = 400;
const FILE_BYTES: usize = 50_000;

/// The long file, and the part of it that changes: one percent, in its middle.
const LONG_BYTES: usize = 100 << 20;
const PATCH_BYTES: usize = 1 << 20;

/// What a reader may fetch that is no data: a commit, its tree, the list of the long file's chunks.
const METADATA_BYTES: u64 = 256 << 10;

/// What a change of one percent may store: itself, and of the long file the rest of the chunks at its edges, of 4 MiB at most.
const STORED_BYTES: u64 = (FILES / 100 * FILE_BYTES + PATCH_BYTES + 2 * (4 << 20)) as u64;

/// A file of the first version, and in the second version the one file in a hundred that differs.
fn small(n: usize, version: usize) -> Vec<u8> {
    noise(&format!("{n} {}", if n % 100 == 37 { version } else { 1 }), FILE_BYTES)
}

fn long(version: usize) -> Vec<u8> {
    let mut bytes = noise("long", LONG_BYTES);
    if version == 2 {
        let at = LONG_BYTES / 2;
        bytes[at..at + PATCH_BYTES].copy_from_slice(&noise("patch", PATCH_BYTES));
    }
    bytes
}

fn write(folder: &Path, version: usize) {
    for n in 0..FILES {
        let dir = folder.join(format!("{}", n / 50));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{n}")), small(n, version)).unwrap();
    }
    fs::write(folder.join("long"), long(version)).unwrap();
}

/// Reads every file, in no order, and compares.
fn read(folder: &Path, version: usize) {
    for turn in 0..FILES {
        let n = turn * 73 % FILES;
        assert!(fs::read(folder.join(format!("{}/{n}", n / 50))).unwrap() == small(n, version), "file {n}");
    }
    assert!(fs::read(folder.join("long")).unwrap() == long(version), "the long file");
}

#[test]
fn the_next_version_costs_what_is_new_in_it() {
    if !has_fuse() {
        return;
    }
    let Some(server) = servers::ministack() else { return };
    let upstream = server.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, Settings::default()).unwrap();
    // Bytes that came since the last time.
    let fetched = || {
        let stats = proxy.stats();
        let down = stats.of(Kind::GetRange).down + stats.of(Kind::Get).down;
        stats.reset();
        down
    };
    let mut site = Site::on(server);
    site.go_through(&proxy.endpoint());
    site.ok(&["init", &site.url]);
    let folder = site.folder("tree");
    write(&folder, 1);
    let first = site.add("", &[&folder], "first");
    let all = (FILES * FILE_BYTES + LONG_BYTES) as u64;

    fetched();
    let one = site.mount(&first, "one").join("tree");
    read(&one, 1);
    let cold = fetched();
    assert!(
        (all..all + all / 50 + METADATA_BYTES).contains(&cold),
        "{cold} bytes of {all}: the count is wrong"
    );

    // What changes is what is stored.
    write(&folder, 2);
    let second = site.add("", &[&folder], "second");
    let stored = proxy.stats().of(Kind::Put).up + proxy.stats().of(Kind::PutPart).up;
    assert!(stored <= STORED_BYTES + METADATA_BYTES, "{stored} bytes were stored for one percent of {all}");
    fetched();
    let two = site.mount(&second, "two").join("tree");
    read(&two, 2);
    let new = fetched();
    let changed = (FILES / 100 * FILE_BYTES + PATCH_BYTES) as u64;
    assert!((changed..=stored + METADATA_BYTES).contains(&new), "{new} bytes, {stored} are new");

    // Both are here now, for every mount of this machine.
    site.unmount(&site.path("two").canonicalize().unwrap());
    let again = site.mount("main", "again").join("tree");
    read(&again, 2);
    read(&one, 1);
    let more = fetched();
    assert!(more <= METADATA_BYTES, "{more} bytes for another mount of what is here");

    // And for another repository that holds the same.
    site.url =
        format!("s3://{}/other", tokio::runtime::Runtime::new().unwrap().block_on(server.new_bucket()));
    site.ok(&["init", &site.url]);
    let other = site.add("", &[&folder], "the same, elsewhere");
    fetched();
    let other = site.mount(&other, "other").join("tree");
    read(&other, 2);
    let more = fetched();
    assert!(more <= METADATA_BYTES, "{more} bytes for the same contents of another repository");
    for name in ["one", "again", "other"] {
        site.unmount(&site.path(name).canonicalize().unwrap());
    }
}
