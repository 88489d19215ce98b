//! What a mount of one commit shows is exactly what was committed.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use mount_common::Fixture;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn diff(source: &Path, mnt: &Path) {
    let output = Command::new("diff").args(["-r", "--no-dereference"]).arg(source).arg(mnt).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn odd_tree(root: &Path) {
    for dir in ["a/b/c", "empty", "a.d", "many"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (i, len) in
        [0, 1, 511, 512, 513, 4095, 4096, 4097, 100_000, (1 << 20) - 1, 1 << 20].iter().enumerate()
    {
        fs::write(root.join(format!("a/f{i}")), noise(i as u64, *len)).unwrap();
    }
    fs::write(root.join("a/b/big"), noise(99, (3 << 20) + 12345)).unwrap();
    fs::write(root.join("a/b/c/zeros"), vec![0; 2 << 20]).unwrap();
    fs::write(root.join("x".repeat(255)), "the longest name").unwrap();
    for name in [
        &b"sp ace"[..],
        b"new\nline",
        b"\xff\xfe not text",
        "\u{fc}\u{df}".as_bytes(),
        b"back\\slash",
        b"-dash",
        b"a;b*c?",
    ] {
        fs::write(root.join(OsString::from_vec(name.to_vec())), name).unwrap();
    }
    symlink("a/f0", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("a/dangling")).unwrap();
    symlink("..", root.join("a/b/up")).unwrap();
    for i in 0..500 {
        fs::write(root.join(format!("many/{i:04}.txt")), format!("number {i}")).unwrap();
    }
    fs::set_permissions(root.join("a/f1"), PermissionsExt::from_mode(0o400)).unwrap();
    fs::set_permissions(root.join("a/f2"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(root.join("empty"), PermissionsExt::from_mode(0o1777)).unwrap();
}

#[test]
fn the_tree_is_the_source() {
    let fixture = Fixture::new();
    odd_tree(&fixture.source());
    let commit = fixture.commit("work");
    let mnt = fixture.mount(Some("work"));
    diff(&fixture.source(), &mnt);
    for found in walkdir::WalkDir::new(fixture.source()).min_depth(1) {
        let found = found.unwrap();
        let shown =
            mnt.join(found.path().strip_prefix(fixture.source()).unwrap()).symlink_metadata().unwrap();
        let real = found.path().symlink_metadata().unwrap();
        let path = found.path().display();
        assert_eq!(shown.mode(), real.mode(), "{path}");
        assert_eq!((shown.uid(), shown.gid()), (real.uid(), real.gid()), "{path}");
        assert_eq!((shown.mtime(), shown.mtime_nsec()), (real.mtime(), real.mtime_nsec()), "{path}");
        if !real.is_dir() {
            assert_eq!(shown.len(), real.len(), "{path}");
        }
    }
    // Every inode number is met once.
    let numbers: Vec<u64> =
        walkdir::WalkDir::new(&mnt).into_iter().map(|e| e.unwrap().metadata().unwrap().ino()).collect();
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
    assert_eq!(fs::read_to_string(mnt.join(".atfs/commit")).unwrap(), format!("{commit}\n"));
    assert_eq!(fs::read_to_string(mnt.join(".atfs/ref")).unwrap(), "work\n");
    assert!(!fs::read_dir(&mnt).unwrap().any(|e| e.unwrap().file_name() == ".atfs"), "never listed");
    // The same by the commit's id.
    fixture.unmount();
    let mnt = fixture.mount(Some(&commit.short()));
    diff(&fixture.source(), &mnt);
}

#[test]
fn the_whole_repository_shows_every_branch() {
    let fixture = Fixture::new();
    fs::write(fixture.source().join("one"), "1").unwrap();
    fixture.commit("first");
    fs::write(fixture.source().join("two"), "2").unwrap();
    fixture.commit("feature/second");
    let mnt = fixture.mount(None);
    assert_eq!(fs::read_to_string(mnt.join("data@first/one")).unwrap(), "1");
    assert!(!mnt.join("data@first/two").exists());
    diff(&fixture.source(), &mnt.join("data@feature_2Fsecond"));
    // A branch that is born while it is mounted is found.
    fs::write(fixture.source().join("three"), "3").unwrap();
    assert!(!mnt.join("data@late").exists());
    fixture.commit("late");
    diff(&fixture.source(), &mnt.join("data@late"));
    let names: BTreeSet<_> =
        fs::read_dir(&mnt).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let expected = ["data@feature_2Fsecond", "data@first", "data@late", "data@main"];
    assert_eq!(names, expected.map(str::to_owned).into());
}

#[test]
fn nothing_can_be_changed() {
    let fixture = Fixture::new();
    odd_tree(&fixture.source());
    fixture.commit("work");
    let mnt = fixture.mount(Some("work"));
    let errors = [
        fs::write(mnt.join("new"), "x"),
        fs::write(mnt.join("a/f3"), "x"),
        fs::remove_file(mnt.join("a/f3")),
        fs::create_dir(mnt.join("d")),
        fs::rename(mnt.join("a/f3"), mnt.join("a/f4x")),
        fs::set_permissions(mnt.join("a/f3"), PermissionsExt::from_mode(0o777)),
        xattr::set(mnt.join("a/f3"), "user.x", b"1"),
    ];
    for error in errors {
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
}

#[test]
fn names_and_paths_at_their_limits() {
    let fixture = Fixture::new();
    let name = "n".repeat(255);
    // 16 names of 255 bytes, joined, are 4,095 bytes: the longest path there is.
    let (dir, longest) = (vec![name.as_str(); 15].join("/"), vec![name.as_str(); 16].join("/"));
    assert_eq!(longest.len(), 4095);
    fs::create_dir(fixture.path("empty")).unwrap();
    fixture.add(&longest, &fixture.path("empty"));
    fs::write(fixture.path("leaf"), "deep").unwrap();
    fixture.add(&format!("{dir}/leaf"), &fixture.path("leaf"));
    let mnt = fixture.mount(Some("main"));
    // No system call takes so long a path at once.
    let open = |at: &OwnedFd, name: &str| openat(at, name, OFlag::O_RDONLY, Mode::empty());
    let mut at = nix::fcntl::open(&mnt, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..15 {
        at = open(&at, &name).unwrap();
    }
    let mut text = String::new();
    fs::File::from(open(&at, "leaf").unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "deep");
    assert_eq!(open(&at, "absent").unwrap_err(), Errno::ENOENT);
    let last = open(&at, &name).unwrap();
    assert_eq!(getdents(&fs::File::from(last.try_clone().unwrap())).len(), 2, "empty");
    // Below it there can be nothing, of whatever name.
    assert_eq!(open(&last, "x").unwrap_err(), Errno::ENAMETOOLONG);
    assert_eq!(open(&at, &"y".repeat(256)).unwrap_err(), Errno::ENAMETOOLONG);
}

#[test]
fn a_mount_keeps_its_commit_when_the_branch_moves() {
    let fixture = Fixture::new();
    let source = fixture.source();
    odd_tree(&source);
    fixture.add("tree", &source);
    let mnt = fixture.mount(Some("main"));
    let commit = fs::read_to_string(mnt.join(".atfs/commit")).unwrap();
    let held = fs::File::open(mnt.join("tree/a/f8")).unwrap();
    // What is there changes, goes, and comes.
    fs::write(fixture.path("other"), noise(77, 100_000)).unwrap();
    fixture.add("tree/a/f8", &fixture.path("other"));
    fixture.add("tree/new", &fixture.path("other"));
    diff(&source, &mnt.join("tree"));
    let mut bytes = vec![0; 100_000];
    std::os::unix::fs::FileExt::read_exact_at(&held, &mut bytes, 0).unwrap();
    assert!(bytes == noise(8, 100_000), "never the new bytes");
    assert!(!mnt.join("tree/new").exists());
    // The same again by the commit's id, and the moved branch shows what is new.
    drop(held);
    fixture.unmount();
    let mnt = fixture.mount(Some(commit.trim()));
    diff(&source, &mnt.join("tree"));
    fixture.unmount();
    let mnt = fixture.mount(Some("main"));
    assert!(fs::read(mnt.join("tree/a/f8")).unwrap() == noise(77, 100_000));
    assert!(mnt.join("tree/new").exists());
}

#[test]
fn attributes_stored_and_computed() {
    let fixture = Fixture::new();
    let source = fixture.source();
    fs::write(source.join("file"), noise(1, 5000)).unwrap();
    xattr::set(source.join("file"), "user.colour", b"blue").unwrap();
    let commit = fixture.commit("work");
    let mnt = fixture.mount(Some("work"));
    let file = mnt.join("file");
    let get =
        |path: &Path, name: &str| xattr::get(path, name).unwrap().map(|v| String::from_utf8(v).unwrap());
    assert_eq!(xattr::list(&file).unwrap().collect::<Vec<_>>(), ["user.colour"]);
    assert_eq!(get(&file, "user.colour"), Some("blue".into()));
    assert_eq!(get(&file, "user.atfs.commit"), Some(commit.to_hex()));
    assert_eq!(get(&mnt, "user.atfs.commit"), Some(commit.to_hex()));
    assert_eq!(get(&file, "user.atfs.hash"), Some(blake3::hash(&noise(1, 5000)).to_hex().to_string()));
    assert_eq!(get(&file, "user.atfs.cached"), Some("no".into()));
    fs::read(&file).unwrap();
    assert_eq!(get(&file, "user.atfs.cached"), Some("yes".into()));
    assert_eq!(get(&file, "user.other"), None);
    assert_eq!(get(&mnt, "user.atfs.hash"), None);
}

#[test]
fn df_shows_the_commit() {
    let fixture = Fixture::new();
    fs::write(fixture.source().join("a"), noise(1, 10_000)).unwrap();
    fs::write(fixture.source().join("b"), noise(2, 90_000)).unwrap();
    fixture.commit("work");
    let mnt = fixture.mount(Some("work"));
    let space = nix::sys::statvfs::statvfs(&mnt).unwrap();
    assert_eq!(space.blocks() * space.fragment_size(), 100_000u64.next_multiple_of(4096));
    assert_eq!((space.blocks_free(), space.blocks_available(), space.files_free()), (0, 0, 0));
    assert_eq!((space.files(), space.name_max()), (2, 255));
}

#[test]
fn a_huge_directory_is_listed_from_anywhere() {
    let fixture = Fixture::new();
    let count = 20_000;
    fs::create_dir(fixture.source().join("huge")).unwrap();
    for i in 0..count {
        fs::write(fixture.source().join(format!("huge/{i:06}")), "").unwrap();
    }
    fixture.commit("work");
    let mnt = fixture.mount(Some("work"));
    let names: Vec<_> = fs::read_dir(mnt.join("huge")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), count);
    assert!(names.is_sorted());
    // telldir and seekdir by way of Python, whose os.scandir hides them: lseek on the directory is what they are.
    let dir = fs::File::open(mnt.join("huge")).unwrap();
    let first = getdents(&dir);
    let (cookie, rest) = (first[100].1, first[101..110].to_vec());
    let mut dir = dir;
    dir.seek(SeekFrom::Start(cookie)).unwrap();
    let again = getdents(&dir);
    assert_eq!(again[..9], rest[..]);
    // From the middle, without ever having listed the beginning on this descriptor.
    let mut other = fs::File::open(mnt.join("huge")).unwrap();
    other.seek(SeekFrom::Start(cookie)).unwrap();
    assert_eq!(getdents(&other)[..9], rest[..]);
}

/// One buffer of names, each with the cookie behind it.
fn getdents(dir: &fs::File) -> Vec<(OsString, u64)> {
    use std::os::fd::AsRawFd;
    let mut buffer = vec![0u8; 32 << 10];
    // SAFETY: the kernel writes at most the given length into the buffer.
    #[allow(unsafe_code)]
    let n =
        unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    let mut rest = &buffer[..usize::try_from(n).unwrap()];
    let mut names = Vec::new();
    while !rest.is_empty() {
        let cookie = u64::from_ne_bytes(rest[8..16].try_into().unwrap());
        let len = usize::from(u16::from_ne_bytes(rest[16..18].try_into().unwrap()));
        let name = rest[19..len].split(|b| *b == 0).next().unwrap();
        names.push((OsString::from_vec(name.to_vec()), cookie));
        rest = &rest[len..];
    }
    names
}

#[test]
fn random_reads_by_many_at_once() {
    let fixture = Fixture::new();
    let files: Vec<(String, Vec<u8>)> = [100, 70_000, 1 << 20, 5 << 20, (9 << 20) + 77]
        .iter()
        .enumerate()
        .map(|(i, len)| (format!("f{i}"), noise(i as u64, *len)))
        .collect();
    for (name, bytes) in &files {
        fs::write(fixture.source().join(name), bytes).unwrap();
    }
    fixture.commit("work");
    let mnt = fixture.mount(Some("work"));
    std::thread::scope(|scope| {
        for reader in 0..32u64 {
            let (mnt, files) = (&mnt, &files);
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(reader);
                let mut number = |below: usize| (random.next_u64() % below as u64) as usize;
                for _ in 0..30 {
                    let (name, bytes) = &files[number(files.len())];
                    let mut file = fs::File::open(mnt.join(name)).unwrap();
                    for _ in 0..5 {
                        let at = number(bytes.len());
                        let len = number(300_000).min(bytes.len() - at);
                        let mut buffer = vec![0; len];
                        file.seek(SeekFrom::Start(at as u64)).unwrap();
                        file.read_exact(&mut buffer).unwrap();
                        assert!(buffer == bytes[at..at + len], "{name} at {at}");
                    }
                }
            });
        }
    });
}
