//! What is added: a part of the Rust toolchain, as it lies there, and a tree of everything odd that a directory may hold.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::site::{is_full, succeeded};

/// Real files: at the full size the toolchain's libraries and a directory of more than 10,000 files, else one of more than
/// 1,500. A toolchain without its documentation has no such directory: then all of it.
pub(crate) fn real_folders() -> Vec<PathBuf> {
    let output = succeeded(Command::new("rustc").args(["--print", "sysroot"]));
    let sysroot = PathBuf::from(OsStr::from_bytes(output.stdout.trim_ascii_end()));
    let mut files: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(&sysroot).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            let above = entry.path().ancestors().skip(1).take(entry.depth());
            above.for_each(|directory| *files.entry(directory.to_owned()).or_default() += 1);
        }
    }
    let wanted = if is_full() { 10_000 } else { 1_500 };
    let smallest = files.iter().filter(|(_, count)| **count >= wanted).min_by_key(|(_, count)| **count);
    match smallest {
        Some((directory, _)) if is_full() && !directory.starts_with(sysroot.join("lib")) => {
            vec![sysroot.join("lib"), directory.clone()]
        }
        Some((directory, _)) => vec![directory.clone()],
        None => {
            assert!(!is_full(), "{} has too few files: `rustup component add rust-docs`", sysroot.display());
            vec![sysroot]
        }
    }
}

/// Size of the one big file.
pub(crate) fn big() -> u64 {
    if is_full() { 2 << 30 } else { 64 << 20 }
}

/// Pseudo-random bytes, which nothing compresses and in which no two chunks are equal.
pub(crate) fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key(seed).finalize_xof().fill(&mut bytes);
    bytes
}

/// Makes `root`: sizes at every limit, names, links, modes, times, attributes, holes, a wide and a deep directory.
pub(crate) fn generate(root: &Path) {
    fs::create_dir(root).unwrap();
    write_big(&root.join("big.bin"));

    let sizes = root.join("sizes");
    fs::create_dir(&sizes).unwrap();
    const MIB: usize = 1 << 20;
    for size in [0, 1, 2, 511, 512, 513, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 4 * MIB, 5 * MIB + 3] {
        fs::write(sizes.join(format!("noise-{size}")), noise(&size.to_string(), size)).unwrap();
        let text: Vec<u8> = b"name,value\n".iter().copied().cycle().take(size).collect();
        fs::write(sizes.join(format!("text-{size}")), text).unwrap();
    }
    let mut sparse = File::create(sizes.join("sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    sparse.write_all(b"begins, then holes").unwrap();

    let names = root.join("names");
    fs::create_dir(&names).unwrap();
    let long = "n".repeat(255);
    let odd: [&[u8]; 14] = [
        b"-rf",
        b"--help",
        b" ",
        b"  two  spaces ",
        b"new\nline",
        b"tab\tand \x1b[31mcolour",
        b"not utf-8 \xff\xfe",
        "gr\u{fc}n \u{1f41f} \u{65e5}\u{672c}".as_bytes(),
        b"back\\slash 'quotes\" $(x) `y` *?[",
        b"main@v1:path~2^",
        b"...",
        b".hidden",
        b".atfs",
        long.as_bytes(),
    ];
    for name in odd {
        fs::write(names.join(OsStr::from_bytes(name)), name).unwrap();
        let directory = names.join("directories").join(OsStr::from_bytes(name));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(OsStr::from_bytes(name)), b"in it").unwrap();
    }

    let links = root.join("links");
    fs::create_dir_all(links.join("empty/emptier")).unwrap();
    for (name, target) in [
        ("dangling", "no/such/file"),
        ("relative", "../sizes/noise-513"),
        ("absolute", "/etc/hostname"),
        ("directory", "../names"),
        ("itself", "itself"),
        ("up", ".."),
    ] {
        symlink(target, links.join(name)).unwrap();
    }
    symlink(OsStr::from_bytes(b"to \xff\n"), links.join("odd")).unwrap();
    symlink("t".repeat(4095), links.join("long")).unwrap();
    fs::hard_link(sizes.join("noise-4097"), links.join("hard")).unwrap();
    fs::hard_link(sizes.join("noise-4097"), links.join("harder")).unwrap();

    let deep = root.join("deep").join(vec!["d"; 200].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"deep").unwrap();
    let wide = root.join("wide");
    fs::create_dir(&wide).unwrap();
    for i in 0..1_500 {
        fs::write(wide.join(format!("{i:05}.txt")), format!("file {i}\n")).unwrap();
    }
    metadata(root);
}

fn metadata(root: &Path) {
    let kept = root.join("metadata");
    fs::create_dir(&kept).unwrap();
    for mode in [0o400, 0o444, 0o600, 0o644, 0o751, 0o777, 0o1644, 0o4755, 0o2755, 0o6711] {
        let file = kept.join(format!("mode-{mode:o}"));
        fs::write(&file, format!("{mode:o}")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    }
    for (seconds, nanos) in
        [(0, 0), (-1, 999_999_999), (-2_000_000_000, 1), (1, 1), (4_000_000_000, 123_456_789)]
    {
        let file = kept.join(format!("time-{seconds}-{nanos}"));
        fs::write(&file, b"then").unwrap();
        touch(&file, seconds, nanos);
    }
    let attributes = kept.join("attributes");
    fs::create_dir(&attributes).unwrap();
    for (name, value) in [
        ("user.plain", &b"value"[..]),
        ("user.empty", b""),
        ("user.bytes", b"\x00\xff\n"),
        ("user.long", &noise("attribute", 2500)),
    ] {
        fs::write(attributes.join(name), name).unwrap();
        xattr::set(attributes.join(name), name, value).unwrap();
        // All of them together on one directory; the long one does not fit.
        if value.len() < 100 {
            xattr::set(&attributes, name, value).unwrap();
        }
    }
    for (name, mode) in [("read-only", 0o555), ("sticky", 0o1777), ("group", 0o2750), ("closed", 0o500)] {
        let directory = kept.join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("inside"), name).unwrap();
        touch(&directory, 1_000_000_000, 42);
        fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
    }
    touch(&root.join("links/dangling"), 1_234_567_890, 987_654_321);
    touch(root, 1_700_000_000, 5);
}

/// Makes `root`, which holds what changes in `tree`, at the same names.
pub(crate) fn change(tree: &Path, root: &Path) {
    for name in ["sizes", "links", "metadata", "new/deep", "wide"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(tree.join("big.bin"), root.join("big.bin")).unwrap();
    File::options()
        .append(true)
        .open(root.join("big.bin"))
        .unwrap()
        .write_all(&noise("more", 1 << 20))
        .unwrap();
    for (name, len) in [("noise-513", 600), ("noise-1", 2 << 20), ("text-4096", 0), ("sparse", 7)] {
        fs::write(root.join("sizes").join(name), noise("changed", len)).unwrap();
    }
    symlink("elsewhere", root.join("links/relative")).unwrap();
    // Of the same bytes, with other metadata.
    let mode = root.join("metadata/mode-644");
    fs::write(&mode, b"644").unwrap();
    fs::set_permissions(&mode, Permissions::from_mode(0o600)).unwrap();
    xattr::set(&mode, "user.new", b"1").unwrap();
    touch(&mode, 42, 42);
    fs::write(root.join("new/deep/file"), noise("new", 100_000)).unwrap();
    fs::write(root.join("wide/00700a.txt"), b"between two others").unwrap();
}

/// What the second commit removes from the tree.
pub(crate) const REMOVED: [&str; 4] =
    ["names/directories", "sizes/noise-0", "links/dangling", "wide/00042.txt"];

fn write_big(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut output = blake3::Hasher::new_derive_key("the big file").finalize_xof();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..big() / (1 << 20) {
        output.fill(&mut buffer);
        file.write_all(&buffer).unwrap();
    }
}

/// Sets the time of the last change.
pub(crate) fn touch(path: &Path, seconds: i64, nanos: i64) {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;
    let time = TimeSpec::new(seconds, nanos);
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}
