//! Kernel, FUSE, rights, limits.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use super::super::app::App;
use super::{Check, memory};

const TOPIC: &str = "machine";

/// The first kernel with FUSE passthrough, and with requests that a new server gets again after the old one died.
const PASSTHROUGH: (u32, u32) = (6, 9);

/// The oldest kernel that we know to serve mounts well: READDIRPLUS, cached directories, big requests.
const OLDEST: (u32, u32) = (5, 4);

/// `CAP_SYS_ADMIN` in a capability set.
const SYS_ADMIN: u64 = 1 << 21;

/// Descriptors that a busy mount may need: one per open file, two per connection and cache file.
const DESCRIPTORS: u64 = 65_536;

/// Looks at the machine.
pub(super) fn check(app: &App, checks: &mut Vec<Check>) {
    let kernel = read("/proc/sys/kernel/osrelease");
    let version = kernel_version(&kernel);
    let rights = Rights::of(&read("/proc/self/status"));
    checks.push(kernel_check(&kernel, version));
    let helper = find("fusermount3", app.around.variable("PATH").map(AsRef::as_ref));
    checks.push(fuse_device(Path::new("/dev/fuse")));
    checks.push(mounting(&rights, helper.as_deref()));
    checks.push(letting_in(rights.admin, &read("/etc/fuse.conf")));
    checks.push(passthrough(version, rights.admin));
    checks.push(descriptors(getrlimit(Resource::RLIMIT_NOFILE).ok()));
    checks.push(memory::check());
}

/// What this process, and a helper that is set to run as root, may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rights {
    /// It has `CAP_SYS_ADMIN`.
    admin: bool,
    /// A program that is set to run as root would get it.
    by_helper: bool,
}

impl Rights {
    /// From `/proc/self/status`.
    fn of(status: &str) -> Self {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let has = |name: &str| {
            let set = field(name).and_then(|text| u64::from_str_radix(text, 16).ok());
            set.is_some_and(|set| set & SYS_ADMIN != 0)
        };
        let gains = field("NoNewPrivs:") != Some("1");
        Self { admin: has("CapEff:"), by_helper: has("CapBnd:") && gains }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel_check(release: &str, version: Option<(u32, u32)>) -> Check {
    match version {
        Some(version) if version >= OLDEST => Check::ok(TOPIC, "kernel", format!("Linux {release}")),
        Some(_) => {
            Check::warn(TOPIC, "kernel", format!("Linux {release} is old"), "Linux 5.4 or later; best 6.9")
        }
        None => {
            Check::warn(TOPIC, "kernel", "the version of the kernel is unknown", "atfs mounts on Linux only")
        }
    }
}

fn fuse_device(device: &Path) -> Check {
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Check::ok(TOPIC, "fuse", format!("{} can be opened", device.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Check::fail(
            TOPIC,
            "fuse",
            format!("{} does not exist: nothing can be mounted", device.display()),
            "`modprobe fuse`; in a container: `--device /dev/fuse --cap-add SYS_ADMIN`",
        ),
        Err(error) => {
            let mode = std::fs::metadata(device).map(|m| m.permissions().mode() & 0o777).unwrap_or(0);
            Check::fail(
                TOPIC,
                "fuse",
                format!("{} cannot be opened (mode {mode:03o}): {error}", device.display()),
                "usually its mode is 666: `chmod 666 /dev/fuse`, or join its group",
            )
        }
    }
}

fn mounting(rights: &Rights, helper: Option<&Path>) -> Check {
    match (rights, helper) {
        (Rights { admin: true, .. }, _) => {
            Check::ok(TOPIC, "mounting", "this process may mount by itself (CAP_SYS_ADMIN)")
        }
        (Rights { by_helper: false, .. }, _) => Check::fail(
            TOPIC,
            "mounting",
            "no right to mount (CAP_SYS_ADMIN), and no program that could be given it: a container",
            "start the container with `--cap-add SYS_ADMIN --device /dev/fuse`, or mount outside of it",
        ),
        (_, Some(path)) if !runs_as_root(path) => Check::fail(
            TOPIC,
            "mounting",
            format!("no right to mount (CAP_SYS_ADMIN), and {} is not set to run as root", path.display()),
            format!("`chown root {0} && chmod 4755 {0}` as root, or install fuse3 anew", path.display()),
        ),
        (_, Some(path)) => {
            Check::ok(TOPIC, "mounting", format!("through {} (no CAP_SYS_ADMIN)", path.display()))
        }
        (_, None) => Check::fail(
            TOPIC,
            "mounting",
            "no right to mount (CAP_SYS_ADMIN) and no fusermount3 that would do it",
            "`apt install fuse3` (or `dnf install fuse3`), or run as root",
        ),
    }
}

fn runs_as_root(program: &Path) -> bool {
    program.metadata().is_ok_and(|meta| meta.uid() == 0 && meta.permissions().mode() & 0o4000 != 0)
}

/// Whether `--allow-other` is for this user.
fn letting_in(admin: bool, conf: &str) -> Check {
    let allowed = conf.lines().any(|line| line.trim() == "user_allow_other");
    match admin || allowed {
        true => Check::ok(TOPIC, "other users", "can be let in with --allow-other"),
        false => Check {
            remedy: Some("should they be: add the line `user_allow_other` to /etc/fuse.conf".into()),
            ..Check::ok(TOPIC, "other users", "cannot be let into mounts of this user")
        },
    }
}

fn passthrough(version: Option<(u32, u32)>, admin: bool) -> Check {
    let why = match (version.is_some_and(|version| version >= PASSTHROUGH), admin) {
        (true, true) => {
            return Check::ok(
                TOPIC,
                "passthrough",
                "cached files are read at the speed of the disk, past the daemon",
            );
        }
        (false, true) => "the kernel is older than 6.9",
        (true, false) => "it needs root (CAP_SYS_ADMIN)",
        (false, false) => "it needs Linux 6.9 and root (CAP_SYS_ADMIN)",
    };
    Check::warn(
        TOPIC,
        "passthrough",
        format!("no kernel passthrough: {why}; the daemon serves cached files itself, some slower"),
        "for the fastest warm reads mount as root on Linux 6.9 or later",
    )
}

fn descriptors(limits: Option<(u64, u64)>) -> Check {
    match limits {
        Some((_, hard)) if hard >= DESCRIPTORS => {
            Check::ok(TOPIC, "open files", format!("up to {hard} at once"))
        }
        Some((_, hard)) => Check::warn(
            TOPIC,
            "open files",
            format!("at most {hard} at once; a busy mount may need {DESCRIPTORS}"),
            "raise the hard limit: `nofile` in /etc/security/limits.conf, `LimitNOFILE=` in a unit",
        ),
        None => Check::warn(TOPIC, "open files", "the limit is unknown", "`ulimit -Hn` shows it"),
    }
}

/// A program on the `PATH`.
fn find(program: &str, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let candidates = std::env::split_paths(path?).map(|dir| dir.join(program));
    candidates.into_iter().find(|file| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn kernels_and_rights() {
        assert_eq!(kernel_version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(kernel_version("5.10.0-30-amd64"), Some((5, 10)));
        assert_eq!(kernel_version(""), None);
        assert_eq!(kernel_check("4.19.0", Some((4, 19))).state, State::Warn);
        assert_eq!(passthrough(Some((6, 9)), true).state, State::Ok);
        assert!(passthrough(Some((6, 8)), true).finding.contains("older than 6.9"));
        assert!(passthrough(Some((6, 9)), false).finding.contains("needs root"));
        let status = "Name:\tatfs\nNoNewPrivs:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        assert_eq!(Rights::of(status), Rights { admin: true, by_helper: false });
        let user = "CapEff:\t0\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t0\n";
        assert_eq!(Rights::of(user), Rights { admin: false, by_helper: true });
        assert_eq!(
            Rights::of(&user.replace("Privs:\t0", "Privs:\t1")),
            Rights { admin: false, by_helper: false }
        );
        assert_eq!(Rights::of(""), Rights { admin: false, by_helper: false });
    }

    #[test]
    fn who_may_mount_and_let_others_in() {
        let dir = tempfile::tempdir().expect("a folder");
        let helper = dir.path().join("fusermount3");
        std::fs::write(&helper, "").expect("written");
        let user = Rights { admin: false, by_helper: true };
        let said = |rights: &Rights, helper: Option<&Path>| {
            let check = mounting(rights, helper);
            (check.state, check.remedy.unwrap_or_default())
        };
        assert!(said(&user, None).1.contains("apt install fuse3"));
        // Not set to run as root, whoever owns it.
        let (state, remedy) = said(&user, Some(&helper));
        assert!(state == State::Fail && remedy.contains("chmod 4755"), "{remedy}");
        let (state, remedy) = said(&Rights { by_helper: false, ..user }, Some(&helper));
        assert!(state == State::Fail && remedy.contains("--cap-add SYS_ADMIN"), "{remedy}");
        assert_eq!(said(&Rights { admin: true, by_helper: false }, None), (State::Ok, String::new()));

        assert!(letting_in(false, "# comment\n#user_allow_other\n").remedy.is_some());
        assert!(letting_in(false, "mount_max = 9\n user_allow_other \n").remedy.is_none());
        assert!(letting_in(true, "").remedy.is_none());
    }

    #[test]
    fn a_missing_device_and_a_small_limit() {
        let check = fuse_device(Path::new("/nonexistent/fuse"));
        assert_eq!(check.state, State::Fail);
        assert!(check.remedy.is_some_and(|r| r.contains("modprobe fuse")));
        assert_eq!(descriptors(Some((1024, 4096))).state, State::Warn);
        assert_eq!(descriptors(Some((1024, 1 << 20))).state, State::Ok);
    }

    #[test]
    fn programs_are_found_where_the_path_says() {
        assert_eq!(find("sh", Some("/nonexistent:/bin".as_ref())), Some("/bin/sh".into()));
        assert_eq!(find("sh", Some("/nonexistent".as_ref())), None);
        assert_eq!(find("sh", None), None);
    }
}
