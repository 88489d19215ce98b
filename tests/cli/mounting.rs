//! `atfs mount` and `atfs umount` where something stands in the way, and what a whole repository's directories are called.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::machine::{Machine, Ran, can_mount};

/// A repository with one file, and an empty directory to mount it on.
fn ready() -> Machine {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    machine.write("a.txt", b"hello\n");
    machine.ok(&["add", "DIR/r", "DIR/a.txt"]);
    std::fs::create_dir(machine.path("mnt")).unwrap();
    machine
}

#[test]
fn mount_points_that_cannot_be_used() {
    let machine = ready();
    assert_eq!(
        machine.fails(1, &["mount", "DIR/r@main", "DIR/none"]),
        "error: the mount point DIR/none does not exist\nhint: `mkdir -p DIR/none`\n"
    );
    assert_eq!(
        machine.fails(1, &["mount", "DIR/r@main", "DIR/a.txt"]),
        "error: the mount point DIR/a.txt is not a directory\nhint: a mount needs a directory\n"
    );
    machine.write("mnt/precious", b"x");
    assert_eq!(
        machine.fails(1, &["mount", "DIR/r@main", "DIR/mnt"]),
        "error: the mount point DIR/mnt is not empty: it holds \"precious\"\n\
         hint: choose an empty directory, or hide its files while mounted with --nonempty\n"
    );
    if !can_mount() {
        return;
    }
    machine.ok(&["mount", "DIR/r@main", "DIR/mnt", "--nonempty"]);
    assert_eq!(std::fs::read(machine.path("mnt/a.txt")).unwrap(), b"hello\n");
    assert_eq!(
        machine.fails(1, &["mount", "DIR/r@main", "DIR/mnt", "--nonempty"]),
        "error: DIR/r@main (fuse.atfs) is already mounted on DIR/mnt\nhint: `atfs umount DIR/mnt` first\n"
    );
    machine.ok(&["umount", "DIR/mnt"]);
    assert!(machine.path("mnt/precious").exists());
}

/// Runs the program where /dev holds only what `keep` says, in a mount namespace of its own; `None` where this machine
/// does not allow one.
fn without_devices(machine: &Machine, args: &[&str]) -> Option<Ran> {
    let dev = machine.path("dev");
    std::fs::create_dir_all(&dev).unwrap();
    std::fs::write(dev.join("null"), b"").unwrap();
    let inner = machine.command(args);
    let mut command = Command::new("unshare");
    command.args(if nix::unistd::geteuid().is_root() { &["-m"][..] } else { &["-rm"] });
    command.args([
        "sh",
        "-c",
        "mount --bind /dev/null \"$0/null\" && mount --rbind \"$0\" /dev && exec \"$@\"",
    ]);
    command.arg(&dev).arg(inner.get_program()).args(inner.get_args()).env_clear().current_dir(machine.root());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let allowed = Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no mount namespaces here");
        return None;
    }
    Some(machine.finish(command))
}

#[test]
fn a_machine_without_fuse() {
    let machine = ready();
    let Some(ran) = without_devices(&machine, &["mount", "DIR/r@main", "DIR/mnt"]) else { return };
    assert_eq!(
        (ran.code, &*ran.err),
        (
            1,
            "error: /dev/fuse does not exist: this kernel or container has no FUSE\n\
             hint: `modprobe fuse`; in a container: `--device /dev/fuse --cap-add SYS_ADMIN`; `atfs doctor` tests it\n"
        )
    );
    let ran = without_devices(&machine, &["doctor"]).unwrap();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.out.contains("FAIL  fuse          /dev/fuse does not exist: nothing can be mounted"),
        "{ran:?}"
    );
    // What needs no mount works.
    let ran = without_devices(&machine, &["cat", "DIR/r@main:a.txt"]).unwrap();
    assert_eq!((ran.code, &*ran.out), (0, "hello\n"));
}

#[test]
fn a_busy_mount_is_waited_for_as_long_as_asked() {
    if !can_mount() {
        return;
    }
    let machine = ready();
    machine.ok(&["mount", "DIR/r@main", "DIR/mnt"]);
    let held = std::fs::File::open(machine.path("mnt/a.txt")).unwrap();
    let busy = format!("(pid {})", std::process::id());
    for args in [&["umount", "DIR/mnt"][..], &["umount", "DIR/mnt", "--timeout", "0.3"]] {
        let err = machine.fails(1, args);
        assert!(err.contains("error: DIR/mnt is busy: in use by ") && err.contains(&busy), "{err}");
        assert!(
            err.ends_with(
                "\nhint: end those programs, wait for them with `atfs umount --timeout 60 DIR/mnt`, or `atfs umount --lazy \
                 DIR/mnt`\n"
            ),
            "{err}"
        );
    }
    // Once it says that it waits, the last user goes.
    let mut waiting = machine.command(&["umount", "DIR/mnt", "--timeout", "60"]);
    let mut waiting = waiting.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert!(
        line.contains("is busy") && line.contains(&busy) && line.contains("waiting up to 60 s"),
        "{line}"
    );
    drop(held);
    assert!(waiting.wait().unwrap().success());
    assert!(!machine.path("mnt/a.txt").exists());
    let err = machine.fails(2, &["umount", "DIR/mnt", "--timeout=-1"]);
    assert!(err.contains("write a number of seconds, from 0 to 86400"), "{err}");
    assert_eq!(machine.run(&["umount", "DIR/mnt", "--lazy", "--timeout", "3"]).code, 2);
}

#[test]
fn lazily_a_mount_goes_while_it_is_used() {
    use std::io::Read;
    if !can_mount() {
        return;
    }
    let machine = ready();
    machine.ok(&["mount", "DIR/r@main", "DIR/mnt"]);
    let mut held = std::fs::File::open(machine.path("mnt/a.txt")).unwrap();
    machine.ok(&["umount", "-l", "DIR/mnt"]);
    assert!(!machine.path("mnt/a.txt").exists());
    let mut text = String::new();
    held.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
}

#[test]
fn a_repository_may_have_a_name_of_its_own() {
    let machine = Machine::new();
    let ran = machine.run(&["init", "DIR/bucket-7f3a", "--name", "slides"]);
    assert_eq!(
        (ran.code, ran.err.lines().next().unwrap()),
        (0, "repository slides made in DIR/bucket-7f3a, with the empty branch main")
    );
    let json = machine.ok(&["init", "DIR/other", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["name"], "other", "without a name, the last part of the address");
    let err = machine.fails(2, &["init", "DIR/third", "--name", "../x"]);
    assert!(err.contains("\"../x\" cannot name a repository: write 1 to 100 letters"), "{err}");
    assert!(!machine.path("third").exists());
    let err = machine.fails(1, &["init", "DIR/bucket-7f3a", "--name", "else"]);
    assert!(err.starts_with("error: DIR/bucket-7f3a already holds an atfs repository\n"), "{err}");
    if !can_mount() {
        return;
    }
    for (repository, directory) in [("DIR/bucket-7f3a", "slides@main"), ("DIR/other", "other@main")] {
        let place = machine.path("mnt");
        std::fs::create_dir_all(&place).unwrap();
        machine.ok(&["mount", repository, "DIR/mnt"]);
        let listed: Vec<_> = place.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(listed, [directory]);
        assert!(place.join(directory).is_dir());
        machine.ok(&["umount", "DIR/mnt"]);
    }
}
