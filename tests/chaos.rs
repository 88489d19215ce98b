//! Everything goes wrong at once, and no program that reads a mount notices more than it must.
//!
//! Two mounts of one daemon, one of a fixed branch and one that follows a branch which moves a thousand times, are read by
//! several processes that compare every byte with what it should be. Meanwhile a driver, whose choices one number
//! determines, turns the store off and on, makes it slow, cut and busy, fills the cache's disk, damages what lies there and
//! in the store, and kills the daemon. What holds through all of it:
//!
//! - no wrong byte, no mixture of two versions, no version older than one seen before;
//! - no error without a fault that explains it, by kind, by file and by time;
//! - no read beyond the deadline, no thread of the daemon stuck in the kernel;
//! - in the end everything reads right, and nothing is left: no mount, no process, no descriptor.
//!
//! Not done here: turning bits of long files in the cache, which the kernel may serve by itself. They are found by reading all
//! of the cache again (`cache_scrub.rs`).
//!
//! `ATFS_CHAOS_SEED` repeats a run's choices, `ATFS_CHAOS_SECONDS` makes it longer.
#![allow(clippy::unwrap_used)]

mod chaos_support;
mod far_common;
mod mount_common;
#[path = "support/far/mod.rs"]
mod proxy;
mod refs_common;
mod support;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atfs::daemon::client::{self, MountOrder};
use atfs::daemon::mount::{MountTable, Unmount};
use chaos_support::driver::Driver;
use chaos_support::reader::{self, NAMES, Reader, text, version_in};
use chaos_support::watch::Watch;
use far_common::{Far, LONGEST_READ, noise};
use mount_common::{alive, wait_until};
use refs_common::tree::commit_edits;

/// Moves of the branch that is followed, at least.
const MOVES: u64 = 1000;

/// How long the short form goes on, at least.
const SHORT: Duration = Duration::from_secs(40);

/// No thread of the daemon may be in state D for longer: its disk is memory.
const STUCK: Duration = Duration::from_secs(5);

/// Becomes a reader when the test started it as one.
#[test]
#[ignore = "a part of the test, run by it in processes of their own"]
fn role() {
    reader::run();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn readers_notice_no_more_than_they_must() {
    let Some(far) = Far::new() else { return };
    let seed = number("ATFS_CHAOS_SEED").unwrap_or_else(rand::random);
    let lasts = number("ATFS_CHAOS_SECONDS").map_or(SHORT, Duration::from_secs);
    println!("ATFS_CHAOS_SEED={seed} ATFS_CHAOS_SECONDS={}", lasts.as_secs());

    let fixture = &far.fixture;
    for (name, len) in reader::files() {
        let path = fixture.source().join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(&name, len)).unwrap();
    }
    fixture.commit("data");
    let change = |version: u64| {
        let text = text(version);
        let edits: Vec<_> = NAMES.iter().map(|name| (*name, Some(&*text))).collect();
        fixture.runtime.block_on(commit_edits(&fixture.repository, &edits)).unwrap();
    };
    change(1);
    fs::create_dir(fixture.path("follow")).unwrap();
    let data = fixture.order(Some("data"));
    let follow = MountOrder {
        mount_point: fixture.path("follow"),
        follow: Some(Duration::from_millis(100)),
        ..fixture.order(Some("main"))
    };
    let daemon = AtomicU32::new(0);
    let mut driver = Driver::new(&far, [data.clone(), follow.clone()], seed, &daemon);
    driver.mount();
    let points = [&*data.mount_point, &*follow.mount_point];
    let mut readers: Vec<Reader> =
        reader::KINDS.iter().map(|kind| Reader::start(kind, points, seed)).collect();

    let (done, moved) = (AtomicBool::new(false), AtomicU64::new(1));
    let watch = Mutex::new(Watch::default());
    let mut met = Vec::new();
    std::thread::scope(|scope| {
        // However this ends, the threads end.
        let _end = EndOnDrop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                watch.lock().unwrap().look(daemon.load(Ordering::SeqCst));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        scope.spawn(|| {
            let mut version = 1;
            while !done.load(Ordering::SeqCst) {
                version += 1;
                change(version);
                moved.store(version, Ordering::SeqCst);
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < lasts || moved.load(Ordering::SeqCst) <= MOVES {
            driver.step();
            for reader in &mut readers {
                reader.assert_runs();
            }
        }
        met = driver.meet_damage();
        driver.end_faults();
    });
    let moved = moved.into_inner();

    // Everything reads right, at once.
    for (name, len) in reader::files() {
        assert!(fs::read(data.mount_point.join(&name)).unwrap() == noise(&name, len), "{name}");
    }
    let shown = |name: &str| version_in(&fs::read(follow.mount_point.join(name)).unwrap()).unwrap();
    wait_until("the last move is shown", || NAMES.iter().all(|name| shown(name) == moved));

    let reports: Vec<_> = readers.into_iter().map(Reader::end).collect();
    let (mut reads, mut errors, mut longest) = (0, 0, Duration::ZERO);
    for error in reports.iter().flat_map(|report| &report.errors).chain(&met) {
        assert!(driver.explains(error), "no fault explains {error:?}; faults: {:#?}", driver.faults());
    }
    for report in &reports {
        println!("{report}");
        reads += report.reads;
        errors += report.errors.len();
        longest = longest.max(report.longest);
        assert!(report.reads > 50, "{report}");
    }
    println!(
        "{moved} moves, {reads} reads, {errors} errors, all explained; the longest read {longest:?}; {}",
        driver.summary()
    );
    assert!(longest < LONGEST_READ, "{longest:?}");
    let (stuck, looks) = watch.into_inner().unwrap().longest();
    assert!(looks > 100 && stuck < STUCK, "a thread of the daemon was in state D for {stuck:?}");
    driver.assert_all_kinds_happened();
    assert!(!met.is_empty() && met.iter().all(|error| error.errno == libc::EIO), "{met:?}");

    leaves_nothing(&far, points, driver.daemons());
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn leaves_nothing(far: &Far, points: [&Path; 2], daemons: &[u32]) {
    let fixture = &far.fixture;
    let daemon = fixture.daemon().unwrap();
    for point in points {
        client::unmount(&fixture.cache_dir(), point, Unmount::WhenIdle).unwrap();
    }
    let open = || {
        // One that has nothing mounted ends by itself after a while, and then holds nothing.
        let links = fs::read_dir(format!("/proc/{daemon}/fd")).into_iter().flatten().flatten();
        let names =
            links.filter_map(|link| Some(fs::read_link(link.path()).ok()?.to_string_lossy().into_owned()));
        names.filter(|name| name == "/dev/fuse" || name.ends_with(" (deleted)")).collect::<Vec<_>>()
    };
    wait_until("the daemon closes what it had open of the mounts", || open().is_empty());
    assert!(client::stop(&fixture.cache_dir()).unwrap() || !alive(daemon));
    wait_until("no daemon is left", || daemons.iter().all(|pid| !alive(*pid)));
    let table = MountTable::read().unwrap();
    assert!(points.iter().all(|point| table.at(point).is_none()));
}
