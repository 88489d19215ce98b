//! The longest names and paths, the shortest ids, and clocks: through the program, from end to end.

use std::sync::Arc;

use atfs::repo::{InitOptions, Repository, Services};
use atfs::store::LocalStore;
use atfs::types::{Clock, ManualClock, OsRandom, SystemClock, Timestamp};

use crate::machine::Machine;

/// A path of exactly `len` bytes, of names of at most 255.
fn path_of(len: usize) -> String {
    let mut path = "d".repeat(len);
    for slash in (255..len - 1).step_by(256) {
        path.replace_range(slash..=slash, "/");
    }
    path
}

#[test]
fn names_and_paths_at_their_limits() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    machine.write("file", b"deep\n");
    let name = "n".repeat(255);
    let path = path_of(4095);
    assert!(path.len() == 4095 && path.split('/').all(|name| (1..=255).contains(&name.len())));
    for longest in [&name, &path] {
        let address = format!("DIR/r@main:{longest}");
        machine.ok(&["add", &address, "DIR/file"]);
        assert_eq!(machine.ok(&["cat", &address]), "deep\n");
        let stat: serde_json::Value =
            serde_json::from_str(&machine.ok(&["stat", "--json", &address])).unwrap();
        assert_eq!((&stat["path"], &stat["size"]), (&longest.as_str().into(), &5.into()));
    }
    let listed = machine.ok(&["ls", "-R", "DIR/r"]);
    assert_eq!(listed.lines().map(str::len).max(), Some(4095));
    assert!(listed.lines().any(|line| line == name) && listed.lines().any(|line| line == path));

    let err = machine.fails(2, &["ls", &format!("DIR/r@main:{}", path_of(4096))]);
    assert!(err.contains("at most 4095 are possible"), "{err}");
    let err = machine.fails(2, &["ls", &format!("DIR/r@main:{}", "n".repeat(256))]);
    assert!(err.contains("at most 255 are possible"), "{err}");
    // A local tree that would become too deep below where it goes.
    machine.write("tree/some/file", b"x");
    let to = path_of(4090);
    let before = machine.ok(&["log", "DIR/r", "--oneline"]);
    let err = machine.fails(1, &["add", &format!("DIR/r@main:{to}"), "DIR/tree/."]);
    assert!(err.contains("4095"), "{err}");
    assert_eq!(machine.ok(&["log", "DIR/r", "--oneline"]), before, "nothing was committed");
}

#[test]
fn the_beginning_of_several_ids() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    let log = machine.ok(&["log", "DIR/r", "--json"]);
    let log: serde_json::Value = serde_json::from_str(&log).unwrap();
    let id = log[0]["id"].as_str().unwrap();
    assert_eq!(machine.ok(&["log", &format!("DIR/r@{}", &id[..8]), "--oneline"]).lines().count(), 1);
    // A second commit whose id begins alike: only names are looked at to find that out.
    let last = if id.ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}", &id[..63]);
    let commits = machine.path("r/commits").join(&id[..2]);
    std::fs::copy(commits.join(format!("{id}.json")), commits.join(format!("{other}.json"))).unwrap();
    let err = machine.fails(1, &["ls", &format!("DIR/r@{}", &id[..8])]);
    let begins = format!("error: {} is the beginning of 2 commits of DIR/r: ", &id[..8]);
    assert!(err.starts_with(&begins) && err.contains(id) && err.contains(&other), "{err}");
    assert!(err.ends_with("\nhint: give more digits of the id\n"), "{err}");
    assert_eq!(machine.ok(&["ls", &format!("DIR/r@{id}")]), "");
    // Under the name of another commit its bytes are damage, and never that commit.
    let err = machine.fails(1, &["ls", &format!("DIR/r@{other}")]);
    assert!(err.contains("is damaged"), "{err}");
}

/// The newest record was written by a machine that is ahead of us, or our clock was set back.
#[test]
fn a_clock_that_was_set_back() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("r")).unwrap();
    let ahead = Timestamp::from_micros(SystemClock.now().as_micros() + 3_600_000_000);
    let services = Services {
        clock: Arc::new(ManualClock::new(ahead)),
        random: Arc::new(OsRandom),
        index: None,
        who: "Ahead <ahead@example.org>".into(),
    };
    let store = Arc::new(LocalStore::open(&machine.path("r")).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(Repository::init(store, services, InitOptions::default())).unwrap();

    machine.write("a.txt", b"a");
    machine.ok(&["add", "DIR/r", "DIR/a.txt", "-m", "later, by the log"]);
    let log = machine.ok(&["log", "DIR/r", "--oneline"]);
    let subjects: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(subjects, ["later, by the log", "Begin"], "the order is the log's, not the clock's");
    assert_eq!(machine.ok(&["ls", "DIR/r@main@{1}"]), "");
    let ran = machine.run(&["doctor", "DIR/r"]);
    let history = ran.out.lines().find(|line| line.contains("history")).unwrap_or_else(|| panic!("{ran:?}"));
    assert!(history.contains("warn") && history.contains("s in our future"), "{history}");
    assert!(ran.out.contains("was this machine's clock set back?"), "{ran:?}");
}

/// An object with a number that nobody can have written yet: passed over, named, and in nobody's way.
#[test]
fn a_wild_record_number() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    machine.write("a.txt", b"a");
    // Keys count down from 999,999,999,999: these say record 123,456,789, and the last number that there is.
    for key in ["999876543210", "000000000000"] {
        machine.write(&format!("r/refs/heads/main/{key}.json"), b"{\"version\":1}\n");
    }
    let ran = machine.run(&["ls", "DIR/r"]);
    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    for key in ["999876543210", "000000000000"] {
        let said = ran.err.lines().filter(|line| line.contains(key)).count();
        assert_eq!(said, 1, "{key}: {ran:?}");
    }
    assert!(ran.err.contains("WARN") && ran.err.contains("docs/format.md"), "{ran:?}");
    machine.ok(&["add", "DIR/r", "DIR/a.txt"]);
    assert_eq!(machine.ok(&["ls", "DIR/r"]), "a.txt\n");
    assert_eq!(machine.ok(&["branch", "DIR/r"]).lines().count(), 1);
}

#[test]
fn a_repository_of_a_newer_format() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    let format = std::fs::read_to_string(machine.path("r/format.json")).unwrap();
    let newer = format.replace("\"version\":1", "\"version\":2,\"whatever\":[1.5]");
    assert_ne!(newer, format);
    std::fs::remove_file(machine.path("r/format.json")).unwrap();
    machine.write("r/format.json", newer.as_bytes());
    machine.write("a.txt", b"a");
    std::fs::create_dir(machine.path("mnt")).unwrap();
    for command in [
        &["ls", "DIR/r"][..],
        &["init", "DIR/r"],
        &["add", "DIR/r", "DIR/a.txt"],
        &["branch", "DIR/r", "create", "dev"],
        &["mount", "DIR/r", "DIR/mnt"],
    ] {
        let err = machine.fails(1, command);
        assert!(err.starts_with("error: DIR/r needs a newer atfs: "), "{command:?}: {err}");
        assert!(err.contains("version 2"), "{command:?}: {err}");
        assert!(
            err.ends_with("\nhint: install a newer atfs; this one changed nothing\n"),
            "{command:?}: {err}"
        );
    }
    assert_eq!(std::fs::read_to_string(machine.path("r/format.json")).unwrap(), newer);
    assert!(!machine.path("r/refs/heads/dev").exists());
}
