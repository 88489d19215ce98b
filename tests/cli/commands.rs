//! What the commands print.

use std::process::Stdio;

use crate::machine::{Machine, can_mount};

/// Commit ids and times differ from run to run: `<id>`, `<time>`.
fn fixed(text: &str) -> String {
    let hex = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_inclusive(|c: char| c.is_whitespace() || c == ']')
        .map(|word| {
            let trimmed = word.trim_end_matches(|c: char| c.is_whitespace() || c == ']');
            if hex(trimmed) { word.replace(trimmed, "<id>") } else { word.to_owned() }
        })
        .collect()
}

#[test]
fn a_repository_and_its_refs() {
    let machine = Machine::new();
    let ran = machine.run(&["init", "DIR/r"]);
    assert_eq!((ran.code, &*ran.out), (0, ""));
    assert_eq!(
        ran.err,
        "repository made in DIR/r, with the empty branch main\n\
         hint: `atfs add DIR/r@main: FILE... -m MESSAGE` commits files to it\n"
    );
    // Both orders.
    let ran = machine.run(&["branch", "DIR/r", "create", "dev"]);
    assert_eq!(fixed(&ran.err), "branch dev created at <id> (HEAD)\n");
    let ran = machine.run(&["branch", "create", "DIR/r", "dev2", "--from", "dev"]);
    assert_eq!(fixed(&ran.err), "branch dev2 created at <id> (dev)\n");
    let list = machine.ok(&["branch", "DIR/r"]);
    assert_eq!(list, machine.ok(&["branch", "list", "DIR/r"]));
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = lines.iter().map(|words| words[0]).collect();
    assert_eq!(names, ["dev", "dev2", "main"]);
    assert_eq!(lines[2][4], "Begin");
    let json: serde_json::Value = serde_json::from_str(&machine.ok(&["branch", "DIR/r", "--json"])).unwrap();
    assert_eq!(json[2]["name"], "main");
    assert_eq!(json[2]["commit"]["author"], "Ada <ada@example.org>");
    let ran = machine.run(&["branch", "DIR/r", "delete", "dev2"]);
    assert_eq!(
        fixed(&ran.err),
        "branch dev2 deleted; it was at <id>\nhint: `atfs branch DIR/r create dev2 --from <id>` brings it back\n"
            .replace("--from <id>`", &format!("--from {}`", ran.err.rsplit("--from ").next().unwrap().split('`').next().unwrap()))
    );
    let log = machine.ok(&["log", "DIR/r"]);
    assert_eq!(fixed(log.lines().next().unwrap()), "commit <id>");
    assert!(log.contains("\nAuthor: Ada <ada@example.org>\nDate:   2"), "{log}");
    assert!(log.ends_with(" UTC\n\n    Begin\n"), "{log}");
    assert_eq!(fixed(&machine.ok(&["log", "DIR/r@dev", "--oneline"])), "<id> Begin\n");
    assert_eq!(machine.ok(&["log", "DIR/r", "-n", "0"]), "");
    assert_eq!(machine.ok(&["ls", "DIR/r"]), "");
    assert!(machine.ok(&["show", "DIR/r"]).ends_with("\n0 entries, 0 files, 0 B\n"));
    assert!(machine.run(&["-q", "tag", "DIR/r", "create", "v1"]).err.is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let machine = Machine::new();
    let mut child = machine
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn help_completions_and_man_pages() {
    let machine = Machine::new();
    let help = machine.ok(&["help"]);
    assert!(help.contains("Start:\n  init "), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "wider than 100 columns:\n{help}");
    assert_eq!(machine.run(&["frobnicate"]).code, 2);
    for shell in ["bash", "zsh", "fish"] {
        assert!(machine.ok(&["completions", shell]).contains("umount"));
    }
    let pages = machine.ok(&["man", "DIR/man"]);
    assert!(
        pages.contains("DIR/man/atfs.1\n") && pages.contains("DIR/man/atfs-branch-create.1\n"),
        "{pages}"
    );
    let page = std::fs::read_to_string(machine.root().join("man/atfs-ls.1")).unwrap();
    assert!(page.contains(".TH"), "{page}");
}

#[test]
fn doctor_says_what_this_machine_can_do() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    let ran = machine.run(&["doctor", "DIR/r", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let origin = |name: &str| {
        let all = report["settings"].as_array().unwrap();
        all.iter().find(|setting| setting["setting"] == name).unwrap()["origin"].clone()
    };
    assert_eq!(origin("cache_dir"), "environment ATFS_CACHE_DIR");
    assert_eq!(origin("cache_size"), "default");
    let checks = report["checks"].as_array().unwrap();
    let state = |name: &str| checks.iter().find(|c| c["name"] == name).map(|c| c["state"].clone());
    for name in [
        "kernel",
        "fuse",
        "mounting",
        "other users",
        "passthrough",
        "open files",
        "memory",
        "cache",
        "state",
        "clock",
    ] {
        assert!(state(name).is_some(), "{name}: {ran:?}");
    }
    for check in checks.iter().filter(|check| check["state"] != "ok") {
        assert!(
            check["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()),
            "without a remedy: {check}"
        );
    }
    for name in ["reading", "writing", "repository"] {
        assert_eq!(state(name), Some("ok".into()), "{ran:?}");
    }
    // The probe leaves nothing behind.
    let left = walkdir::WalkDir::new(machine.path("r/probe")).into_iter().flatten();
    assert_eq!(left.filter(|entry| entry.file_type().is_file()).count(), 0);
}

#[test]
fn from_files_to_a_commit_and_back() {
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    machine.write("tree/a.txt", b"hello\n");
    machine.write("tree/sub/big.bin", &vec![7; 2 << 20]);
    std::fs::create_dir(machine.path("tree/sub/empty")).unwrap();
    std::os::unix::fs::symlink("../a.txt", machine.path("tree/sub/link")).unwrap();
    let ran = machine.run(&["add", "DIR/r@main:", "DIR/tree/.", "-m", "first tree", "--meta", "job=7"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        fixed(&ran.err)
            .contains("[main <id>] first tree\n2 files, 2 directories, 1 link; 2.0 MiB looked at, ")
    );
    let ran = machine.run(&["add", "DIR/r@main:", "DIR/tree/.", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["changed"], &json["new_bytes"]), (0, &false.into(), &0.into()), "{ran:?}");

    assert_eq!(machine.ok(&["ls", "DIR/r"]), "a.txt\nsub\n");
    assert_eq!(machine.ok(&["ls", "-R", "DIR/r"]), "a.txt\nsub\nsub/big.bin\nsub/empty\nsub/link\n");
    let long = machine.ok(&["ls", "-l", "DIR/r@main:sub"]);
    assert!(long.lines().last().unwrap().starts_with("lrwxrwxrwx"), "{long}");
    assert!(long.ends_with(" link -> ../a.txt\n"), "{long}");
    assert_eq!(machine.ok(&["cat", "DIR/r@main:a.txt"]), "hello\n");
    let stat: serde_json::Value =
        serde_json::from_str(&machine.ok(&["stat", "--json", "DIR/r@main:sub/big.bin"])).unwrap();
    assert_eq!(
        (&stat["kind"], &stat["size"], &stat["content"]),
        (&"file".into(), &(2 << 20).into(), &"chunks".into())
    );
    assert!(
        machine
            .ok(&["show", "DIR/r"])
            .contains("\nMeta:   job=7\n\n    first tree\n\n5 entries, 2 files, 2.0 MiB\n")
    );

    machine.write("tree/a.txt", b"hello again\n");
    machine.ok(&["add", "DIR/r@main:a.txt", "DIR/tree/a.txt"]);
    machine.ok(&["mv", "DIR/r@main:sub/big.bin", "sub/bigger.bin"]);
    let err = machine.fails(1, &["rm", "DIR/r@main:sub"]);
    assert!(err.contains("hint: `-r` removes directories with everything in them"), "{err}");
    machine.ok(&["rm", "DIR/r@main:sub/link", "-m", "no link"]);
    assert_eq!(
        machine.ok(&["diff", "DIR/r@main~3", "main"]),
        "~ a.txt (content 6 B → 12 B)\n- sub/big.bin\n+ sub/bigger.bin\n- sub/link\n"
    );
    let log = machine.ok(&["log", "DIR/r", "--oneline"]);
    let subjects: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(subjects[0], "no link");
    assert_eq!(subjects[1], "Rename sub/big.bin to sub/bigger.bin");
    assert_eq!(subjects[3..], ["first tree", "Begin"]);

    machine.ok(&["export", "DIR/r@main~3", "DIR/copy"]);
    assert_eq!(std::fs::read(machine.path("copy/a.txt")).unwrap(), b"hello\n");
    assert_eq!(std::fs::read(machine.path("copy/sub/big.bin")).unwrap(), vec![7; 2 << 20]);
    assert_eq!(std::fs::read_link(machine.path("copy/sub/link")).unwrap(), std::path::Path::new("../a.txt"));
    assert!(machine.path("copy/sub/empty").is_dir());
    let err = machine.fails(2, &["add", "DIR/r@main~1:", "DIR/tree/a.txt"]);
    assert!(err.starts_with("error: main~1 is not a branch: only a branch can be committed to\n"), "{err}");
    let err = machine.fails(1, &["add", "DIR/r", "DIR/none"]);
    assert!(err.starts_with("error: reading DIR/none: No such file or directory"), "{err}");
}

#[test]
fn a_mount_is_made_listed_and_taken_away() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    machine.write("a.txt", b"hello\n");
    machine.ok(&["add", "DIR/r", "DIR/a.txt"]);
    std::fs::create_dir(machine.path("mnt")).unwrap();
    let ran = machine.run(&["mount", "DIR/r@main", "DIR/mnt"]);
    assert_eq!(
        (ran.code, fixed(&ran.err)),
        (0, "DIR/r@main is mounted on DIR/mnt, read-only, at commit <id>\n".to_owned())
    );
    assert_eq!(std::fs::read(machine.path("mnt/a.txt")).unwrap(), b"hello\n");
    let mounts = machine.ok(&["mounts", "--json"]);
    let mounts: serde_json::Value = serde_json::from_str(&mounts).unwrap();
    let ours = mounts.as_array().unwrap().iter().find(|mount| mount["mount_point"] == "DIR/mnt").unwrap();
    assert_eq!((&ours["revision"], &ours["health"]), (&"main".into(), &"served".into()));
    assert_eq!(ours["profile"], "smallfiles");
    let stats = machine.ok(&["stats", "DIR/mnt"]);
    let lookups = stats.lines().next().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!((lookups[0], lookups[2..].join(" ").as_str()), ("lookups", "names looked up"), "{stats}");
    let json: serde_json::Value = serde_json::from_str(&machine.ok(&["stats", "DIR/mnt", "--json"])).unwrap();
    assert!(json["lookups"].as_u64().unwrap() >= 1 && json["errors"] == 0, "{json}");
    let err = machine.fails(1, &["stats", "DIR"]);
    assert!(err.ends_with("is on DIR\nhint: `atfs mounts` lists all\n"), "{err}");
    let err = machine.fails(1, &["mount", "DIR/r@main", "DIR/mnt"]);
    assert!(err.ends_with("is already mounted on DIR/mnt\nhint: `atfs umount DIR/mnt` first\n"), "{err}");
    machine.ok(&["umount", "DIR/mnt"]);
    assert!(!machine.path("mnt/a.txt").exists());
}
