//! Mounts as service managers, mount(8) and fstab make them.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use mount_common::{Fixture, alive, signal};
use nix::sys::signal::Signal;

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fs::write(fixture.source().join("file"), "content").unwrap();
    fixture.commit("work");
    fixture
}

fn atfs(fixture: &Fixture) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atfs"));
    command
        .env("ATFS_CACHE_DIR", fixture.cache_dir())
        .env("ATFS_STATE_DIR", fixture.path("state"))
        .env("ATFS_CONFIG", "")
        .stdin(Stdio::null());
    command
}

/// A process that a service manager starts, and what it tells it.
struct Service {
    child: Option<Child>,
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Service {
    fn start(fixture: &Fixture, name: &str, arguments: &[&str]) -> Self {
        let path = fixture.path(&format!("notify-{name}"));
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let child = atfs(fixture)
            .args(arguments)
            .env("NOTIFY_SOCKET", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child: Some(child), socket, said: Vec::new() }
    }

    /// Waits until it has said a line.
    fn wait_for(&mut self, line: &str) {
        let mut buffer = [0; 4096];
        while !self.said.iter().any(|said| said == line) {
            let len =
                self.socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{line}: {e}: {:?}", self.said));
            self.said.extend(std::str::from_utf8(&buffer[..len]).unwrap().lines().map(str::to_owned));
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn end(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_mount_as_a_service_is_ready_when_it_answers_and_unmounts_when_it_is_stopped() {
    let fixture = fixture();
    let mut daemon = Service::start(&fixture, "daemon", &["daemon", "--service"]);
    daemon.wait_for("READY=1");
    let address = format!("{}@work", fixture.url());
    let mnt = fixture.mount_point();
    let place = mnt.to_str().unwrap();
    let arguments = ["mount", "--wait", "-o", "defaults", &address, place];
    let mut mount = Service::start(&fixture, "mount", &arguments);
    mount.wait_for("READY=1");
    assert_eq!(fs::read(mnt.join("file")).unwrap(), b"content");
    assert_eq!(fixture.daemon(), Some(daemon.pid()), "it is the shared daemon that serves");
    // Stopped while a program has a file open: it waits for it, then goes.
    let open = fs::File::open(mnt.join("file")).unwrap();
    signal(mount.pid(), Signal::SIGTERM);
    mount.wait_for("STOPPING=1");
    drop(open);
    let ended = mount.end();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!mnt.join("file").exists());
    assert!(alive(daemon.pid()), "the daemon stays without mounts");

    // Somebody else unmounts: that is no failure.
    let mut mount = Service::start(&fixture, "mount", &arguments);
    mount.wait_for("READY=1");
    fixture.unmount();
    assert!(mount.end().status.success());

    // The daemon dies: that is one, and the next start makes the mount anew.
    let mut mount = Service::start(&fixture, "mount", &arguments);
    mount.wait_for("READY=1");
    signal(daemon.pid(), Signal::SIGKILL);
    let ended = mount.end();
    assert_eq!(ended.status.code(), Some(1));
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(text.contains("the daemon that served") && text.contains("is gone"), "{text}");
    let mut mount = Service::start(&fixture, "mount", &arguments);
    mount.wait_for("READY=1");
    assert_eq!(fs::read(mnt.join("file")).unwrap(), b"content");
    signal(mount.pid(), Signal::SIGTERM);
    assert!(mount.end().status.success());
}

#[test]
fn a_daemon_that_is_stopped_takes_its_mounts_away() {
    let fixture = fixture();
    let mut daemon = Service::start(&fixture, "daemon", &["daemon", "--service"]);
    daemon.wait_for("READY=1");
    let mnt = fixture.mount(Some("work"));
    signal(daemon.pid(), Signal::SIGTERM);
    assert!(daemon.end().status.success());
    assert!(!mnt.join("file").exists());
}

/// `mount -t atfs`, as fstab does it: mount(8) looks for its helper in /sbin only, so this runs in a mount namespace where
/// /usr/sbin has one more program.
#[test]
fn mount_8_mounts_it_by_type() {
    let fixture = fixture();
    let layers = fixture.path("layers");
    for name in ["upper", "work", "lower"] {
        fs::create_dir_all(layers.join(name)).unwrap();
    }
    let script = format!(
        "set -e
         mount -t tmpfs atfs-test {layers}/upper
         mkdir {layers}/upper/upper {layers}/upper/work
         mount -t overlay atfs-test -o lowerdir=/usr/sbin,upperdir={layers}/upper/upper,workdir={layers}/upper/work /usr/sbin
         ln -s {program} /usr/sbin/mount.atfs
         mount -t atfs -o _netdev,x-systemd.automount,profile=bulk {url}@work {mnt}
         cat {mnt}/file
         grep ' {mnt} ' /proc/self/mountinfo
         umount {mnt}
         echo '{url}@work {mnt} atfs noauto,follow=5,nofail 0 0' >{layers}/fstab
         ! mount -t atfs {url}@nowhere {mnt} || exit 7
         mount --fstab {layers}/fstab {mnt}
         cat {mnt}/.atfs/ref
         umount {mnt}",
        layers = layers.display(),
        program = env!("CARGO_BIN_EXE_atfs"),
        url = fixture.url(),
        mnt = fixture.mount_point().display(),
    );
    // The branch is `work`, which --follow needs.
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .env("ATFS_CACHE_DIR", fixture.cache_dir())
        .env("ATFS_STATE_DIR", fixture.path("state"))
        .env("ATFS_CONFIG", "")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{}", fixture.log());
    assert!(out.starts_with("content"), "{out}");
    assert!(out.contains(" fuse.atfs ") && out.contains("ro,nosuid,nodev"), "{out}");
    assert!(out.ends_with("work\n"), "{out}");
    assert!(err.contains("nowhere"), "a mount that fails says why: {err}");
}

#[test]
fn the_units_are_what_systemd_understands() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: systemd units: there is no systemd-analyze");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(units).unwrap() {
        let entry = entry.unwrap();
        // It looks for the program, which is not installed here.
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = text.replace("/usr/bin/atfs", env!("CARGO_BIN_EXE_atfs"));
        let text: String =
            text.lines().filter(|l| !l.starts_with("Documentation=")).map(|l| format!("{l}\n")).collect();
        let path = dir.path().join(entry.file_name());
        fs::write(&path, text).unwrap();
        paths.push(path);
    }
    assert_eq!(paths.len(), 2);
    // A template is looked at as an instance of it.
    let instance = dir.path().join("atfs@slides.service");
    fs::copy(dir.path().join("atfs@.service"), &instance).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no"])
        .arg(dir.path().join("atfs-daemon.service"))
        .arg(&instance)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("atfs")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
