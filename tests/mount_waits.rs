//! While reads wait for a silent store: who waits can be ended at once, nobody else is held up, and the mount can be taken
//! away.
#![allow(clippy::unwrap_used)]

mod far_common;
mod mount_common;
#[path = "support/far/mod.rs"]
mod proxy;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use atfs::daemon::client::{self, MountOrder};
use atfs::daemon::mount::{MountTable, Unmount};
use atfs::fs::ProfileChoice;
use far_common::{Far, forget_pages, noise, state, threads, timed};
use mount_common::{alive, signal, wait_until};
use nix::sys::signal::Signal;
use proxy::Off;

/// What needs no answer of the store is there within this, on a machine that is busy as well.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Reads that wait in the test of many: more than a kernel gives a file system of its own accord, and than the daemon has
/// threads or the store has slots.
const WAITING: usize = 200;

/// Programs that read; those that are left are killed.
#[derive(Default)]
struct Readers(Vec<Child>);

impl Readers {
    fn start(&mut self, program: &str, args: &[&Path]) -> u32 {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        self.0.push(child);
        self.0.last().unwrap().id()
    }

    /// Waits until all have ended.
    fn reap(&mut self) {
        for child in &mut self.0 {
            wait_until("a reader ends", || child.try_wait().unwrap().is_some());
        }
        self.0.clear();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A mount before a store that can fall silent. The contents of `warm` are on this machine; nothing else is, not even names.
struct Silent {
    far: Far,
    mnt: PathBuf,
    /// Goes first.
    readers: Readers,
}

fn name_in_far(n: usize) -> String {
    format!("far/{n:0100}")
}

/// Names in `far`.
const FAR: usize = 4000;

/// Bytes of `cold/long`.
const LONG: usize = 30 << 20;

const WARM: [(&str, usize); 2] = [("warm/small", 50_000), ("warm/long", 3 << 20)];

impl Silent {
    fn new(profile: ProfileChoice) -> Option<Self> {
        let far = Far::new()?;
        let source = far.fixture.source();
        let write = |name: &str, bytes: &[u8]| {
            fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
            fs::write(source.join(name), bytes).unwrap();
        };
        WARM.iter().for_each(|(name, len)| write(name, &noise(name, *len)));
        far.fixture.commit("warm");
        let mnt = far.fixture.mount(Some("warm"));
        WARM.iter().for_each(|(name, len)| assert!(fs::read(mnt.join(name)).unwrap() == noise(name, *len)));
        far.fixture.unmount();
        // In packs of their own, so that nothing of them came beside what is warm.
        write("cold/small", &noise("cold/small", 3000));
        write("cold/long", &noise("cold/long", LONG));
        // So many that their names are in nodes that nobody needs for anything else.
        (0..FAR).for_each(|n| write(&name_in_far(n), b"x"));
        far.fixture.commit("work");
        let order = MountOrder { profile, ..far.fixture.order(Some("work")) };
        let mnt = far.fixture.try_mount(&order).unwrap().mount_point;
        Some(Self { far, mnt, readers: Readers::default() })
    }

    /// Makes the kernel know the names in `cold` and `warm`, so that only contents are waited for.
    fn list(&self) {
        for dir in ["cold", "warm"] {
            assert_eq!(names(&self.mnt.join(dir)), 2);
        }
    }

    fn silence(&self) {
        self.far.turn(Off::Hang);
    }

    fn end_silence(&self) {
        self.far.turn(Off::No);
    }

    /// Requests that the daemon could not answer at once, so far.
    fn waited(&self) -> u64 {
        client::running(&self.far.fixture.cache_dir()).unwrap().unwrap().mounts[0].counters["waited"]
    }

    /// Starts a program on something in the mount, and waits until it waits for the store.
    fn waits(&mut self, program: &str, args: &[&str], name: &str) -> u32 {
        let (path, before) = (self.mnt.join(name), self.waited());
        let mut all: Vec<&Path> = args.iter().map(Path::new).collect();
        all.push(&path);
        let pid = self.readers.start(program, &all);
        wait_until(&format!("{program} {name} waits"), || self.waited() > before);
        pid
    }
}

/// How many names a directory has; each is looked up as well.
fn names(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap();
    let found: Vec<_> = entries.map(|entry| entry.unwrap().metadata().unwrap()).collect();
    found.len()
}

/// Runs `work` and returns its result, which must be there at once.
fn at_once<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(work()));
    receive.recv_timeout(AT_ONCE).unwrap_or_else(|_| panic!("{what}: not within {AT_ONCE:?}"))
}

fn gone_at_once(what: &str, pid: u32) {
    let end = Instant::now() + AT_ONCE;
    while alive(pid) {
        assert!(Instant::now() < end, "{what}: still in state {:?} after {AT_ONCE:?}", state(pid));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends programs that wait at `places`, with each signal, and looks that they are gone.
fn end_each(silent: &mut Silent, places: &[(&str, &str)]) {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        for (program, name) in places {
            let pid = silent.waits(program, &[], name);
            mount_common::signal(pid, signal);
            gone_at_once(&format!("{program} {name} after {signal}"), pid);
        }
    }
    // One that has a handler for Ctrl-C, which only runs when its call returns.
    let script = "import os, sys; os.stat(sys.argv[1]); print(open(sys.argv[1], 'rb').read(1))";
    for (_, name) in places.iter().filter(|(program, _)| *program != "ls") {
        let pid = silent.waits("python3", &["-c", script], name);
        mount_common::signal(pid, Signal::SIGINT);
        gone_at_once(&format!("python3 {name} after SIGINT"), pid);
    }
    silent.readers.reap();
}

#[test]
fn who_is_killed_or_interrupted_goes_at_once_wherever_it_waits() {
    for profile in [ProfileChoice::Bulk, ProfileChoice::SmallFiles] {
        let Some(mut silent) = Silent::new(profile) else { return };
        // In a look-up and in a listing.
        silent.silence();
        end_each(&mut silent, &[("stat", &name_in_far(7)), ("ls", "far")]);
        silent.end_silence();
        silent.list();
        // In the pages of a small and of a long file.
        silent.silence();
        end_each(&mut silent, &[("cat", "cold/small"), ("cat", "cold/long")]);
        silent.end_silence();
        // Nothing of them is in the way of those who come later.
        let mnt = silent.mnt.clone();
        let read = at_once("a read", move || {
            assert_eq!(fs::read_dir(mnt.join("far")).unwrap().count(), FAR);
            (fs::read(mnt.join("cold/small")).unwrap(), fs::read(mnt.join("cold/long")).unwrap())
        });
        assert!(read == (noise("cold/small", 3000), noise("cold/long", LONG)));
    }
}

#[test]
fn many_reads_that_wait_hold_nobody_else_up() {
    for profile in [ProfileChoice::Bulk, ProfileChoice::SmallFiles] {
        let Some(mut silent) = Silent::new(profile) else { return };
        silent.list();
        silent.silence();
        let daemon = silent.far.fixture.daemon().unwrap();
        let (mnt, before, already) = (silent.mnt.clone(), threads(daemon), silent.waited());
        let input = mnt.join("cold/long");
        for n in 0..WAITING {
            let input = format!("if={}", input.display());
            // 38 pages of 4 KiB apart: no two of them share a request of the kernel.
            let skip = format!("skip={}", n * 38);
            let args = [&*input, &*skip, "bs=4096", "count=1"].map(Path::new);
            silent.readers.start("dd", &args);
        }
        wait_until("so many wait that others might not be let in", || silent.waited() >= already + 64);
        for _ in 0..3 {
            for (name, len) in WARM {
                let path = mnt.join(name);
                let read = at_once(name, move || {
                    forget_pages(&path);
                    fs::read(path).unwrap()
                });
                assert!(read == noise(name, len));
            }
            for dir in ["", "warm", "cold"] {
                let path = mnt.join(dir);
                let all = move || names(&path);
                assert!(at_once(dir, all) > 1);
            }
            let path = mnt.clone();
            at_once("df", move || nix::sys::statvfs::statvfs(&path).unwrap());
            let path = mnt.join(".atfs/stats");
            assert!(at_once("the counters", move || fs::read_to_string(path).unwrap()).contains("waited"));
        }
        wait_until("all of them wait", || silent.waited() >= already + WAITING as u64);
        assert!(silent.readers.0.iter().all(|child| alive(child.id())), "they still wait");
        // A request that waits is no thread.
        let more = threads(daemon).saturating_sub(before);
        assert!(more <= 16, "{more} threads more with {WAITING} reads that wait");
        // The store is back before anybody's deadline: each of them reads.
        silent.end_silence();
        for child in &mut silent.readers.0 {
            wait_until("it reads to its end", || child.try_wait().unwrap().is_some());
            assert!(child.try_wait().unwrap().unwrap().success());
        }
    }
}

#[test]
fn the_mount_can_be_taken_away_while_reads_wait() {
    let Some(mut silent) = Silent::new(ProfileChoice::Bulk) else { return };
    let (mnt, cache) = (silent.mnt.clone(), silent.far.fixture.cache_dir());
    let unmount = |how: Unmount| {
        let (mnt, cache) = (mnt.clone(), cache.clone());
        at_once("an answer to umount", move || client::unmount(&cache, &mnt, how))
    };
    let is_mounted = || MountTable::read().unwrap().at(&mnt).is_some();
    silent.list();
    silent.silence();
    // Who waits is in the way, and named; when it is gone, so is the mount.
    let pid = silent.waits("cat", &[], "cold/long");
    let error = unmount(Unmount::WhenIdle).unwrap_err().to_string();
    assert!(error.contains(&format!("(pid {pid})")), "{error}");
    signal(pid, Signal::SIGKILL);
    gone_at_once("cat", pid);
    silent.readers.reap();
    unmount(Unmount::WhenIdle).unwrap();
    assert!(!is_mounted());
    // Lazily at once; those who wait wait on.
    silent.end_silence();
    silent.far.fixture.mount(Some("work"));
    silent.list();
    silent.silence();
    let pid = silent.waits("cat", &[], "cold/small");
    unmount(Unmount::Lazy).unwrap();
    assert!(!is_mounted() && alive(pid));
    silent.end_silence();
    gone_at_once("cat, which has its answer", pid);
    silent.readers.reap();
    // A daemon that is stopped gives users its ten seconds, then answers them.
    silent.far.fixture.mount(Some("work"));
    silent.list();
    silent.silence();
    let daemon = silent.far.fixture.daemon().unwrap();
    let pid = silent.waits("cat", &[], "cold/long");
    let ((), took) = timed(|| {
        signal(daemon, Signal::SIGTERM);
        wait_until("the daemon ends", || !alive(daemon));
    });
    assert!(took < Duration::from_secs(15), "{took:?}");
    gone_at_once("cat", pid);
    assert!(!is_mounted());
}
