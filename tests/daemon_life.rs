//! The daemon's life with real mounts: start, share, notice, drain, exit, be killed and be followed.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use atfs::cache::{Cache, CacheOptions};
use atfs::daemon::mount::{MountError, MountTable, Unmount, is_dead};
use atfs::daemon::{DaemonConfig, DaemonError, LogTarget, client};
use mount_common::{Fixture, alive, signal, wait_until};
use nix::sys::signal::Signal;

fn is_mounted(path: &std::path::Path) -> bool {
    MountTable::read().unwrap().at(path).is_some()
}

fn second_point(fixture: &Fixture) -> std::path::PathBuf {
    let path = fixture.path("mnt2");
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn mounts_share_a_daemon_and_it_leaves_with_the_last() {
    let fixture = Fixture::with_times(0, 10);
    let first = fixture.mount(None);
    let pid = fixture.daemon().expect("runs");
    let second = second_point(&fixture);
    let order = client::MountOrder { mount_point: second.clone(), ..fixture.order(None) };
    fixture.try_mount(&order).unwrap();
    let running = client::running(&fixture.cache_dir()).unwrap().unwrap();
    assert_eq!(running.pid, pid);
    assert_eq!(
        running.mounts.iter().map(|m| m.mount_point.clone()).collect::<Vec<_>>(),
        [first, second.clone()]
    );
    fixture.unmount();
    assert!(second.join("data@main").exists(), "the other mount stays");
    client::unmount(&fixture.cache_dir(), &second, Unmount::WhenIdle).unwrap();
    wait_until("the daemon exits by itself", || !alive(pid));
    assert!(fixture.log().contains("stopping: nothing is mounted"), "{}", fixture.log());
    // And the next mount starts another.
    fixture.mount(None);
}

#[test]
fn a_cache_that_a_command_looks_at_is_waited_for() {
    let fixture = Fixture::new();
    fs::write(fixture.source().join("file"), "bytes").unwrap();
    fixture.commit("work");
    let cache = Cache::open(&fixture.cache_dir(), &CacheOptions::new(64 << 20)).unwrap();
    std::thread::scope(|scope| {
        let mounting = scope.spawn(|| fixture.mount(Some("work")));
        wait_until("the daemon waits", || fixture.log().contains("waiting for the cache"));
        drop(cache);
        let mnt = mounting.join().unwrap();
        assert_eq!(fs::read_to_string(mnt.join("file")).unwrap(), "bytes");
    });
    assert!(!fixture.log().contains("without a cache"), "{}", fixture.log());
}

#[test]
fn many_first_mounts_at_once_start_one_daemon() {
    let fixture = Fixture::new();
    let points: Vec<_> = (0..8).map(|i| fixture.path(&format!("p{i}"))).collect();
    for point in &points {
        fs::create_dir(point).unwrap();
    }
    std::thread::scope(|scope| {
        for point in &points {
            let order = client::MountOrder { mount_point: point.clone(), ..fixture.order(None) };
            let fixture = &fixture;
            scope.spawn(move || fixture.try_mount(&order).unwrap());
        }
    });
    assert_eq!(client::running(&fixture.cache_dir()).unwrap().unwrap().mounts.len(), 8);
    for point in &points {
        assert!(point.join("data@main").exists());
    }
    assert!(client::stop(&fixture.cache_dir()).unwrap());
    wait_until("everything is unmounted", || points.iter().all(|point| !is_mounted(point)));
}

#[test]
fn an_unmount_from_outside_is_noticed() {
    let fixture = Fixture::with_times(0, 10);
    let mnt = fixture.mount(None);
    let pid = fixture.daemon().unwrap();
    assert!(Command::new("umount").arg(&mnt).status().unwrap().success());
    wait_until("the daemon leaves", || !alive(pid));
    assert_eq!(fs::read_to_string(fixture.path("cache/daemon/mounts.json")).unwrap(), "[]");
}

#[test]
fn a_busy_mount_names_who_uses_it() {
    let fixture = Fixture::new();
    let mnt = fixture.mount(None);
    let held = fs::File::open(mnt.join("data@main")).unwrap();
    let error = client::unmount(&fixture.cache_dir(), &mnt, Unmount::WhenIdle).unwrap_err();
    let DaemonError::Mount(MountError::Busy { holders, .. }) = &error else { panic!("{error}") };
    assert!(holders.iter().any(|(pid, _)| *pid == std::process::id()), "{error}");
    client::unmount(&fixture.cache_dir(), &mnt, Unmount::Lazy).unwrap();
    assert!(!is_mounted(&mnt));
    assert!(held.metadata().is_ok(), "who has it open keeps it");
    drop(held);
    wait_until("the session ends", || {
        client::running(&fixture.cache_dir()).unwrap().unwrap().mounts.is_empty()
    });
}

#[test]
fn sigterm_drains_and_then_detaches() {
    let fixture = Fixture::with_times(10, 1);
    let mnt = fixture.mount(None);
    let pid = fixture.daemon().unwrap();
    let held = fs::File::open(mnt.join("data@main")).unwrap();
    let begin = Instant::now();
    signal(pid, Signal::SIGTERM);
    wait_until("the daemon ends", || !alive(pid));
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(900), "it gave the user of the mount its second: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(!is_mounted(&mnt));
    assert!(fixture.log().contains("in use and is detached"), "{}", fixture.log());
    drop(held);
    // An idle mount goes at once.
    let mnt = fixture.mount(None);
    let pid = fixture.daemon().unwrap();
    signal(pid, Signal::SIGINT);
    wait_until("the daemon ends", || !alive(pid));
    assert!(!is_mounted(&mnt));
    assert!(fixture.log().contains("stopping: SIGINT"), "{}", fixture.log());
}

#[test]
fn after_a_kill_the_next_mount_works_at_once() {
    let fixture = Fixture::new();
    let mnt = fixture.mount(None);
    let second = second_point(&fixture);
    fixture.try_mount(&client::MountOrder { mount_point: second.clone(), ..fixture.order(None) }).unwrap();
    let pid = fixture.daemon().unwrap();
    signal(pid, Signal::SIGKILL);
    wait_until("the daemon is dead", || !alive(pid));
    assert!(is_mounted(&mnt) && is_dead(&mnt), "a killed daemon leaves its mounts");
    // The very place can be mounted again, and the other dead mount is cleaned up by the new daemon.
    fixture.mount(None);
    assert!(mnt.join("data@main").exists());
    assert!(!is_mounted(&second));
    assert!(fixture.log().contains("a daemon that was killed had left"), "{}", fixture.log());
}

#[test]
fn a_dead_mount_can_be_unmounted_without_a_daemon() {
    let fixture = Fixture::new();
    let mnt = fixture.mount(None);
    let pid = fixture.daemon().unwrap();
    signal(pid, Signal::SIGKILL);
    wait_until("the daemon is dead", || !alive(pid));
    fixture.unmount();
    assert!(!is_mounted(&mnt));
}

#[test]
fn in_the_foreground_it_ends_with_the_mount() {
    let fixture = Fixture::new();
    let config = DaemonConfig {
        log: LogTarget::Stderr,
        ..DaemonConfig::new(fixture.cache_dir(), fixture.path("state"))
    };
    let (send, receive) = mpsc::channel();
    let order = fixture.order(None);
    let server = {
        let config = config.clone();
        std::thread::spawn(move || {
            client::mount_in_foreground(config, order, move |mounted| send.send(mounted.clone()).unwrap())
        })
    };
    let mounted = receive.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(mounted.mount_point.join("data@main").exists());
    // The cache directory is taken.
    let again = client::mount_in_foreground(config, fixture.order(None), |_| ()).unwrap_err();
    assert!(matches!(again, DaemonError::Taken { .. }), "{again}");
    fixture.unmount();
    server.join().unwrap().unwrap();
}

#[test]
fn in_the_foreground_a_failed_mount_ends_it() {
    let fixture = Fixture::new();
    let config = DaemonConfig {
        log: LogTarget::Stderr,
        ..DaemonConfig::new(fixture.cache_dir(), fixture.path("state"))
    };
    let error = client::mount_in_foreground(config, fixture.order(Some("nowhere")), |_| ()).unwrap_err();
    assert!(matches!(error, DaemonError::Refused(_)), "{error}");
    assert!(!is_mounted(&fixture.mount_point()));
}

#[test]
fn a_program_that_is_no_daemon_is_an_error_not_a_hang() {
    let fixture = Fixture::new();
    for (program, said) in [("/bin/true", "ended without saying why"), ("/nonexistent", "No such file")] {
        let launch = atfs::daemon::Launch { program: program.into(), arguments: Vec::new() };
        let error = client::mount(&fixture.cache_dir(), &launch, &fixture.order(None)).unwrap_err();
        assert!(error.to_string().contains(said), "{program}: {error}");
    }
}
