//! Who may mount and who may look: an ordinary user, a container without the right to mount, users beside the one who mounted.
//!
//! The kernel looks at the whole process, so everything here is done by processes of those users. They exist in a mount
//! namespace of the test's thread only, which has its own `/dev/fuse`, `/etc/passwd` and `/etc/fuse.conf`: nothing of the machine
//! is changed, and what a test might leave mounted goes with its thread.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use atfs::daemon::client;
use nix::mount::MsFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Pid, Uid, User, geteuid};

const ROOT: u32 = 0;

const FUSE: &str = "/dev/fuse";
const CONF: &str = "/etc/fuse.conf";
const NONE: Option<&str> = None;

/// A scratch folder that every user may enter, and the program in it.
struct Machine {
    dir: tempfile::TempDir,
    program: PathBuf,
    /// Two users that have a name, and one that has none.
    uids: [u32; 3],
}

/// A user of it, with a home of his own and everything of atfs in it.
struct Person<'a> {
    machine: &'a Machine,
    uid: u32,
    home: PathBuf,
}

/// A machine whose `/dev/fuse` is open to all, and whose fuse.conf says nothing, as is usual. `None` where this process is not
/// root, or cannot mount.
fn machine() -> Option<Machine> {
    machine_with(0o666, "")
}

/// The same with another mode of `/dev/fuse`, and another fuse.conf.
fn machine_with(mode: u32, conf: &str) -> Option<Machine> {
    let usable = fs::File::options().read(true).write(true).open(FUSE).is_ok();
    if !geteuid().is_root() || !usable || nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err() {
        eprintln!("SKIPPED: not root, or no /dev/fuse, or no mount namespaces");
        return None;
    }
    // What is mounted from now on is mounted in this namespace only.
    nix::mount::mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
    let dir = tempfile::Builder::new().prefix("atfs-rights-").tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    // Where cargo builds, others may not look.
    let program = dir.path().join("atfs");
    let built = env!("CARGO_BIN_EXE_atfs");
    if fs::hard_link(built, &program).is_err() {
        fs::copy(built, &program).unwrap();
    }
    let mut free = (62_000..).filter(|uid| matches!(User::from_uid(Uid::from_raw(*uid)), Ok(None)));
    let uids = [0; 3].map(|_| free.next().unwrap());
    let machine = Machine { dir, program, uids };
    machine.make_device(mode);
    let [ada, bob, _] = uids;
    let users = format!("ada-test:x:{ada}:{ada}::/:/bin/sh\nbob-test:x:{bob}:{bob}::/:/bin/sh\n");
    machine.replace("/etc/passwd", &(fs::read_to_string("/etc/passwd").unwrap() + &users));
    if Path::new(CONF).exists() {
        machine.replace(CONF, conf);
    }
    Some(machine)
}

impl Machine {
    /// Puts a text in the place of a file.
    fn replace(&self, file: &str, text: &str) {
        let own = self.dir.path().join(file.replace('/', "-"));
        fs::write(&own, text).unwrap();
        fs::set_permissions(&own, Permissions::from_mode(0o644)).unwrap();
        nix::mount::mount(Some(&own), file, NONE, MsFlags::MS_BIND, NONE).unwrap();
    }

    /// Puts a FUSE device with this mode in the place of the machine's.
    fn make_device(&self, mode: u32) {
        let dev = self.dir.path().join("dev");
        fs::create_dir(&dev).unwrap();
        nix::mount::mount(Some("tmpfs"), &dev, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        let (device, number) = (dev.join("fuse"), fs::metadata(FUSE).unwrap().rdev());
        mknod(&device, SFlag::S_IFCHR, Mode::empty(), number).unwrap();
        fs::set_permissions(&device, Permissions::from_mode(mode)).unwrap();
        nix::mount::mount(Some(&device), FUSE, NONE, MsFlags::MS_BIND, NONE).unwrap();
    }

    fn person(&self, uid: u32) -> Person<'_> {
        let home = self.dir.path().canonicalize().unwrap().join(format!("home{uid}"));
        fs::create_dir(&home).unwrap();
        let person = Person { machine: self, uid, home };
        person.own(&person.home);
        for name in ["mnt", "source"] {
            person.own_dir(name);
        }
        person
    }

    /// Its processes: nobody else runs this copy of the program.
    fn processes(&self) -> Vec<Pid> {
        let found = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (fs::read_link(entry.path().join("exe")).ok()? == self.program).then_some(Pid::from_raw(pid))
        });
        found.collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let root = self.dir.path().canonicalize().unwrap();
        if std::thread::panicking() {
            for home in fs::read_dir(&root).unwrap().flatten() {
                let log = fs::read_to_string(home.path().join("cache/daemon/daemon.log")).unwrap_or_default();
                eprintln!("{}:\n{log}", home.path().display());
            }
        }
        for place in mount_points().iter().filter(|place| place.starts_with(&root)) {
            let _ = nix::mount::umount2(place, nix::mount::MntFlags::MNT_DETACH);
        }
        // The next machine of this thread puts others over them.
        for file in [FUSE, "/etc/passwd", CONF] {
            let _ = nix::mount::umount2(file, nix::mount::MntFlags::MNT_DETACH);
        }
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        wait_until("the daemons have ended", || self.processes().is_empty());
    }
}

impl Person<'_> {
    fn own(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.uid)).unwrap();
    }

    fn own_dir(&self, name: &str) -> PathBuf {
        let path = self.home.join(name);
        fs::create_dir(&path).unwrap();
        self.own(&path);
        path
    }

    fn mnt(&self) -> PathBuf {
        self.home.join("mnt")
    }

    /// Any program, as this user.
    fn any(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("ATFS_CONFIG", "")
            .env("ATFS_STATE_DIR", self.home.join("state"))
            .env("ATFS_CACHE_DIR", self.home.join("cache"))
            .env("ATFS_AUTHOR", "Ada <ada@example.org>")
            .current_dir(&self.home)
            .stdin(Stdio::null());
        if self.uid != ROOT {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    fn atfs(&self, args: &[&str]) -> Command {
        let mut command = self.any(&self.machine.program);
        command.args(args);
        command
    }

    /// Root without the right to mount, as in a container that was not given it.
    fn atfs_confined(&self, args: &[&str]) -> Command {
        let mut command = self.any("setpriv");
        command.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"]);
        command.arg(&self.machine.program).args(args);
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        text(&succeeded(self.atfs(args)).stdout)
    }

    /// Commits the source folder as `main`.
    fn add(&self) {
        self.ok(&["add", "repo@main:/", "source", "-m", "test"]);
    }

    /// A repository, with files at every kind of place: in the tree, in slabs, in files of their own.
    fn repository(&self) {
        let source = self.home.join("source");
        fs::create_dir(source.join("sub")).unwrap();
        for (name, len) in [("inline", 100), ("small", 50_000), ("sub/small", 60_000), ("long", 3 << 20)] {
            fs::write(source.join(name), noise(name, len)).unwrap();
        }
        xattr::set(source.join("small"), "user.kind", b"test").unwrap();
        symlink("../small", source.join("sub/link")).unwrap();
        for entry in walkdir::WalkDir::new(&source) {
            std::os::unix::fs::lchown(entry.unwrap().path(), Some(self.uid), Some(self.uid)).unwrap();
        }
        self.ok(&["init", "repo"]);
        self.add();
    }

    /// What stands on the mount is what was committed, as `diff` and `getfattr` see it.
    fn sees_the_source(&self) {
        let shown = self.mnt().join("source");
        succeeded({
            let mut diff = self.any("diff");
            diff.arg("-r").arg(self.home.join("source")).arg(&shown);
            diff
        });
        let attributes = |path: &Path| {
            let mut command = self.any("getfattr");
            command.args(["--absolute-names", "--only-values", "-n", "user.kind"]).arg(path);
            succeeded(command).stdout
        };
        assert_eq!(attributes(&shown.join("small")), b"test");
        let mut link = self.any("readlink");
        link.arg(shown.join("sub/link"));
        assert_eq!(text(&succeeded(link).stdout), "../small\n");
    }

    fn counter(&self, name: &str) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.ok(&["stats", "mnt", "--json"])).unwrap();
        stats[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    fn is_mounted(&self) -> bool {
        mount_points().contains(&self.mnt())
    }

    /// Whether `cat` may read the file.
    fn may_read(&self, path: &Path) -> bool {
        let mut command = self.any("cat");
        let output = command.arg(path).output().unwrap();
        let refused = text(&output.stderr).contains("Permission denied");
        assert!(output.status.success() != refused, "{output:?}");
        !refused
    }
}

/// What is mounted in this thread's namespace, without names that need escapes.
fn mount_points() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table.lines().filter_map(|line| Some(line.split(' ').nth(4)?.into())).collect()
}

fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key(seed).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// Standard error of a command that must fail with exit code 1.
fn failed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
    text(&output.stderr)
}

/// Waits for something that has no event, at most 30 s.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn has_helper(person: &Person<'_>) -> bool {
    let found = person.any("fusermount3").arg("--version").output();
    let there = found.is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: no fusermount3");
    }
    there
}

#[test]
fn an_ordinary_user_mounts_through_the_helper() {
    let Some(machine) = machine() else { return };
    let (user, other) = (machine.person(machine.uids[0]), machine.person(machine.uids[1]));
    if !has_helper(&user) {
        return;
    }
    user.repository();
    let doctor = user.ok(&["doctor"]);
    assert!(doctor.contains("through ") && doctor.contains("fusermount3 (no CAP_SYS_ADMIN)"), "{doctor}");
    let file = user.mnt().join("source/small");
    for profile in ["bulk", "smallfiles", "auto"] {
        user.ok(&["mount", "repo@main", "mnt", "--profile", profile]);
        for _ in 0..3 {
            user.sees_the_source();
        }
        // The kernel gives that way to nobody without CAP_SYS_ADMIN.
        assert_eq!(user.counter("opens_passthrough"), 0, "{profile}");
        assert_eq!(user.counter("errors"), 0, "{profile}");
        // Closed to everybody else, root included.
        assert!(user.may_read(&file) && !other.may_read(&file));
        assert_eq!(fs::read_dir(user.mnt()).unwrap_err().kind(), ErrorKind::PermissionDenied);
        user.ok(&["umount", "mnt"]);
        assert!(!user.is_mounted());
    }
    // The cache is his own.
    let cache = fs::metadata(user.home.join("cache")).unwrap();
    assert_eq!((cache.uid(), cache.mode() & 0o777), (user.uid, 0o700));

    user.ok(&["mount", "repo@main", "mnt", "--follow=1"]);
    let new = user.home.join("source/new");
    fs::write(&new, "new").unwrap();
    user.own(&new);
    user.add();
    wait_until("the mount has moved with its branch", || {
        user.any("cat").arg(user.mnt().join("source/new")).output().unwrap().stdout == b"new"
    });
    user.sees_the_source();
    user.ok(&["umount", "mnt"]);

    // The whole repository, and a daemon that is killed: the next mount works, and unmounting does without one.
    user.ok(&["mount", "repo", "mnt"]);
    assert!(user.may_read(&user.mnt().join("repo@main/source/small")));
    machine.processes().into_iter().for_each(|pid| kill(pid, Signal::SIGKILL).unwrap());
    wait_until("the daemon has ended", || machine.processes().is_empty());
    user.ok(&["umount", "mnt"]);
    assert!(!user.is_mounted());
    user.ok(&["mount", "repo@main", "mnt"]);
    user.sees_the_source();
}

#[test]
fn without_the_helper_an_ordinary_user_is_told_what_is_missing() {
    let Some(machine) = machine() else { return };
    let user = machine.person(machine.uids[0]);
    user.repository();
    let mut command = user.atfs(&["mount", "repo@main", "mnt"]);
    command.env("PATH", user.home.join("source"));
    let mnt = user.mnt();
    assert_eq!(
        failed(command),
        format!(
            "error: mounting on {} is not permitted: it needs root (CAP_SYS_ADMIN) or the program fusermount3\n\
             hint: `apt install fuse3`, or mount as root; `atfs doctor` tests both\n",
            mnt.display()
        )
    );
    assert!(!user.is_mounted());
    // What needs no mount works.
    assert_eq!(user.ok(&["cat", "repo@main:source/inline"]).len(), text(&noise("inline", 100)).len());
}

#[test]
fn a_device_that_is_closed_to_users_is_named() {
    let Some(machine) = machine_with(0o600, "") else { return };
    let user = machine.person(machine.uids[0]);
    if !has_helper(&user) {
        return;
    }
    user.repository();
    let said = failed(user.atfs(&["mount", "repo@main", "mnt"]));
    assert!(said.contains("/dev/fuse") && said.contains("hint: `chmod 666 /dev/fuse` as root"), "{said}");
    let doctor = user.atfs(&["doctor"]).output().unwrap();
    assert!(doctor.status.code() == Some(3) && text(&doctor.stdout).contains("(mode 600)"), "{doctor:?}");
}

#[test]
fn a_uid_without_a_name_is_told_what_it_needs() {
    let Some(machine) = machine() else { return };
    let user = machine.person(machine.uids[2]);
    if !has_helper(&user) {
        return;
    }
    user.repository();
    // Some versions of the helper do not mind.
    let mounted = user.atfs(&["mount", "repo@main", "mnt"]).output().unwrap();
    if !mounted.status.success() {
        let said = text(&mounted.stderr);
        assert!(said.contains("hint: fusermount3 serves users that have a name"), "{said}");
        assert!(!user.is_mounted());
    }
}

#[test]
fn an_ordinary_user_may_let_others_in_only_where_the_machine_says_so() {
    for allowed in [false, true] {
        let Some(machine) = machine_with(0o666, if allowed { "user_allow_other\n" } else { "" }) else {
            return;
        };
        let (user, other) = (machine.person(machine.uids[0]), machine.person(machine.uids[1]));
        if !has_helper(&user) || !Path::new(CONF).exists() {
            return;
        }
        user.repository();
        let command = user.atfs(&["mount", "repo@main", "mnt", "--allow-other"]);
        let others = user.ok(&["doctor"]).contains("can be let in with --allow-other");
        assert_eq!(others, allowed);
        if allowed {
            succeeded(command);
            assert!(other.may_read(&user.mnt().join("source/small")));
            continue;
        }
        let said = failed(command);
        assert!(
            said.starts_with("error: fusermount3 could not handle ") && said.contains("allow_other"),
            "{said}"
        );
        assert!(
            said.ends_with("hint: add the line `user_allow_other` to /etc/fuse.conf, or mount as root\n"),
            "{said}"
        );
        assert!(!user.is_mounted());
    }
}

#[test]
fn others_read_what_modes_permit_and_nothing_when_they_are_not_let_in() {
    let Some(machine) = machine() else { return };
    let (root, user, other) =
        (machine.person(ROOT), machine.person(machine.uids[0]), machine.person(machine.uids[1]));
    let source = root.home.join("source");
    let file = |name: &str, uid: u32, mode: u32| {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, noise(name, 20_000)).unwrap();
        chown(&path, Some(uid), Some(uid)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    file("all", ROOT, 0o644);
    file("of_root", ROOT, 0o600);
    file("of_user", user.uid, 0o600);
    file("closed/all", ROOT, 0o644);
    fs::set_permissions(source.join("closed"), Permissions::from_mode(0o700)).unwrap();
    root.ok(&["init", "repo"]);
    root.add();
    let shown = root.mnt().join("source");
    // Who may read which of `all`, `of_root`, `of_user`, `closed/all`.
    let seen = |person: &Person<'_>| {
        ["all", "of_root", "of_user", "closed/all"].map(|name| person.may_read(&shown.join(name)))
    };
    for profile in ["bulk", "smallfiles"] {
        root.ok(&["mount", "repo@main", "mnt", "--allow-other", "--profile", profile]);
        assert_eq!(seen(&root), [true, true, true, true]);
        assert_eq!(seen(&user), [true, false, true, false], "{profile}");
        assert_eq!(seen(&other), [true, false, false, false], "{profile}");
        root.ok(&["umount", "mnt"]);
    }
    // As whom it is shown decides, not as whom it was committed.
    let uid = other.uid.to_string();
    root.ok(&["mount", "repo@main", "mnt", "--allow-other", "--uid", &uid, "--gid", &uid]);
    assert_eq!(seen(&other), [true, true, true, true]);
    assert_eq!(seen(&user), [true, false, false, false]);
    root.ok(&["umount", "mnt"]);
    root.ok(&["mount", "repo@main", "mnt"]);
    assert_eq!(seen(&root), [true, true, true, true]);
    for person in [&user, &other] {
        assert_eq!(seen(person), [false, false, false, false]);
    }
}

/// A daemon in the foreground that ends with this.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_container_without_the_right_to_mount_is_told_so_and_may_still_serve() {
    let Some(machine) = machine() else { return };
    let root = machine.person(ROOT);
    if !root.any("setpriv").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no setpriv");
        return;
    }
    root.repository();
    let mut daemon = root.atfs_confined(&["daemon", "--service"]);
    let _daemon = Daemon(daemon.spawn().unwrap());
    // Asked as clients ask: a command that opened the cache itself would be in the daemon's way.
    let cache = root.home.join("cache");
    wait_until("the daemon listens", || client::running(&cache).is_ok_and(|running| running.is_some()));
    let said = failed(root.atfs_confined(&["mount", "repo@main", "mnt"]));
    assert!(said.contains("not permitted") && said.contains("--cap-add SYS_ADMIN"), "{said}");
    assert!(!root.is_mounted());
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    let doctor = root.atfs_confined(&["doctor"]).output().unwrap();
    let told = text(&doctor.stdout);
    assert!(doctor.status.code() == Some(3) && told.contains("no right to mount"), "{doctor:?}");
    assert!(told.contains("--cap-add SYS_ADMIN") && told.contains("no kernel passthrough"), "{told}");

    // What is mounted from outside is served all the same, through the daemon.
    root.ok(&["mount", "repo@main", "mnt", "--profile", "bulk"]);
    for _ in 0..3 {
        root.sees_the_source();
    }
    assert_eq!((root.counter("opens_passthrough"), root.counter("errors")), (0, 0));
    assert!(root.counter("opens_cached") >= 3);
    root.ok(&["umount", "mnt"]);
}
