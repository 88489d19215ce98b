//! Breaks things and mends them, and writes down when, so that errors can be judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use atfs::daemon::client::MountOrder;
use atfs::store::{Key, ListRequest, Store};
use bytes::Bytes;
use nix::sys::signal::Signal;

use super::dice::Dice;
use super::disk::Disk;
use super::reader::{SMALL, Seen, files, now};
use crate::far_common::{Far, noise};
use crate::mount_common::{alive, signal, wait_until};
use crate::proxy::{Off, Settings};

/// Less than everything, so that the store is asked all the time.
const DISK: u64 = 14 << 20;

/// A store that is off comes back after this many milliseconds at most: long before any deadline, so that nothing may fail.
const OFF_MILLIS: u64 = 5000;

/// And then it is on for longer than the longest wait between two attempts.
const ON: Duration = Duration::from_secs(6);

/// Small files that are damaged together.
const VICTIMS: usize = 15;

/// How many of them the driver reads itself in the end.
const MET: usize = 3;

/// Microseconds for which what was broken may show after it was mended.
const AFTERWARDS: u64 = 1_000_000;

/// Something that was broken, from when to when.
#[derive(Debug, Clone)]
pub struct Broken {
    pub what: What,
    pub from: u64,
    /// `u64::MAX` while it is.
    pub to: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// From the kill until both mounts are there again.
    Daemon,
    /// The stored bytes of these files.
    Stored(Vec<String>),
}

impl Broken {
    fn is_stored_now(&self) -> bool {
        self.to == u64::MAX && matches!(self.what, What::Stored(_))
    }
}

pub struct Driver<'a> {
    far: &'a Far,
    orders: [MountOrder; 2],
    disk: Disk,
    dice: Dice,
    /// What is yet to come before everything may come again: so that nothing is left out in a short run.
    deck: Vec<usize>,
    /// The pack of the files, as it should be.
    pack: (Key, Bytes),
    broken: Vec<Broken>,
    full: bool,
    off_until: Option<Instant>,
    on_since: Instant,
    happened: BTreeMap<&'static str, u64>,
    daemons: Vec<u32>,
    /// The daemon of now, for who watches it.
    pub daemon: &'a AtomicU32,
}

impl<'a> Driver<'a> {
    pub fn new(far: &'a Far, orders: [MountOrder; 2], seed: u64, daemon: &'a AtomicU32) -> Self {
        let disk = Disk::on(&far.fixture.cache_dir(), DISK);
        let pack = far.fixture.runtime.block_on(largest(&**far.fixture.repository.store()));
        Self {
            far,
            orders,
            disk,
            dice: Dice::new(seed),
            deck: Vec::new(),
            pack,
            broken: Vec::new(),
            full: false,
            off_until: None,
            on_since: Instant::now(),
            happened: BTreeMap::new(),
            daemons: Vec::new(),
            daemon,
        }
    }

    /// Mounts both.
    pub fn mount(&mut self) {
        for order in &self.orders {
            let mounted = self.far.fixture.try_mount(order);
            mounted.unwrap_or_else(|error| panic!("{error}\n{}", self.far.fixture.log()));
        }
        let pid = self.far.fixture.daemon().unwrap();
        self.daemons.push(pid);
        self.daemon.store(pid, Ordering::SeqCst);
    }

    /// Does the next thing, and waits a moment.
    pub fn step(&mut self) {
        if self.deck.is_empty() {
            self.deck = (0..12).collect();
        }
        let card = self.dice.below(self.deck.len());
        let what = match self.deck.swap_remove(card) {
            0 | 1 => self.turn_off(Off::Refuse),
            2 | 3 => self.turn_off(Off::Hang),
            4 => self.set(Settings { cut: 0.3, ..Settings::default() }, "answers are cut"),
            5 => self.set(Settings { refuse: 0.3, ..Settings::default() }, "the store is busy"),
            6 => self.set(
                Settings { latency: Duration::from_millis(20), ..Settings::default() },
                "the store is far",
            ),
            7 => self.toggle_full(),
            8 if self.disk.rot(&mut self.dice) => "a slab rots",
            9 if self.disk.take(&mut self.dice) => "a cached file is taken away",
            10 => self.damage_or_mend(),
            11 => self.kill(),
            _ => "nothing",
        };
        *self.happened.entry(what).or_default() += 1;
        let pause = Duration::from_millis(50 + self.dice.below(600) as u64);
        std::thread::sleep(pause);
        if self.off_until.is_some_and(|end| Instant::now() >= end) {
            self.set(Settings::default(), "");
        }
    }

    /// Mends everything.
    pub fn end_faults(&mut self) {
        self.set(Settings::default(), "");
        self.disk.free();
        if self.is_damaged() {
            self.damage_or_mend();
        }
    }

    /// Whether something that was broken meanwhile explains an error.
    pub fn explains(&self, error: &Seen) -> bool {
        self.broken.iter().any(|broken| {
            let from = if broken.what == What::Daemon { error.since } else { error.began };
            // A read may join one that has the damaged bytes already.
            let meanwhile = broken.from <= error.ended && from <= broken.to.saturating_add(AFTERWARDS);
            meanwhile
                && match &broken.what {
                    // The place is an empty directory between the two mounts.
                    What::Daemon => {
                        [libc::ENOTCONN, libc::ECONNABORTED, libc::ENOENT, libc::EIO].contains(&error.errno)
                    }
                    What::Stored(names) => error.errno == libc::EIO && names.contains(&error.name),
                }
        })
    }

    pub fn faults(&self) -> &[Broken] {
        &self.broken
    }

    pub fn daemons(&self) -> &[u32] {
        &self.daemons
    }

    pub fn summary(&self) -> String {
        format!("{:?}", self.happened)
    }

    fn set(&mut self, settings: Settings, what: &'static str) -> &'static str {
        self.far.proxy.set(settings);
        if self.off_until.take().is_some() {
            self.on_since = Instant::now();
        }
        what
    }

    fn turn_off(&mut self, off: Off) -> &'static str {
        // Off for at most so long, however often it is turned.
        let end = match self.off_until {
            Some(end) => end,
            // Who waits for his next attempt needs the store to be there then.
            None if self.on_since.elapsed() < ON => return "nothing",
            None => Instant::now() + Duration::from_millis(OFF_MILLIS),
        };
        self.far.proxy.set(Settings { off, ..Settings::default() });
        self.off_until = Some(end);
        if off == Off::Hang { "the store is silent" } else { "the store refuses" }
    }

    fn toggle_full(&mut self) -> &'static str {
        self.full = !self.full;
        if self.full {
            self.disk.fill();
            "the disk is full"
        } else {
            self.disk.free();
            "the disk has room"
        }
    }

    fn is_damaged(&self) -> bool {
        self.broken.iter().any(Broken::is_stored_now)
    }

    fn damage_or_mend(&mut self) -> &'static str {
        let (key, bytes) = self.pack.clone();
        let mends = self.is_damaged();
        let store = self.far.fixture.repository.store().clone();
        let put = |bytes| self.far.fixture.runtime.block_on(store.put(&key, bytes)).unwrap();
        if mends {
            put(bytes);
            self.broken.iter_mut().find(|broken| broken.is_stored_now()).unwrap().to = now();
            return "stored bytes are mended";
        }
        // Small files, whose bytes lie in the pack as they are: noise cannot be compressed.
        let (all, mut damaged, mut names) = (files(), bytes.to_vec(), Vec::new());
        for _ in 0..VICTIMS {
            let (name, len) = &all[self.dice.below(SMALL)];
            let content = noise(name, *len);
            let at = bytes.windows(64).position(|window| window == &content[..64]).expect("stored as it is");
            damaged[at + self.dice.below(*len)] ^= 1 << self.dice.below(8);
            names.push(name.clone());
        }
        self.set(Settings::default(), "");
        self.broken.push(Broken { what: What::Stored(names), from: now(), to: u64::MAX });
        put(damaged.into());
        // So that they are asked for.
        self.disk.empty_small();
        "stored bytes are damaged"
    }

    fn kill(&mut self) -> &'static str {
        // Who mounts needs the store.
        self.set(Settings::default(), "");
        if self.is_damaged() {
            self.damage_or_mend();
        }
        // The next daemon has nothing in memory and finds nothing on the disk, so it meets this.
        let what = self.damage_or_mend();
        *self.happened.entry(what).or_default() += 1;
        let broken = self.broken.len();
        self.broken.push(Broken { what: What::Daemon, from: now(), to: u64::MAX });
        let pid = self.daemon.load(Ordering::SeqCst);
        assert!(alive(pid), "the daemon has ended by itself");
        signal(pid, Signal::SIGKILL);
        wait_until("the daemon is dead", || !alive(pid));
        self.disk.empty_small();
        self.mount();
        self.broken[broken].to = now();
        "the daemon is killed"
    }

    /// Damages stored bytes under a daemon that has nothing yet, and reads some of the files that are hit: readers choose by chance,
    /// and each such read first looks for the bytes everywhere, which takes seconds. Returns what a reader would have told.
    pub fn meet_damage(&mut self) -> Vec<Seen> {
        self.kill();
        let stored = self.broken.iter().find_map(|broken| match &broken.what {
            What::Stored(names) if broken.is_stored_now() => Some(names.clone()),
            _ => None,
        });
        let names: BTreeSet<String> = stored.expect("just damaged").into_iter().collect();
        let read = |name: &String| {
            let began = now();
            let error = fs::read(self.orders[0].mount_point.join(name)).expect_err("it is damaged");
            let errno = error.raw_os_error().unwrap_or(0);
            Seen { since: began, began, ended: now(), errno, name: name.clone() }
        };
        names.iter().take(MET).map(read).collect()
    }

    /// A run in which something never happened would prove nothing about it.
    pub fn assert_all_kinds_happened(&self) {
        for what in [
            "the store is silent",
            "the store refuses",
            "answers are cut",
            "the store is busy",
            "the disk is full",
            "a slab rots",
            "a cached file is taken away",
            "stored bytes are damaged",
            "the daemon is killed",
        ] {
            assert!(self.happened.contains_key(what), "{what}: never in {}", self.summary());
        }
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        // It goes with the disk.
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.far.fixture.log());
        }
    }
}

/// The largest object with data.
async fn largest(store: &dyn Store) -> (Key, Bytes) {
    let mut found: Option<(Key, Bytes)> = None;
    let page = store.list(&ListRequest::all("data/")).await.unwrap();
    for object in page.objects {
        let bytes = store.get(&object.key).await.unwrap();
        if found.as_ref().is_none_or(|(_, other)| bytes.len() > other.len()) {
            found = Some((object.key, bytes));
        }
    }
    found.expect("there is data")
}
