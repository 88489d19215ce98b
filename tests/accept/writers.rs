//! Sixteen programs commit to one branch at the same time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use atfs::repo::refs::Log;
use atfs::types::{RefKind, RefName};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::{Kind, Site, wait_until};

const WRITERS: usize = 16;

#[test]
fn in_a_folder_sixteen_writers_meet() {
    writers_meet(Kind::Folder);
}

#[test]
fn on_ministack_sixteen_writers_meet() {
    writers_meet(Kind::Ministack);
}

#[test]
fn on_radosgw_sixteen_writers_meet() {
    writers_meet(Kind::Radosgw);
}

fn writers_meet(kind: Kind) {
    let Some(site) = Site::new(kind) else { return };
    different_files(&site);
    the_same_path(&site);
}

/// Half of the writers share a machine's state, half are machines of their own.
fn writer(site: &Site, number: usize, args: &[&str]) -> Command {
    let mut command = site.command(args);
    if number % 2 == 1 {
        command.env("ATFS_STATE_DIR", site.path(&format!("state-{number}")));
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Every file is there, every commit is in the log once, and the log is sound.
fn different_files(site: &Site) {
    let content = |i: usize| crate::sample::noise(&i.to_string(), 1 << (6 + i));
    let children: Vec<Child> = (0..WRITERS)
        .map(|i| {
            let local = site.path(&format!("file-{i}"));
            fs::write(&local, content(i)).unwrap();
            let (address, message) = (site.at("main:together/"), format!("writer {i}"));
            writer(site, i, &["add", &address, local.to_str().unwrap(), "-m", &message]).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    site.ok(&["export", &site.at("main"), site.path("all").to_str().unwrap()]);
    let together = site.path("all/together");
    for i in 0..WRITERS {
        assert!(fs::read(together.join(format!("file-{i}"))).unwrap() == content(i), "file-{i}");
    }
    assert_eq!(fs::read_dir(&together).unwrap().count(), WRITERS);

    let messages = messages(site);
    for i in 0..WRITERS {
        assert_eq!(messages.get(&format!("writer {i}")), Some(&1), "{messages:?}");
    }
    assert_eq!(messages.values().sum::<usize>(), WRITERS + 1, "and the first commit: {messages:?}");
    assert_eq!(verified_moves(site), WRITERS as u64 + 1);
}

/// One is told that it has committed, the others that they have not, and so it is.
fn the_same_path(site: &Site) {
    let before = messages(site).values().sum::<usize>();
    let mut children: Vec<(usize, Child)> = (0..WRITERS).map(|i| (i, held(site, i))).collect();
    // All have read the head that all will replace.
    assert_eq!(messages(site).values().sum::<usize>(), before, "none has committed yet");
    for (_, child) in &children {
        kill(pid(child), Signal::SIGCONT).unwrap();
    }
    let mut winners = Vec::new();
    for (i, child) in children.drain(..) {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => winners.push(i),
            Some(3) => assert!(said.contains("same.bin"), "{said}"),
            _ => panic!("{output:?}"),
        }
    }
    let [winner] = winners[..] else { panic!("writers {winners:?} all won") };
    let messages = messages(site);
    assert_eq!(messages.get(&format!("same {winner}")), Some(&1), "{messages:?}");
    assert_eq!(messages.values().sum::<usize>(), before + 1, "{messages:?}");
    assert_eq!(verified_moves(site), before as u64 + 1);
    let got = site.path("same-out");
    site.ok(&["export", &site.at("main:same.bin"), got.to_str().unwrap()]);
    assert!(same_bytes(&got, &contender(site, winner)));
}

/// Writer `i` of `same.bin`, stopped after it has read the head and before it has read all of its file.
fn held(site: &Site, i: usize) -> Child {
    let local = contender(site, i);
    let mut file = File::create(&local).unwrap();
    // A hole: nothing to write, much to hash, so there is time to stop who reads it.
    file.seek(SeekFrom::Start(256 << 20)).unwrap();
    file.write_all(i.to_string().as_bytes()).unwrap();
    let (address, message) = (site.at("main:same.bin"), format!("same {i}"));
    let mut child =
        writer(site, i, &["add", &address, local.to_str().unwrap(), "-m", &message]).spawn().unwrap();
    wait_until("the file is opened, which comes after reading the head", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        has_open(&child, &local)
    });
    kill(pid(&child), Signal::SIGSTOP).unwrap();
    child
}

fn contender(site: &Site, i: usize) -> PathBuf {
    site.path(&format!("contender-{i}"))
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

fn has_open(child: &Child, path: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == path)
}

fn same_bytes(one: &Path, other: &Path) -> bool {
    Command::new("cmp").args([one, other]).status().unwrap().success()
}

/// How often each message is in the log of the branch.
fn messages(site: &Site) -> BTreeMap<String, usize> {
    let mut messages = BTreeMap::new();
    for commit in site.json(&["log", &site.at("main")]).as_array().unwrap() {
        *messages.entry(commit["message"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    messages
}

/// Checks every link of the branch's log; how often the branch has moved.
fn verified_moves(site: &Site) -> u64 {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let repository = site.repository().await;
        let log = Log::of_ref(&repository, RefKind::Branch, &RefName::new("main").unwrap());
        log.verify().await.unwrap().moves
    })
}
