//! A user's machine with one repository, in one kind of store. However a test ends, no mount and no daemon stays.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atfs::daemon::client;
use atfs::daemon::mount::MountTable;
use atfs::repo::{Repository, Services};
use atfs::store::{self, S3Options, StoreOptions};
use atfs::types::{OsRandom, SystemClock};

use crate::support::servers::{self, Server};

/// Where the repository lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    Ministack,
    Radosgw,
}

impl Kind {
    fn server(self) -> Option<&'static Server> {
        match self {
            Self::Folder => None,
            Self::Ministack => servers::ministack(),
            Self::Radosgw => servers::radosgw(),
        }
    }
}

/// A scratch folder, and the program with its home, cache and state in it.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) url: String,
    environment: Vec<(&'static str, String)>,
    s3: S3Options,
}

/// Whether the run is of the full size.
pub(crate) fn is_full() -> bool {
    std::env::var_os("ATFS_ACCEPT").is_some_and(|value| value == "full")
}

/// Whether there is something to mount with.
pub(crate) fn has_fuse() -> bool {
    let there = fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !there {
        eprintln!("SKIPPED: no /dev/fuse");
    }
    there
}

impl Site {
    /// A new repository; `None` where the server cannot be had.
    pub(crate) fn new(kind: Kind) -> Option<Self> {
        let site = match kind {
            Kind::Folder => Self::bare(),
            _ => Self::on(kind.server()?),
        };
        site.ok(&["init", &site.url]);
        Some(site)
    }

    /// A machine whose URL is a folder that does not exist yet.
    fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("atfs-accept-").tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        let url = dir.path().join("repo").to_str().unwrap().to_owned();
        Self { dir, url, environment: Vec::new(), s3: S3Options::default() }
    }

    /// A machine whose URL is a prefix of a new bucket of `server`, where nothing is yet.
    pub(crate) fn on(server: &Server) -> Self {
        let bucket = tokio::runtime::Runtime::new().unwrap().block_on(server.new_bucket());
        let mut site = Self::bare();
        site.url = format!("s3://{bucket}/some/repo");
        site.environment = server.environment();
        site.s3 = server.options();
        site
    }

    /// From now on the program reaches the server by another endpoint.
    pub(crate) fn go_through(&mut self, endpoint: &str) {
        self.environment.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
        self.environment.push(("AWS_ENDPOINT_URL", endpoint.to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new, empty folder.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        fs::create_dir(self.path(name)).unwrap();
        self.path(name)
    }

    /// `url@revision`.
    pub(crate) fn at(&self, revision: &str) -> String {
        format!("{}@{revision}", self.url)
    }

    /// The program with `args`. `ATFS_ACCEPT_PROGRAM` names another build of it.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let program = std::env::var_os("ATFS_ACCEPT_PROGRAM");
        let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_atfs").into()));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("ATFS_CONFIG", "")
            .env("ATFS_STATE_DIR", self.path("state"))
            .env("ATFS_CACHE_DIR", self.cache_dir())
            .env("ATFS_AUTHOR", "Ada <ada@example.org>")
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program, which must succeed; its standard output.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let shown: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{shown:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the program answers as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Commits local things into the directory `path` of `main`; the commit's id.
    pub(crate) fn add(&self, path: &str, locals: &[&Path], message: &str) -> String {
        let address = self.at(&format!("main:{path}"));
        let mut args: Vec<&OsStr> = vec!["add".as_ref(), "--json".as_ref(), address.as_ref()];
        args.extend(["-m".as_ref(), OsStr::new(message)]);
        args.extend(locals.iter().map(|local| local.as_os_str()));
        let added: serde_json::Value = serde_json::from_str(&self.ok(&args)).unwrap();
        added["commit"]["id"].as_str().unwrap().to_owned()
    }

    /// Mounts a revision on the new folder `name`.
    pub(crate) fn mount(&self, revision: &str, name: &str) -> PathBuf {
        let point = self.folder(name).canonicalize().unwrap();
        let address = self.at(revision);
        let output = self.command(&["mount".as_ref(), address.as_ref(), point.as_os_str()]).output().unwrap();
        assert!(output.status.success(), "mounting {address}: {output:?}\n{}", self.daemon_log());
        point
    }

    /// Unmounts. A program that another test is just starting holds copies of this process's descriptors until it is executed:
    /// then the mount is busy for a moment.
    pub(crate) fn unmount(&self, point: &Path) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let output = self.command(&["umount".as_ref(), point.as_os_str()]).output().unwrap();
            if output.status.success() {
                return;
            }
            assert!(Instant::now() < end, "unmounting {}: {output:?}", point.display());
        }
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.path("cache")
    }

    /// The daemon's process.
    pub(crate) fn daemon(&self) -> Option<u32> {
        client::running(&self.cache_dir()).unwrap().map(|running| running.pid)
    }

    fn daemon_log(&self) -> String {
        fs::read_to_string(self.cache_dir().join("daemon/daemon.log")).unwrap_or_default()
    }

    /// Ends the daemon, and makes the machine know nothing of any repository.
    pub(crate) fn forget(&self) {
        self.end_daemon();
        for folder in [self.cache_dir(), self.path("state")] {
            if let Err(error) = fs::remove_dir_all(&folder) {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", folder.display());
            }
        }
    }

    fn end_daemon(&self) {
        if let Ok(Some(running)) = client::running(&self.cache_dir()) {
            let pid = nix::unistd::Pid::from_raw(running.pid as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            wait_until("the daemon has ended", || !is_alive(running.pid));
        }
    }

    /// How this process reaches the store, past proxies.
    pub(crate) fn store_options(&self) -> StoreOptions {
        StoreOptions { s3: self.s3.clone(), ..StoreOptions::default() }
    }

    /// The repository through the library, for what no command shows yet.
    pub(crate) async fn repository(&self) -> Repository {
        let store = store::open(&self.url.parse().unwrap(), &self.store_options()).await.unwrap().store;
        let services = Services {
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            index: None,
            who: "Test <test@example.org>".into(),
        };
        Repository::open(store, services).await.unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.daemon_log());
        }
        let Ok(root) = self.dir.path().canonicalize() else { return };
        let table = MountTable::read().unwrap();
        for entry in table.entries().filter(|entry| entry.mount_point.starts_with(&root)) {
            let _ = nix::mount::umount2(&entry.mount_point, nix::mount::MntFlags::MNT_DETACH);
        }
        self.end_daemon();
        // Who is not root cannot empty a read-only directory.
        for entry in walkdir::WalkDir::new(&root).into_iter().flatten().filter(|e| e.file_type().is_dir()) {
            let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755));
        }
    }
}

/// Whether the process runs (a zombie does not).
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for something that has no event, at most a minute.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Output that must be of a success.
pub(crate) fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}
