//! A machine of its own for each test: home, state, cache, nothing of the user's environment. It leaves no mount and no
//! daemon behind, however its test ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atfs::daemon::client;
use atfs::daemon::mount::MountTable;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A home folder, and the program run in it.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
}

/// How a run ended.
#[must_use = "look at it"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("atfs-cli-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with `args`, in this machine's folder; `DIR` in an argument means the folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atfs"));
        command
            .args(args.iter().map(|arg| arg.replace("DIR", &self.dir.path().to_string_lossy())))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("ATFS_CONFIG", "")
            .env("ATFS_STATE_DIR", self.path("state"))
            .env("ATFS_CACHE_DIR", self.path("cache"))
            .env("ATFS_AUTHOR", "Ada <ada@example.org>")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program; in what it prints the folder is `DIR` again.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.finish(self.command(args))
    }

    pub(crate) fn finish(&self, mut command: Command) -> Ran {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| self.shown(&String::from_utf8_lossy(bytes));
        Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs the program, which must succeed; its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    /// Runs the program, which must fail with `code`; its standard error.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        assert_eq!(ran.out, "", "{args:?} failed, so it has no result");
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        ran.err
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// What its daemon has logged.
    pub(crate) fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.path("cache/daemon/daemon.log")).unwrap_or_default()
    }

    fn shown(&self, text: &str) -> String {
        text.replace(&*self.dir.path().to_string_lossy(), "DIR")
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.daemon_log());
        }
        let Ok(root) = self.dir.path().canonicalize() else { return };
        let Ok(table) = MountTable::read() else { return };
        for entry in table.entries().filter(|entry| entry.mount_point.starts_with(&root)) {
            let _ = umount2(&entry.mount_point, MntFlags::MNT_DETACH);
        }
        if let Ok(Some(running)) = client::running(&root.join("cache")) {
            let _ = kill(Pid::from_raw(running.pid as i32), Signal::SIGKILL);
        }
    }
}

/// Whether tests can mount here; says so when they cannot.
pub(crate) fn can_mount() -> bool {
    let can = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !can {
        eprintln!("SKIPPED: no /dev/fuse");
    }
    can
}
