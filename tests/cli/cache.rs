//! `atfs cache`: with a daemon and without.

use std::os::unix::fs::PermissionsExt;

use crate::machine::{Machine, can_mount};

fn json(machine: &Machine, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&machine.ok(args)).unwrap()
}

/// A repository with a file of 3 MiB, mounted and read once.
fn mounted() -> Machine {
    let machine = Machine::new();
    let bytes: Vec<u8> = (0..3u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    machine.write("big", &bytes);
    machine.ok(&["init", "DIR/r"]);
    machine.ok(&["add", "DIR/r@main:", "DIR/big", "-m", "one"]);
    std::fs::create_dir(machine.path("m")).unwrap();
    machine.ok(&["mount", "DIR/r@main", "DIR/m"]);
    assert!(std::fs::read(machine.path("m/big")).unwrap() == bytes);
    machine
}

#[test]
fn an_empty_cache_is_looked_at_without_a_daemon() {
    let machine = Machine::new();
    let out = machine.ok(&["cache", "info"]);
    assert!(out.starts_with("place      DIR/cache\non disk    0 B of "), "{out}");
    assert!(out.ends_with("daemon     none runs\n"), "{out}");
    let info = json(&machine, &["cache", "info", "--json"]);
    assert_eq!((&info["served"], &info["bytes"]), (&false.into(), &0.into()));
    assert!(info["floor_bytes"].as_u64().unwrap() <= 1 << 30 && info.get("counters").is_none(), "{info}");
    assert_eq!(std::fs::metadata(machine.path("cache")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(machine.ok(&["cache", "prune", "--all"]), "0 B evicted, 0 B left\n");
    assert_eq!(machine.ok(&["cache", "verify"]), "0 B read: 0 files, 0 wrong; 0 slabs, 0 unreadable\n");
    // How far is not guessed, and a floor of one's own is taken.
    machine.fails(2, &["cache", "prune"]);
    machine.fails(2, &["cache", "prune", "--all", "--to", "1G"]);
    machine.fails(2, &["cache"]);
    let mut command = machine.command(&["cache", "info", "--json"]);
    command.env("ATFS_CACHE_FLOOR", "12MiB");
    let info: serde_json::Value = serde_json::from_str(&machine.finish(command).out).unwrap();
    assert_eq!(info["floor_bytes"], 12 << 20);
}

#[test]
fn a_daemon_is_asked_and_what_it_left_is_checked_without_it() {
    if !can_mount() {
        return;
    }
    let machine = mounted();
    let info = json(&machine, &["cache", "info", "--json"]);
    assert_eq!((&info["served"], &info["whole"]["entries"]), (&true.into(), &1.into()), "{info}");
    assert!(info["counters"]["bytes_fetched"].as_u64().unwrap() >= 3 << 20);
    assert!(machine.ok(&["cache", "info"]).contains("reads "));
    let seen = json(&machine, &["cache", "verify", "--json"]);
    assert_eq!((&seen["right"], &seen["wrong"]), (&1.into(), &0.into()));
    machine.ok(&["umount", "DIR/m"]);

    // A bit turns while nobody serves it.
    if let Some(running) = atfs::daemon::client::running(&machine.path("cache")).unwrap() {
        atfs::daemon::client::stop(&machine.path("cache")).unwrap();
        let gone = || !std::path::Path::new(&format!("/proc/{}", running.pid)).exists();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !gone() {
            assert!(std::time::Instant::now() < deadline, "the daemon does not end");
            std::thread::yield_now();
        }
    }
    let shard = std::fs::read_dir(machine.path("cache/v1/files")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::read_dir(shard).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[2_000_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let ran = machine.run(&["cache", "verify"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("1 file, 1 wrong"), "{ran:?}");
    assert!(ran.err.contains("the disk of DIR/cache is failing") && ran.err.contains("hint: "), "{ran:?}");
    assert!(ran.err.contains("the cache disk fails: cannot trust"), "{ran:?}");
    let info = json(&machine, &["cache", "info", "--json"]);
    assert_eq!((&info["served"], &info["bytes"]), (&false.into(), &0.into()));
}

#[test]
fn what_is_open_stays() {
    if !can_mount() {
        return;
    }
    let machine = mounted();
    let open = std::fs::File::open(machine.path("m/big")).unwrap();
    let pruned = json(&machine, &["cache", "prune", "--all", "--json"]);
    assert!(pruned["bytes_on_disk"].as_u64().unwrap() >= 3 << 20, "{pruned}");
    assert_eq!(pruned["bytes_on_disk"], pruned["bytes_open"]);
    let ran = machine.run(&["cache", "prune", "--to", "1MiB"]);
    assert!(ran.out.starts_with("0 B evicted, ") && ran.err.contains("are open and stay"), "{ran:?}");
    drop(open);
}
