//! Processes that read a mount and compare every byte. A wrong one ends the process; an error is told with its time, to be
//! judged by who knows what was broken then.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::dice::Dice;
use crate::far_common::noise;

/// What readers do: whole files, parts of open files, names and sizes; and the same file of the branch that moves, over and
/// over, opened anew or held open.
pub const KINDS: [&str; 6] = ["whole", "whole", "parts", "names", "moving", "held"];

/// The files of the branch that moves.
pub const NAMES: [&str; 8] = ["a", "b", "c", "d0", "e", "f", "g", "h"];

const KIND: &str = "ATFS_TEST_CHAOS_KIND";
const DATA: &str = "ATFS_TEST_CHAOS_DATA";
const FOLLOW: &str = "ATFS_TEST_CHAOS_FOLLOW";
const SEED: &str = "ATFS_TEST_CHAOS_READER_SEED";

/// How many of the files are small ones; they are the first.
pub const SMALL: usize = 60;

/// The files of the fixed branch, by name with their sizes: small, long, and in the tree itself.
pub fn files() -> Vec<(String, usize)> {
    let small = (0..SMALL).map(|n| (format!("small{}/{n}", n % 3), 700 + 1900 * n));
    let long = (0..6).map(|n| (format!("long/{n}"), (1 << 20) + 300_000 * n + 1));
    let inline = (0..3).map(|n| (format!("inline/{n}"), 100 * n));
    small.chain(long).chain(inline).collect()
}

/// What is in each file that moves: 500 bytes that tell the version everywhere, so that a mixture tells two.
pub fn text(version: u64) -> String {
    format!("{version:09};").repeat(50)
}

/// The version that a text tells; `None` for a mixture.
pub fn version_in(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let first = text.get(..10)?;
    (text.len() == 500 && text == first.repeat(50)).then(|| first[..9].parse().ok())?
}

/// Microseconds since 1970: the same in all processes.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// An error that a reader saw.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When the call began; of a file that was open, when it was opened.
    pub since: u64,
    pub began: u64,
    pub ended: u64,
    pub errno: i32,
    /// Below the mount point.
    pub name: String,
}

/// What a reader has done.
#[derive(Debug, Default)]
pub struct Report {
    pub kind: String,
    pub reads: u64,
    pub longest: Duration,
    pub errors: Vec<Seen>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_errno = BTreeMap::<i32, usize>::new();
        self.errors.iter().for_each(|error| *by_errno.entry(error.errno).or_default() += 1);
        let Self { kind, reads, longest, .. } = self;
        write!(f, "{kind}: {reads} reads, the longest {longest:?}, errors by number {by_errno:?}")
    }
}

/// A reader's process; killed when it is dropped.
pub struct Reader {
    child: Child,
    lines: Option<JoinHandle<Vec<String>>>,
}

impl Reader {
    pub fn start(kind: &str, [data, follow]: [&Path; 2], seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role", "--ignored", "--nocapture"])
            .envs([(KIND, kind), (SEED, &*seed.to_string())])
            .envs([(DATA, data), (FOLLOW, follow)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines = std::thread::spawn(move || out.lines().map_while(Result::ok).collect());
        Self { child, lines: Some(lines) }
    }

    /// It ends by itself only when it has found something wrong.
    pub fn assert_runs(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            panic!("a reader: {:#?}", self.lines.take().unwrap().join().unwrap());
        }
    }

    /// Tells it to end, and what it saw.
    pub fn end(mut self) -> Report {
        self.assert_runs();
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        let lines = self.lines.take().unwrap().join().unwrap();
        assert!(status.success(), "a reader: {lines:#?}");
        let mut report = Report::default();
        for line in &lines {
            // The first word may stand behind the test harness's own.
            let Some(words) = line.find("chaos ").map(|at| line[at..].split(' ').collect::<Vec<_>>()) else {
                continue;
            };
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            if words[1] == "error" {
                let (errno, name) = (words[5].parse().unwrap(), words[6].to_owned());
                report.errors.push(Seen {
                    since: number(2),
                    began: number(3),
                    ended: number(4),
                    errno,
                    name,
                });
            } else {
                report.kind = words[2].to_owned();
                (report.reads, report.longest) = (number(3), Duration::from_micros(number(4)));
            }
        }
        report
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The life of a reader: until its standard input ends.
pub fn run() {
    let Ok(kind) = std::env::var(KIND) else { return };
    let over = Arc::new(AtomicBool::new(false));
    let ends = over.clone();
    std::thread::spawn(move || {
        let _ = io::stdin().read(&mut [0]);
        ends.store(true, Ordering::SeqCst);
    });
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let mut reading = Reading {
        data: path(DATA),
        follow: path(FOLLOW),
        files: files().into_iter().map(|(name, len)| (noise(&name, len), name)).collect(),
        dice: Dice::new(seed ^ u64::from(std::process::id())),
        seen: [0; NAMES.len()],
        reads: 0,
        longest: 0,
    };
    while !over.load(Ordering::SeqCst) {
        // Most of what these do the kernel answers: unpaced, they would leave nobody else a processor.
        if matches!(&*kind, "names" | "moving" | "held") {
            std::thread::sleep(Duration::from_millis(5));
        }
        match &*kind {
            "whole" => reading.whole(),
            "parts" => reading.parts(),
            "names" => reading.names(),
            "moving" => reading.moving(),
            "held" => reading.held(),
            other => panic!("{other}"),
        }
    }
    println!("chaos summary {kind} {} {}", reading.reads, reading.longest);
}

struct Reading {
    data: PathBuf,
    follow: PathBuf,
    /// Contents and names.
    files: Vec<(Vec<u8>, String)>,
    dice: Dice,
    /// The newest version seen of each file that moves.
    seen: [u64; NAMES.len()],
    reads: u64,
    longest: u64,
}

impl Reading {
    /// Does something with the file `name`, which was opened at `since`.
    fn did<T>(&mut self, name: &str, since: Option<u64>, work: impl FnOnce() -> io::Result<T>) -> Option<T> {
        let began = now();
        let result = work();
        let ended = now();
        self.reads += 1;
        self.longest = self.longest.max(ended - began);
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                println!("chaos error {} {began} {ended} {errno} {name}", since.unwrap_or(began));
                // A dead mount answers at once; nobody is to see a million of these.
                std::thread::sleep(Duration::from_millis(20));
                None
            }
        }
    }

    fn pick(&mut self) -> (usize, String) {
        let at = self.dice.below(self.files.len());
        (at, self.files[at].1.clone())
    }

    fn whole(&mut self) {
        let (at, name) = self.pick();
        let (path, cold) = (self.data.join(&name), self.dice.one_in(2));
        let read = self.did(&name, None, || {
            let mut file = File::open(path)?;
            if cold {
                // The kernel forgets the pages, so that the daemon is asked.
                posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        if let Some(read) = read {
            assert!(read == self.files[at].0, "{name}: other bytes ({} of them)", read.len());
        }
    }

    fn parts(&mut self) {
        let (at, name) = self.pick();
        let since = now();
        let path = self.data.join(&name);
        let Some(file) = self.did(&name, None, || File::open(path)) else { return };
        for _ in 0..8 {
            let whole = self.files[at].0.len();
            let start = self.dice.below(whole + 1);
            let mut bytes = vec![0; self.dice.below(100_000)];
            let read = self.did(&name, Some(since), || {
                posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
                let mut got = 0;
                while got < bytes.len() {
                    match file.read_at(&mut bytes[got..], (start + got) as u64)? {
                        0 => break,
                        n => got += n,
                    }
                }
                Ok(got)
            });
            let Some(got) = read else { return };
            let expected = &self.files[at].0[start..whole.min(start + bytes.len())];
            assert!(bytes[..got] == *expected, "{name} from {start}: other bytes ({got} of them)");
        }
    }

    fn names(&mut self) {
        let dirs = ["small0", "small1", "small2", "long", "inline"];
        let dir = dirs[self.dice.below(dirs.len())];
        let path = self.data.join(dir);
        let listed = self.did(dir, None, || {
            let entries = fs::read_dir(path)?.map(|entry| {
                let entry = entry?;
                Ok((
                    format!("{dir}/{}", entry.file_name().to_str().unwrap()),
                    entry.metadata()?.len() as usize,
                ))
            });
            let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
            entries.sort();
            Ok(entries)
        });
        if let Some(listed) = listed {
            let own = self.files.iter().filter(|(_, name)| name.starts_with(&format!("{dir}/")));
            let mut expected: Vec<_> = own.map(|(bytes, name)| (name.clone(), bytes.len())).collect();
            expected.sort();
            // Between a killed daemon and the next mount the place is an empty directory without this one in it.
            assert_eq!(listed, expected);
        }
        let absent = self.data.join(dir).join("not there");
        match fs::metadata(absent) {
            Ok(_) => panic!("{dir}/not there is there"),
            Err(_) => self.reads += 1,
        }
    }

    fn saw(&mut self, at: usize, version: u64) {
        assert!(version >= self.seen[at], "{}: {version} after {}", NAMES[at], self.seen[at]);
        self.seen[at] = version;
    }

    fn moving(&mut self) {
        let at = self.dice.below(NAMES.len());
        let path = self.follow.join(NAMES[at]);
        if let Some(bytes) = self.did(NAMES[at], None, || fs::read(path)) {
            let version = version_in(&bytes)
                .unwrap_or_else(|| panic!("a mixture: {}", String::from_utf8_lossy(&bytes)));
            self.saw(at, version);
        }
    }

    fn held(&mut self) {
        let at = self.dice.below(NAMES.len());
        let (path, since) = (self.follow.join(NAMES[at]), now());
        let Some(file) = self.did(NAMES[at], None, || File::open(path)) else { return };
        let mut first = None;
        for _ in 0..10 {
            let mut bytes = vec![0; 1000];
            let read = self.did(NAMES[at], Some(since), || {
                posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
                file.read_at(&mut bytes, 0)
            });
            let Some(got) = read else { return };
            let version =
                version_in(&bytes[..got]).unwrap_or_else(|| panic!("a mixture: {:?}", &bytes[..got]));
            assert_eq!(*first.get_or_insert(version), version, "an open file moved");
        }
        self.saw(at, first.unwrap());
    }
}
