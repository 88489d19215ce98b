//! A repository on a real S3 server, and in front of the server the proxy that makes the store go away: what the tests of a
//! mount whose store is in trouble share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atfs::daemon::{StoreAccess, client};
use atfs::store::S3Store;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::mount_common::{Fixture, alive, signal, wait_until};
use crate::proxy::{Off, Proxy, Settings};
use crate::support::servers;

/// The longest that a read may take while the store is in trouble: no attempt begins after 60 s, the last one takes 30 s at
/// most, both get 4 s more for a body of 1 MiB (`RetryPolicy`), and the kernel's second question gets 5 s.
pub const LONGEST_READ: Duration = Duration::from_secs(60 + 30 + 2 * 4 + 5);

/// The repository, its daemon and the way to its store.
pub struct Far {
    pub fixture: Fixture,
    /// Between the daemon and the server; this process writes past it.
    pub proxy: Proxy,
}

impl Far {
    /// A new repository on ministack; `None` where that cannot be had.
    pub fn new() -> Option<Self> {
        let server = servers::ministack()?;
        let upstream = server.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, Settings::default()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bucket = runtime.block_on(server.new_bucket());
        let store = runtime.block_on(S3Store::open(&bucket, "repo", &server.options())).unwrap();
        let mut environment = server.environment();
        environment.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
        environment.push(("AWS_ENDPOINT_URL", proxy.endpoint()));
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let access = StoreAccess { endpoint_url: None, environment };
        let url = format!("s3://{bucket}/repo");
        Some(Self { fixture: Fixture::in_store(runtime, Arc::new(store), url, access), proxy })
    }

    /// Makes the store go away, or come back ([`Off::No`]).
    pub fn turn(&self, off: Off) {
        self.proxy.set(Settings { off, ..Settings::default() });
    }

    /// Requests that have come to the proxy.
    pub fn requests(&self) -> u64 {
        self.proxy.stats().total().requests
    }

    /// Ends the daemon as a crash does.
    pub fn kill_daemon(&self) {
        let pid = self.fixture.daemon().expect("it runs");
        signal(pid, nix::sys::signal::Signal::SIGKILL);
        wait_until("the daemon is dead", || !alive(pid));
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // Before its cache folder goes, which may be a mount of its own.
        if let Ok(Some(running)) = client::running(&self.fixture.cache_dir()) {
            let pid = nix::unistd::Pid::from_raw(running.pid as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            wait_until("the daemon has ended", || !alive(running.pid));
        }
    }
}

/// Bytes that `name` determines.
pub fn noise(name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Makes the kernel forget what it has of a file, so that the next read of it asks the daemon.
pub fn forget_pages(path: &Path) {
    let file = fs::File::open(path).unwrap();
    posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

/// What `work` returns, and how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

/// The state of a thread or process (`R`, `S`, `D`, `Z`), if there is one.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}
