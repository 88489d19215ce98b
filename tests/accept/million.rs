//! A million entries: what a small commit and a mount of them cost. Minutes long, so only when asked for; the figures mean
//! something with a release build (`scripts/accept`).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atfs::store::{Grouping, ListRequest};

use crate::figures::{Figures, megabytes, seconds};
use crate::real_tree::bytes_below;
use crate::requests::{IN_ALL, IN_SEQUENCE, LATENCY};
use crate::sample::touch;
use crate::site::{Kind, Site, has_fuse, succeeded};
use crate::support::proxy::Proxy;
use crate::support::servers;

const DIRECTORIES: usize = 1_000;
const FILES_IN_EACH: usize = 1_000;
const ENTRIES: usize = DIRECTORIES * (FILES_IN_EACH + 1);

const MB: u64 = 1_000_000;

#[test]
#[ignore = "takes minutes: scripts/accept runs it"]
fn a_small_commit_and_a_mount_of_a_million_entries() {
    assert!(has_fuse(), "it cannot be measured without mounts");
    let site = Site::new(Kind::Folder).unwrap();
    let mut figures = Figures::default();
    let tree = site.path("tree");
    grow(&tree);
    let contents = format!("{}/.", tree.display());

    let (repository, to) = (Path::new(&site.url).to_owned(), site.at("main:"));
    let first = measured(&mut site.command(&["add", &to, &contents, "-m", "a million"]));
    figures.say("atfs add of 1,000,000 files", seconds(first.time));
    figures.say("  its peak of resident memory", megabytes(first.peak));
    let size = bytes_below(&repository);
    figures.say("  the repository", megabytes(size));

    // Ten files in ten directories far from each other.
    let change = site.folder("change");
    for i in 0..10 {
        let directory = change.join(format!("d{:04}", i * 97));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(format!("f{:04}", i * 89)), format!("changed {i}\n")).unwrap();
    }
    let small = format!("{}/.", change.display());
    let second = measured(&mut site.command(&["add", &to, &small, "-m", "ten of them"]));
    figures.within("atfs add that changes 10 entries", second.time, Duration::from_secs(2));
    figures.say("  its peak of resident memory", megabytes(second.peak));
    let written = bytes_below(&repository) - size;
    figures.at_most("  written into the repository", written.div_ceil(1000), 2_000, "kB");

    mounted(&site, &mut figures);
    asked(&site, &mut figures);

    let again = measured(&mut site.command(&["add", &to, &contents, "-m", "the ten as they were"]));
    figures.say("atfs add of the whole tree again", seconds(again.time));
    figures.say("  its peak of resident memory", megabytes(again.peak));
    figures.end();
}

/// Makes the tree: in every file some bytes that nothing compresses, at a time of its own. Equal times and counted-up contents
/// would make the nodes of the tree ten times smaller than real ones.
fn grow(tree: &Path) {
    let half = |directories: std::ops::Range<usize>| {
        for d in directories {
            let directory = tree.join(format!("d{d:04}"));
            fs::create_dir_all(&directory).unwrap();
            for f in 0..FILES_IN_EACH {
                let (path, hash) = (directory.join(format!("f{f:04}")), hash(d, f));
                let [second, nanos, len] =
                    [0, 4, 8].map(|at| u32::from_le_bytes(hash[at..at + 4].try_into().unwrap()));
                fs::write(&path, &hash[..1 + len as usize % 32]).unwrap();
                touch(
                    &path,
                    1_700_000_000 + i64::from(second % 50_000_000),
                    i64::from(nanos % 1_000_000_000),
                );
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| half(0..DIRECTORIES / 2));
        scope.spawn(|| half(DIRECTORIES / 2..DIRECTORIES));
    });
}

fn hash(directory: usize, file: usize) -> [u8; 32] {
    *blake3::hash(format!("{directory} {file}").as_bytes()).as_bytes()
}

/// The memory and the time of a mount of the second commit, up to a walk that looks at every entry.
fn mounted(site: &Site, figures: &mut Figures) {
    let begun = Instant::now();
    let mount = site.mount("main", "mnt");
    figures.say("atfs mount", seconds(begun.elapsed()));
    let daemon = site.daemon().unwrap();
    figures.at_most("  the daemon's resident memory", resident(daemon, "VmRSS:").div_ceil(MB), 100, "MB");
    let begun = Instant::now();
    assert_eq!(fs::read_dir(&mount).unwrap().count(), DIRECTORIES);
    figures.say("  the first ls", seconds(begun.elapsed()));
    for pass in ["find with stat of everything", "  the same again"] {
        let begun = Instant::now();
        let found = succeeded(Command::new("find").arg(&mount).args(["-mindepth", "1", "-printf", "%s\n"]));
        figures.say(pass, seconds(begun.elapsed()));
        assert_eq!(found.stdout.iter().filter(|byte| **byte == b'\n').count(), ENTRIES);
    }
    figures.at_most(
        "  the daemon's resident memory after it",
        resident(daemon, "VmRSS:").div_ceil(MB),
        250,
        "MB",
    );
    figures.at_most("  its peak", resident(daemon, "VmHWM:").div_ceil(MB), 250, "MB");
    for i in 0..10 {
        let path = mount.join(format!("d{:04}/f{:04}", i * 97, i * 89));
        assert_eq!(fs::read_to_string(path).unwrap(), format!("changed {i}\n"));
    }
    let last = fs::read(mount.join("d0999/f0999")).unwrap();
    assert!(!last.is_empty() && hash(999, 999).starts_with(&last));
    site.unmount(&mount);
}

/// What a mount asks of a real server, by a machine that has seen nothing of the repository.
fn asked(local: &Site, figures: &mut Figures) {
    let Some(server) = servers::ministack() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&server.endpoint, LATENCY));
    let mut site = Site::on(server);
    runtime.block_on(async {
        let from = local.repository().await.store().clone();
        let opened = atfs::store::open(&site.url.parse().unwrap(), &site.store_options()).await.unwrap();
        let to = opened.store;
        let mut request = ListRequest {
            prefix: String::new(),
            start_after: None,
            grouping: Grouping::Flat,
            max_keys: 1000,
        };
        loop {
            let page = from.list(&request).await.unwrap();
            for object in &page.objects {
                to.put(&object.key, from.get(&object.key).await.unwrap()).await.unwrap();
            }
            request.start_after = page.next;
            if request.start_after.is_none() {
                break;
            }
        }
    });
    let log = site.json(&["log", &site.url, "-n", "1"]);
    let id = log[0]["id"].as_str().unwrap().to_owned();
    site.go_through(&proxy.endpoint);
    for (name, revision) in [("by-branch", "main"), ("by-id", &*id)] {
        // Nothing is at hand: neither a daemon nor an index.
        site.forget();
        proxy.reset();
        let begun = Instant::now();
        let mount = site.mount(revision, name);
        let (time, all, depth) = (begun.elapsed(), proxy.requests(), proxy.depth());
        figures.at_most(&format!("requests of a mount {name}, in sequence"), depth as u64, IN_SEQUENCE, "");
        figures.at_most("  in all", all.len() as u64, IN_ALL, "");
        figures.say("  time, each request taking 0.1 s", seconds(time));
        println!("{all:#?}");
        proxy.reset();
        let begun = Instant::now();
        assert_eq!(fs::read_dir(&mount).unwrap().count(), DIRECTORIES);
        figures.say("  the first ls", seconds(begun.elapsed()));
        figures.say(
            "  its requests, in sequence and in all",
            format!("{}, {}", proxy.depth(), proxy.requests().len()),
        );
        site.unmount(&mount);
    }
}

struct Measured {
    time: Duration,
    /// Bytes.
    peak: u64,
}

/// Runs the program, which must succeed, and looks at its memory all the while: what has ended cannot be asked any more.
fn measured(command: &mut Command) -> Measured {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = resident(child.id(), "VmHWM:").max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{command:?}: {status}");
    Measured { time: begun.elapsed(), peak }
}

/// `VmRSS:` or `VmHWM:` of a process in bytes; 0 when it has ended.
fn resident(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
