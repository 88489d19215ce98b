//! What the commands print.

use std::process::Stdio;

use crate::machine::Machine;

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
    for name in ["reading", "writing", "repository"] {
        assert_eq!(state(name), Some("ok".into()), "{ran:?}");
    }
    // The probe leaves nothing behind.
    let left = walkdir::WalkDir::new(machine.path("r/probe")).into_iter().flatten();
    assert_eq!(left.filter(|entry| entry.file_type().is_file()).count(), 0);
}
