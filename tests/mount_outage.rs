//! Ten minutes without the store and back: what is cached reads on, the rest is an error in time, nothing piles up, and the
//! first read after the return works, in the same mount.
//!
//! The waits of the daemon cannot be made shorter, so the short form is an outage of a little more than one deadline, in
//! which every cold read that began with it ends. `ATFS_OUTAGE_SECONDS=600` makes it ten minutes.
#![allow(clippy::unwrap_used)]

mod far_common;
mod mount_common;
#[path = "support/far/mod.rs"]
mod proxy;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atfs::daemon::client;
use atfs::daemon::mount::Unmount;
use far_common::{Far, LONGEST_READ, forget_pages, noise, threads, timed};
use mount_common::wait_until;
use proxy::Off;

/// No read that needs nothing of the store takes longer, also on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A read may join one that others wait for, and that one may just wait for its next attempt: 5 s at most (`RetryPolicy`).
const FIRST_AFTER: Duration = Duration::from_secs(5 + AT_ONCE.as_secs());

/// While the store is away for less, no read is given up.
const NOT_BEFORE: Duration = Duration::from_secs(50);

const WARM: [(&str, usize); 3] = [("warm/inline", 300), ("warm/small", 50_000), ("warm/long", 3 << 20)];

/// Programs that read what is cold, one file after the other, over and over, and go on when they see an error.
const READERS: usize = 24;
const FILES_EACH: usize = 8;
const COLD_BYTES: usize = 20_000;

/// The short form, in seconds: a deadline of 60 s, the last attempt of those that meet silence, the kernel's second question.
const SHORT: u64 = 100;

fn outage() -> Duration {
    let given = std::env::var("ATFS_OUTAGE_SECONDS").ok();
    Duration::from_secs(given.map_or(SHORT, |seconds| seconds.parse().expect("a number")))
}

fn cold(reader: usize, n: usize) -> String {
    format!("cold{reader}/{n}")
}

fn prepare() -> Option<(Far, PathBuf)> {
    let far = Far::new()?;
    let source = far.fixture.source();
    let write = |name: &str, len: usize| {
        fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
        fs::write(source.join(name), noise(name, len)).unwrap();
    };
    WARM.iter().for_each(|(name, len)| write(name, *len));
    far.fixture.commit("warm");
    let mnt = far.fixture.mount(Some("warm"));
    WARM.iter().for_each(|(name, len)| assert!(fs::read(mnt.join(name)).unwrap() == noise(name, *len)));
    far.fixture.unmount();
    (0..READERS).for_each(|reader| (0..FILES_EACH).for_each(|n| write(&cold(reader, n), COLD_BYTES)));
    write("back", COLD_BYTES);
    far.fixture.commit("work");
    let mnt = far.fixture.mount(Some("work"));
    // Names are known before, so that it is contents that are waited for.
    for entry in walkdir::WalkDir::new(&mnt) {
        entry.unwrap().metadata().unwrap();
    }
    Some((far, mnt))
}

/// What the daemon has open and runs.
#[derive(Debug, Clone, Copy)]
struct Load {
    threads: usize,
    descriptors: usize,
    resident_kib: u64,
}

fn load(daemon: u32) -> Load {
    let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    Load {
        threads: threads(daemon),
        descriptors: fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().count(),
        resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
    }
}

fn read_warm(mnt: &Path) {
    for (name, len) in WARM {
        let path = mnt.join(name);
        let (read, took) = timed(|| {
            forget_pages(&path);
            fs::read(&path).unwrap()
        });
        assert!(read == noise(name, len), "{name}");
        assert!(took < AT_ONCE, "{name}: {took:?}");
    }
}

/// Brings the store back and lets the readers end.
struct End<'a> {
    far: &'a Far,
    back: &'a AtomicBool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.far.turn(Off::No);
        self.back.store(true, Ordering::SeqCst);
    }
}

fn away_and_back(off: Off) {
    let Some((far, mnt)) = prepare() else { return };
    let daemon = far.fixture.daemon().unwrap();
    let before = load(daemon);
    far.turn(off);
    let begun = Instant::now();
    let back = AtomicBool::new(false);
    let failures = Mutex::new(BTreeMap::<String, Duration>::new());
    let mut most = before;
    let mut asked = 0;
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (mnt, back, failures) = (&mnt, &back, &failures);
            scope.spawn(move || {
                for n in (0..FILES_EACH).cycle() {
                    let name = cold(reader, n);
                    let was_back = back.load(Ordering::SeqCst);
                    let (read, took) = timed(|| fs::read(mnt.join(&name)));
                    assert!(took < LONGEST_READ + AT_ONCE, "{name}: {took:?}");
                    match read {
                        Ok(bytes) => assert!(bytes == noise(&name, COLD_BYTES), "{name}"),
                        Err(error) => {
                            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}: {error}");
                            assert!(!was_back, "{name}: {error}, though the store was back");
                            let away = begun.elapsed();
                            assert!(
                                away > NOT_BEFORE,
                                "{name}: given up when the store was away for {away:?}"
                            );
                            failures.lock().unwrap().insert(name, took);
                        }
                    }
                    if back.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        // However this ends, the readers do.
        let end = End { far: &far, back: &back };
        while begun.elapsed() < outage() {
            read_warm(&mnt);
            let (names, took) = timed(|| fs::read_dir(&mnt).unwrap().count());
            assert!(names == READERS + 2 && took < AT_ONCE, "{names} names in {took:?}");
            let now = load(daemon);
            most.threads = most.threads.max(now.threads);
            most.descriptors = most.descriptors.max(now.descriptors);
            most.resident_kib = most.resident_kib.max(now.resident_kib);
            std::thread::sleep(Duration::from_millis(500));
        }
        asked = far.requests();
        drop(end);
        // A file that nobody waits for yet.
        let (read, took) = timed(|| fs::read(mnt.join("back")).unwrap());
        assert!(read == noise("back", COLD_BYTES));
        assert!(took < FIRST_AFTER, "the first read after the return took {took:?}");
        println!("{off:?}: the first read after the return: {took:?}");
    });
    let failures = failures.into_inner().unwrap();
    println!(
        "{off:?}: {:?} without the store: {} cold reads failed after {:?} to {:?}; {asked} requests; before {before:?}, at most \
         {most:?}",
        outage(),
        failures.len(),
        failures.values().min(),
        failures.values().max()
    );
    assert!(failures.len() >= READERS, "each reader saw an error");
    // Readers that wait are neither threads nor connections without end, and they ask less the longer it takes.
    assert!(most.threads <= before.threads + 16, "{most:?} after {before:?}");
    assert!(most.descriptors <= before.descriptors + 80, "{most:?} after {before:?}");
    let per_second = asked as f64 / outage().as_secs_f64();
    assert!(per_second <= 2.0 * READERS as f64, "{per_second} requests per second of {READERS} readers");
    // The same mount and the same daemon: everything reads, also what was an error.
    assert_eq!(far.fixture.daemon(), Some(daemon));
    for name in failures.keys() {
        assert!(fs::read(mnt.join(name)).unwrap() == noise(name, COLD_BYTES), "{name}");
    }
    read_warm(&mnt);
    wait_until("connections and threads of the outage are gone", || {
        let now = load(daemon);
        now.descriptors <= before.descriptors + 16
    });
    // A program that the other test is just starting holds copies of this process's descriptors until it is executed.
    let unmount = || client::unmount(&far.fixture.cache_dir(), &mnt, Unmount::WhenIdle);
    wait_until("nobody is in the way of unmounting", || unmount().is_ok());
}

#[test]
fn a_store_that_does_not_answer_for_long_and_comes_back() {
    away_and_back(Off::Hang);
}

#[test]
fn a_store_that_refuses_connections_for_long_and_comes_back() {
    away_and_back(Off::Refuse);
}
