//! One object of each kind, cut short, swapped with another, with one bit flipped, or gone: what needs it fails and says
//! which object and what to do, and everything else reads.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::{Machine, can_mount};

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Truncated,
    Swapped,
    Flipped,
    Missing,
}

const ALL: [Damage; 4] = [Damage::Truncated, Damage::Swapped, Damage::Flipped, Damage::Missing];

fn noise(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; 50_000];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A repository with `old` on `safe` and `main`, `new` and `inline` on `main` only, and where the objects of each commit lie.
struct Site {
    machine: Machine,
    first: Vec<PathBuf>,
    second: Vec<PathBuf>,
}

impl Site {
    fn new() -> Self {
        let machine = Machine::new();
        machine.ok(&["init", "DIR/r"]);
        let begin = objects(&machine);
        machine.write("old", &noise(1));
        machine.ok(&["add", "DIR/r", "DIR/old"]);
        let first: Vec<_> = objects(&machine).into_iter().filter(|path| !begin.contains(path)).collect();
        machine.ok(&["branch", "DIR/r", "create", "safe"]);
        let before = objects(&machine);
        machine.write("new", &noise(2));
        machine.write("inline", b"small");
        machine.ok(&["add", "DIR/r", "DIR/new", "DIR/inline", "-m", "second"]);
        let second = objects(&machine).into_iter().filter(|path| !before.contains(path)).collect();
        fs::create_dir(machine.path("mnt")).unwrap();
        Self { machine, first, second }
    }

    /// The object in `folder` that came with the first or the second commit.
    fn of<'a>(&self, commit: &'a [PathBuf], folder: &str) -> &'a PathBuf {
        let mut found = commit.iter().filter(|path| path.starts_with(self.machine.path("r").join(folder)));
        let one = found.next().unwrap();
        assert!(found.next().is_none(), "one object in {folder} per commit");
        one
    }

    /// Damages an object of the second commit; its key.
    fn damage(&self, folder: &str, damage: Damage) -> String {
        let path = self.of(&self.second, folder);
        let other = fs::read(self.of(&self.first, folder)).unwrap();
        strike(path, damage, &other);
        path.strip_prefix(self.machine.path("r")).unwrap().to_str().unwrap().to_owned()
    }

    /// From here on it is as on a machine that has seen nothing yet.
    fn forget(&self) {
        fs::remove_dir_all(self.machine.path("state")).unwrap();
    }

    /// The error of a command that needs `key`.
    fn names(&self, key: &str, command: &[&str]) {
        let err = self.machine.fails(1, command);
        assert!(err.contains(key), "{command:?} does not name {key}: {err}");
        assert!(err.contains(" is damaged: ") || err.contains(" is missing from "), "{command:?}: {err}");
        assert!(err.contains("\nhint: ") && err.contains("restore"), "{command:?}: {err}");
    }

    /// The version without the damage, through the commands and through a mount.
    fn safe_reads(&self) {
        assert_eq!(self.machine.ok(&["ls", "DIR/r@safe"]), "old\n");
        if can_mount() {
            self.machine.ok(&["mount", "DIR/r@safe", "DIR/mnt"]);
            assert!(fs::read(self.machine.path("mnt/old")).unwrap() == noise(1));
            self.machine.ok(&["umount", "DIR/mnt"]);
        }
    }
}

/// Every file of the repository, but the indexes, which readers do not need.
fn objects(machine: &Machine) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(machine.path("r")).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
    files.filter(|path| !path.starts_with(machine.path("r/probe"))).collect()
}

fn strike(path: &Path, damage: Damage, other: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    // Objects are read-only files.
    fs::remove_file(path).unwrap();
    let third = bytes.len() / 3;
    match damage {
        Damage::Missing => return,
        Damage::Truncated => bytes.truncate(third),
        Damage::Flipped => bytes[third] ^= 1,
        Damage::Swapped => bytes = other.to_vec(),
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_data_pack() {
    for damage in ALL {
        let site = Site::new();
        let key = site.damage("data", damage);
        let machine = &site.machine;
        site.names(&key, &["cat", "DIR/r@main:new"]);
        site.names(&key, &["export", "DIR/r@main:new", "DIR/copy"]);
        assert!(!machine.path("copy").exists(), "{damage:?}: no file with other bytes is left");
        assert_eq!(machine.ok(&["cat", "DIR/r@main:inline"]), "small");
        machine.ok(&["export", "DIR/r@main:old", "DIR/old-copy"]);
        assert!(fs::read(machine.path("old-copy")).unwrap() == noise(1));
        if !can_mount() {
            continue;
        }
        machine.ok(&["mount", "DIR/r@main", "DIR/mnt"]);
        for _ in 0..2 {
            let error = fs::read(machine.path("mnt/new")).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{damage:?}: {error}");
        }
        assert!(fs::read(machine.path("mnt/old")).unwrap() == noise(1), "{damage:?}");
        assert_eq!(fs::read(machine.path("mnt/inline")).unwrap(), b"small");
        let log = machine.daemon_log();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(errors.len(), 1, "{damage:?}: said once: {log}");
        for said in [":new", &key, "remedy", "restore"] {
            assert!(errors[0].contains(said), "{damage:?}: {said:?} is not in {}", errors[0]);
        }
    }
}

#[test]
fn a_metadata_pack() {
    for damage in ALL {
        let site = Site::new();
        let key = site.damage("meta", damage);
        site.forget();
        site.names(&key, &["ls", "DIR/r@main"]);
        site.names(&key, &["cat", "DIR/r@main:old"]);
        site.names(&key, &["add", "DIR/r", "DIR/old"]);
        site.names(&key, &["diff", "DIR/r@safe", "main"]);
        if can_mount() {
            site.names(&key, &["mount", "DIR/r@main", "DIR/mnt"]);
        }
        site.safe_reads();
        // What was written on top of the version before reads, and so does its history.
        assert_eq!(site.machine.ok(&["log", "DIR/r", "--oneline"]).lines().count(), 3, "{damage:?}");
    }
}

#[test]
fn a_commit() {
    for damage in ALL {
        let site = Site::new();
        let machine = &site.machine;
        machine.write("third", b"third");
        machine.ok(&["add", "DIR/r", "DIR/third"]);
        // The record of the newest commit holds its body: only what lies behind needs the object.
        let key = site.damage("commits", damage);
        site.forget();
        let ran = machine.run(&["log", "DIR/r", "--oneline"]);
        assert_eq!((ran.code, ran.out.lines().count()), (1, 1), "{damage:?}: {ran:?}");
        assert!(ran.err.contains(&key) && ran.err.contains("restore"), "{damage:?}: {ran:?}");
        site.names(&key, &["ls", "DIR/r@main~1"]);
        assert_eq!(machine.ok(&["ls", "DIR/r@main"]), "inline\nnew\nold\nthird\n");
        site.safe_reads();
    }
}

#[test]
fn the_newest_record() {
    for damage in ALL {
        let site = Site::new();
        let machine = &site.machine;
        let key = site.damage("refs", damage);
        if damage == Damage::Missing {
            // This machine has seen it, and does not take the state before it for the newest.
            let err = machine.fails(1, &["ls", "DIR/r"]);
            assert!(
                err.starts_with("error: branch main of DIR/r went back: this machine has seen record 4"),
                "{err}"
            );
            assert!(err.contains("\nhint: somebody removed records"), "{err}");
            assert_eq!(
                machine.fails(1, &["add", "DIR/r", "DIR/old"]),
                err,
                "nothing is written over the loss"
            );
        } else {
            site.forget();
            site.names(&key, &["ls", "DIR/r"]);
            site.names(&key, &["log", "DIR/r@main"]);
            site.names(&key, &["add", "DIR/r", "DIR/old"]);
            if can_mount() {
                site.names(&key, &["mount", "DIR/r@main", "DIR/mnt"]);
            }
        }
        // Every other branch is listed, and reads.
        let ran = machine.run(&["branch", "DIR/r"]);
        assert_eq!((ran.code, ran.out.lines().count()), (1, 2), "{damage:?}: {ran:?}");
        assert!(
            ran.out.lines().any(|line| line.starts_with("main") && line.contains("unreadable")),
            "{ran:?}"
        );
        site.safe_reads();
    }
}

#[test]
fn the_description_of_the_repository() {
    for damage in ALL {
        let site = Site::new();
        let machine = &site.machine;
        machine.ok(&["init", "DIR/other"]);
        let other = fs::read(machine.path("other/format.json")).unwrap();
        let path = machine.path("r/format.json");
        let whole = fs::read(&path).unwrap();
        strike(&path, damage, &other);
        if damage == Damage::Flipped {
            // Not where a third of it happens to be: in the name of the hash.
            let mut bytes = whole.clone();
            let at = bytes.windows(6).position(|window| window == b"blake3").unwrap();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        let mut commands =
            vec![vec!["ls", "DIR/r"], vec!["branch", "DIR/r", "create", "x"], vec!["init", "DIR/r"]];
        if can_mount() {
            commands.push(vec!["mount", "DIR/r@main", "DIR/mnt"]);
        }
        for command in commands {
            let err = machine.fails(1, &command);
            let said = match damage {
                Damage::Missing => "error: format.json is missing from DIR/r\n",
                Damage::Swapped => "it belongs to repository ",
                Damage::Truncated | Damage::Flipped => "error: format.json in DIR/r is damaged: ",
            };
            assert!(err.contains(said) && err.contains("\nhint: "), "{damage:?} {command:?}: {err}");
            assert!(
                !err.contains("still reads") || damage == Damage::Swapped,
                "without it nothing reads: {err}"
            );
        }
        // With the object back, everything is as it was.
        let _ = fs::remove_file(&path);
        fs::write(&path, whole).unwrap();
        site.safe_reads();
        assert_eq!(machine.ok(&["ls", "DIR/r"]), "inline\nnew\nold\n");
    }
}
