//! Large complete files are read by the kernel itself; which way a file is read never changes what is read.
//!
//! Passthrough needs Linux 6.9 and CAP_SYS_ADMIN, which the tests of mounting have anyway.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use mount_common::{Fixture, alive, signal, wait_until};
use nix::sys::signal::Signal;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn with_files(files: &[(&str, &[u8])]) -> Fixture {
    let fixture = Fixture::new();
    for (name, bytes) in files {
        fs::write(fixture.source().join(name), bytes).unwrap();
    }
    fixture.commit("work");
    fixture
}

/// Opens until the daemon has seen the release of earlier opens, which the kernel sends when it likes.
fn open_passthrough(fixture: &Fixture, mnt: &Path, name: &str) -> File {
    let mut file = None;
    wait_until("an open by passthrough", || {
        let before = fixture.counter(mnt, "opens_passthrough");
        file = None;
        file = Some(File::open(mnt.join(name)).unwrap());
        fixture.counter(mnt, "opens_passthrough") > before
    });
    file.unwrap()
}

#[test]
fn a_complete_file_never_reaches_the_daemon_again() {
    let bytes = noise(1, (6 << 20) + 5);
    let fixture = with_files(&[("big", &bytes), ("small", &bytes[..(1 << 20) - 1])]);
    let mnt = fixture.mount(Some("work"));
    assert!(fs::read(mnt.join("big")).unwrap() == bytes, "the first read, through the daemon");
    assert_eq!((fixture.counter(&mnt, "opens_cached"), fixture.counter(&mnt, "opens_passthrough")), (1, 0));
    let file = open_passthrough(&fixture, &mnt, "big");
    let reads = fixture.counter(&mnt, "reads");
    let mut buffer = vec![0; bytes.len()];
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert!(buffer == bytes);
    // Each look at the counters is itself a read of `.atfs/stats`.
    assert!(fixture.counter(&mnt, "reads") <= reads + 2, "the kernel read by itself");
    // Below 1 MiB the daemon serves, also when it is complete.
    let before = fixture.counter(&mnt, "opens_passthrough");
    for _ in 0..2 {
        assert!(fs::read(mnt.join("small")).unwrap() == bytes[..(1 << 20) - 1]);
    }
    assert_eq!(fixture.counter(&mnt, "opens_passthrough"), before);
}

#[test]
fn an_inode_is_in_one_mode_while_it_is_open() {
    let bytes = noise(2, 3 << 20);
    let fixture = with_files(&[("f", &bytes)]);
    let mnt = fixture.mount(Some("work"));
    let held = File::open(mnt.join("f")).unwrap();
    assert!(fs::read(mnt.join("f")).unwrap() == bytes);
    // Complete now, and still held in the cached mode: every further open joins it.
    for _ in 0..3 {
        assert!(fs::read(mnt.join("f")).unwrap() == bytes);
    }
    assert_eq!(fixture.counter(&mnt, "opens_passthrough"), 0);
    drop(held);
    let held = open_passthrough(&fixture, &mnt, "f");
    // And now the other way round; also mapped.
    assert!(fs::read(mnt.join("f")).unwrap() == bytes);
    let mut buffer = vec![0; 1000];
    held.read_exact_at(&mut buffer, 12345).unwrap();
    assert!(buffer == bytes[12345..13345]);
}

#[test]
fn modes_switch_under_many_readers() {
    let files: Vec<(String, Vec<u8>)> =
        (0..4).map(|i| (format!("f{i}"), noise(i, (2 << 20) + 1000 * i as usize))).collect();
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    let fixture = with_files(&borrowed);
    let mnt = fixture.mount(Some("work"));
    std::thread::scope(|scope| {
        for reader in 0..16u64 {
            let (mnt, files) = (&mnt, &files);
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(reader);
                for _ in 0..120 {
                    let (name, bytes) = &files[(random.next_u64() % 4) as usize];
                    let file = File::open(mnt.join(name)).unwrap_or_else(|e| panic!("open {name}: {e}"));
                    let at = (random.next_u64() % bytes.len() as u64) as usize;
                    let len = (random.next_u64() % 600_000) as usize;
                    let len = len.min(bytes.len() - at);
                    let mut buffer = vec![0; len];
                    file.read_exact_at(&mut buffer, at as u64)
                        .unwrap_or_else(|e| panic!("{name} at {at}: {e}"));
                    assert!(buffer == bytes[at..at + len], "{name} at {at}");
                }
            });
        }
    });
    assert_eq!(fixture.counter(&mnt, "errors"), 0);
    let (cached, passthrough) =
        (fixture.counter(&mnt, "opens_cached"), fixture.counter(&mnt, "opens_passthrough"));
    assert_eq!(cached + passthrough, 16 * 120);
    assert!(cached > 0 && passthrough > 0, "{cached} cached, {passthrough} passed through");
}

#[test]
fn an_open_passthrough_file_outlives_the_daemon() {
    const BYTES: usize = 8 << 20;
    let bytes = noise(3, BYTES);
    let fixture = with_files(&[("big", &bytes)]);
    let mnt = fixture.mount(Some("work"));
    fs::read(mnt.join("big")).unwrap();
    let file = open_passthrough(&fixture, &mnt, "big");
    let pid = fixture.daemon().unwrap();
    let check = |at: usize| {
        let mut buffer = vec![0; 100_000];
        file.read_exact_at(&mut buffer, at as u64).unwrap();
        assert!(buffer == bytes[at..at + 100_000], "at {at}");
    };
    // Readers are at it while the daemon is killed.
    let (started, begun) = std::sync::mpsc::channel();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = {
            let (check, stop) = (&check, &stop);
            scope.spawn(move || {
                let mut rounds = 0usize;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    check(rounds * 7919 % (BYTES - 100_000));
                    rounds += 1;
                    let _ = started.send(());
                }
                rounds
            })
        };
        begun.recv().unwrap();
        signal(pid, Signal::SIGKILL);
        wait_until("the daemon is dead", || !alive(pid));
        let before = begun.try_iter().count();
        for _ in 0..50 {
            begun.recv().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().unwrap() > before, "it read on");
    });
    assert!(File::open(mnt.join("big")).is_err(), "a new open needs a daemon");
    // Mounting again works at once, at the same place, and the old file still reads.
    let mnt = fixture.mount(Some("work"));
    assert!(fs::read(mnt.join("big")).unwrap() == bytes);
    check(5 << 20);
}
