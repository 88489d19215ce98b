//! Each mistake gets one error that names the thing, the cause and the next command; no mistake ends in a panic.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::machine::Machine;

#[test]
fn addresses() {
    let machine = Machine::new();
    for (address, reason) in [
        ("s3://B/x", "\"B\" is not a bucket name"),
        ("http://x/y", "the scheme of \"http://x/y\" is not supported: use s3://bucket/prefix"),
        ("@main", "names no repository"),
        ("/r@", "is not a revision"),
        ("/r@main~x", "is not a revision"),
        ("/r@main:a/../b", "has a component `.` or `..`"),
    ] {
        let err = machine.fails(2, &["ls", address]);
        assert!(err.starts_with("error: invalid value"), "{err}");
        assert!(err.contains(reason), "{address}: {err}");
    }
    let err = machine.fails(2, &["init", "/srv/r@main"]);
    assert!(err.contains("only the repository is meant here: /srv/r"), "{err}");
}

#[test]
fn repositories() {
    let machine = Machine::new();
    assert_eq!(
        machine.fails(1, &["log", "DIR/none"]),
        "error: DIR/none: the folder does not exist\n\
         hint: check the path; `atfs init DIR/none` makes a repository there\n"
    );
    std::fs::create_dir(machine.path("empty")).unwrap();
    assert_eq!(
        machine.fails(1, &["ls", "DIR/empty"]),
        "error: DIR/empty is not an atfs repository: it has no format.json\n\
         hint: check the address; `atfs init DIR/empty` makes a repository there\n"
    );
    machine.write("full/file", b"x");
    assert_eq!(
        machine.fails(1, &["init", "DIR/full"]),
        "error: DIR/full is not empty (it holds file): a repository needs a folder of its own\n\
         hint: `atfs init DIR/full/atfs`\n"
    );
    machine.ok(&["init", "DIR/r"]);
    assert_eq!(
        machine.fails(1, &["init", "DIR/r"]),
        "error: DIR/r already holds an atfs repository\nhint: `atfs branch DIR/r list` shows what is in it\n"
    );
    machine.write("r/format.json", b"{\"version\":");
    let err = machine.fails(1, &["log", "DIR/r"]);
    assert!(err.starts_with("error: format.json in DIR/r is damaged: "), "{err}");
}

#[test]
fn names_and_revisions() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    assert_eq!(
        machine.fails(1, &["ls", "DIR/r@mian"]),
        "error: mian names no branch, tag or commit of DIR/r\n\
         hint: `atfs branch DIR/r list` and `atfs tag DIR/r list` show what there is\n"
    );
    let err = machine.fails(1, &["log", "DIR/r@main~1"]);
    assert!(err.contains("is the first commit"), "{err}");
    assert!(
        machine.fails(2, &["branch", "DIR/r", "create", "a b"]).contains("it holds one of @ : ~"),
        "space"
    );
    machine.ok(&["tag", "DIR/r", "create", "v1"]);
    let err = machine.fails(1, &["tag", "DIR/r", "create", "v1"]);
    assert!(err.starts_with("error: tag v1 already exists in DIR/r\nhint: choose another name"), "{err}");
    let err = machine.fails(1, &["branch", "DIR/r", "delete", "v1"]);
    assert!(
        err.starts_with("error: branch v1 does not exist in DIR/r\nhint: `atfs branch DIR/r list`"),
        "{err}"
    );
    assert_eq!(
        machine.fails(1, &["stat", "DIR/r@main:a/b"]),
        "error: a/b does not exist in main\nhint: `atfs ls DIR/r@main:a` shows what there is\n"
    );
    let long = "x".repeat(256);
    assert!(machine.fails(2, &["ls", &format!("DIR/r@main:{long}")]).contains("at most 255 are possible"));
    let deep = "x/".repeat(2048);
    assert!(machine.fails(2, &["ls", &format!("DIR/r@main:{deep}y")]).contains("at most 4095 are possible"));
}

#[test]
fn settings() {
    let machine = Machine::new();
    let file = machine.write("c.toml", b"cache_sise = \"1G\"\n");
    let mut command = machine.command(&["mounts"]);
    command.env("ATFS_CONFIG", file);
    let ran = machine.finish(command);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.starts_with("error: DIR/c.toml: unknown setting \"cache_sise\"\nhint: the settings are"),
        "{ran:?}"
    );
    let mut command = machine.command(&["log", "DIR/r"]);
    command.env("ATFS_ENDPOINT_URL", "localhost:9000");
    let ran = machine.finish(command);
    assert!(ran.err.contains("endpoint_url (environment ATFS_ENDPOINT_URL)"), "{ran:?}");
}

#[test]
fn mounting() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    assert_eq!(
        machine.fails(1, &["mount", "DIR/r@main", "DIR/none"]),
        "error: the mount point DIR/none does not exist\nhint: `mkdir -p DIR/none`\n"
    );
    let err = machine.fails(1, &["mount", "DIR/r@main", "DIR/r"]);
    assert!(err.starts_with("error: the mount point DIR/r is not empty: it holds "), "{err}");
    let err = machine.fails(2, &["mount", "DIR/r@main", "DIR/home", "--rw"]);
    assert!(
        err.starts_with("error: writable mounts are not there yet\nhint: `atfs add DIR/r@main: FILE"),
        "{err}"
    );
    let err = machine.fails(2, &["mount", "DIR/r@main", "DIR/home", "-o", "colour=red"]);
    assert!(err.starts_with("error: -o colour: no such option"), "{err}");
    assert_eq!(
        machine.fails(1, &["umount", "DIR/home"]),
        "error: no atfs is mounted on DIR/home\nhint: `atfs mounts` shows what is mounted\n"
    );
}

#[test]
fn a_bucket_that_cannot_be_reached_is_an_error_within_its_deadline() {
    let machine = Machine::new();
    // Nothing listens on the discard port.
    let mut command =
        machine.command(&["doctor", "s3://bucket/x", "--endpoint-url", "http://127.0.0.1:9", "--json"]);
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let ran = machine.finish(command);
    assert_eq!(ran.code, 3, "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let reading = checks.iter().find(|check| check["name"] == "reading").unwrap();
    assert_eq!(reading["state"], "fail");
    assert!(reading["remedy"].as_str().unwrap().contains("--endpoint-url"), "{reading}");
}

/// Root may read everything, so the program is run as somebody else.
#[test]
fn what_may_not_be_read_is_named_and_nothing_is_committed() {
    const NOBODY: u32 = 65_534;
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    machine.write("tree/a", b"readable");
    let closed = machine.write("tree/closed", b"secret");
    let folder = machine.write("folder/d/f", b"x").parent().unwrap().to_owned();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o000)).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        for entry in walkdir::WalkDir::new(machine.root()) {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // The folder of the build may be closed to others.
        std::fs::copy(env!("CARGO_BIN_EXE_atfs"), machine.path("program")).unwrap();
    }
    for (local, named) in [
        ("tree", "error: reading DIR/tree/closed: Permission denied (os error 13)\n"),
        ("folder", "error: listing DIR/folder/d: Permission denied (os error 13)\n"),
    ] {
        let add = machine.command(&["add", "DIR/r@main:", &format!("DIR/{local}"), "-m", "m"]);
        let add = if is_root {
            let mut other = Command::new(machine.path("program"));
            other.args(add.get_args()).env_clear().current_dir(machine.root()).uid(NOBODY).gid(NOBODY);
            other.envs(add.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
            other
        } else {
            add
        };
        let ran = machine.finish(add);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.starts_with(named) && ran.err.contains("hint: nothing was committed"), "{}", ran.err);
    }
    assert_eq!(machine.ok(&["ls", "DIR/r@main"]), "");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
}
