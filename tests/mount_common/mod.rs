//! What the mount tests share: a repository in a folder, a daemon of its own, and a guard that leaves no mount and no
//! process behind, however a test ends.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod writer;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atfs::daemon::mount::{Access, MountFlags, MountTable, NonEmpty, Unmount};
use atfs::daemon::{DaemonError, Launch, StoreAccess, client};
use atfs::fs::ProfileChoice;
use atfs::repo::{InitOptions, Repository, Services};
use atfs::store::{LocalStore, Store};
use atfs::types::{OsRandom, SystemClock};

/// A scratch folder with a repository, a cache and a mount point.
pub struct Fixture {
    dir: tempfile::TempDir,
    pub repository: Repository,
    pub runtime: tokio::runtime::Runtime,
    url: String,
    access: StoreAccess,
    idle: u64,
    drain: u64,
}

impl Fixture {
    /// A new, empty repository called `data`.
    pub fn new() -> Self {
        Self::with_times(10, 10)
    }

    /// The same whose daemon exits after `idle` seconds without work and drains for `drain` seconds.
    pub fn with_times(idle: u64, drain: u64) -> Self {
        let dir = scratch();
        fs::create_dir(dir.path().join("data")).unwrap();
        let data = dir.path().canonicalize().unwrap().join("data");
        let store = Arc::new(LocalStore::open(&data).unwrap());
        let url = data.to_str().unwrap().to_owned();
        Self::of(dir, runtime(), store, url, StoreAccess::default(), (idle, drain))
    }

    /// A new, empty repository in `store`, which the program knows as `url` and reaches with `access`.
    pub fn in_store(
        runtime: tokio::runtime::Runtime,
        store: Arc<dyn Store>,
        url: String,
        access: StoreAccess,
    ) -> Self {
        Self::of(scratch(), runtime, store, url, access, (10, 10))
    }

    fn of(
        dir: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
        store: Arc<dyn Store>,
        url: String,
        access: StoreAccess,
        (idle, drain): (u64, u64),
    ) -> Self {
        let repository =
            runtime.block_on(Repository::init(store, services(), InitOptions::default())).unwrap();
        Self { dir, repository, runtime, url, access, idle, drain }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn cache_dir(&self) -> PathBuf {
        self.path("cache")
    }

    pub fn mount_point(&self) -> PathBuf {
        self.path("mnt")
    }

    /// A folder to be filled and committed.
    pub fn source(&self) -> PathBuf {
        let path = self.path("source");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Commits [`Fixture::source`] as the new branch `branch`.
    pub fn commit(&self, branch: &str) -> atfs::types::CommitId {
        self.runtime.block_on(writer::commit(&self.repository, branch, &self.source()))
    }

    /// Runs the program with this fixture's folders; it must succeed.
    pub fn atfs(&self, arguments: &[&OsStr]) {
        let output = Command::new(env!("CARGO_BIN_EXE_atfs"))
            .args(arguments)
            .env("ATFS_CACHE_DIR", self.cache_dir())
            .env("ATFS_STATE_DIR", self.path("cli-state"))
            .env("ATFS_CONFIG", "")
            .envs(&self.access.environment)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Commits a local file or directory as `path` of `main`, with the program.
    pub fn add(&self, path: &str, local: &Path) {
        let address = format!("{}@main:{path}", self.url());
        self.atfs(&["add".as_ref(), address.as_ref(), local.as_ref(), "-m".as_ref(), "test".as_ref()]);
    }

    pub fn launch(&self) -> Launch {
        let arguments = [
            OsString::from("daemon"),
            "--cache-dir".into(),
            self.cache_dir().into(),
            "--state-dir".into(),
            self.path("state").into(),
            "--idle".into(),
            self.idle.to_string().into(),
            "--drain".into(),
            self.drain.to_string().into(),
        ];
        Launch { program: env!("CARGO_BIN_EXE_atfs").into(), arguments: arguments.to_vec() }
    }

    pub fn order(&self, revision: Option<&str>) -> client::MountOrder {
        client::MountOrder {
            url: self.url(),
            revision: revision.map(str::to_owned),
            mount_point: self.mount_point(),
            non_empty: NonEmpty::Refuse,
            access: Access::Owner,
            uid: None,
            gid: None,
            profile: ProfileChoice::Bulk,
            follow: None,
            store: self.access.clone(),
            device: MountFlags::DEVICE.into(),
        }
    }

    pub fn try_mount(&self, order: &client::MountOrder) -> Result<client::Mounted, DaemonError> {
        client::mount(&self.cache_dir(), &self.launch(), order)
    }

    /// Mounts `revision` (`None`: the whole repository) on the mount point.
    pub fn mount(&self, revision: Option<&str>) -> PathBuf {
        self.try_mount(&self.order(revision)).unwrap_or_else(|e| panic!("{e}\n{}", self.log())).mount_point
    }

    pub fn unmount(&self) {
        client::unmount(&self.cache_dir(), &self.mount_point(), Unmount::WhenIdle)
            .unwrap_or_else(|e| panic!("{e}\n{}", self.log()));
    }

    /// The daemon's process, if one runs.
    pub fn daemon(&self) -> Option<u32> {
        client::running(&self.cache_dir()).unwrap().map(|running| running.pid)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("cache/daemon/daemon.log")).unwrap_or_default()
    }

    /// A counter of the mount on `mount_point`.
    pub fn counter(&self, mount_point: &Path, name: &str) -> u64 {
        let text = fs::read_to_string(mount_point.join(".atfs/stats")).unwrap();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        let Ok(root) = self.dir.path().canonicalize() else { return };
        for entry in MountTable::read().unwrap().entries().filter(|e| e.mount_point.starts_with(&root)) {
            let _ = nix::mount::umount2(&entry.mount_point, nix::mount::MntFlags::MNT_DETACH);
        }
        if let Ok(Some(running)) = client::running(&self.cache_dir()) {
            let pid = nix::unistd::Pid::from_raw(running.pid as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            wait_until("the daemon has ended", || !alive(running.pid));
        }
    }
}

fn scratch() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["cache", "state", "mnt"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    dir
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

pub fn services() -> Services {
    Services {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        index: None,
        who: "Test <test@example.org>".into(),
    }
}

/// Whether the process runs (a zombie does not).
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for something that has no event, at most 20 s.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
}
