//! The profile for small files: opens never leave the kernel, pages stay, and every byte is the right one.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::path::Path;

use atfs::daemon::client::MountOrder;
use atfs::fs::ProfileChoice;
use mount_common::{Fixture, wait_until};

const FILES: usize = 120;

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn expected(n: usize) -> Vec<u8> {
    noise(n, 20_000 + 700 * n)
}

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    for n in 0..FILES {
        let dir = fixture.source().join(format!("d{}", n % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{n}")), expected(n)).unwrap();
    }
    fs::write(fixture.source().join("long"), noise(7777, 5 << 20)).unwrap();
    fixture.commit("work");
    fixture
}

fn order(fixture: &Fixture, profile: ProfileChoice) -> MountOrder {
    MountOrder { profile, ..fixture.order(Some("work")) }
}

fn path(mnt: &Path, n: usize) -> std::path::PathBuf {
    mnt.join(format!("d{}", n % 3)).join(n.to_string())
}

fn read_all(mnt: &Path) {
    for turn in 0..FILES {
        let n = turn * 37 % FILES;
        assert!(fs::read(path(mnt, n)).unwrap() == expected(n), "file {n}");
    }
    assert!(fs::read(mnt.join("long")).unwrap() == noise(7777, 5 << 20));
}

#[test]
fn opens_stay_in_the_kernel_and_a_second_epoch_never_reaches_the_daemon() {
    let fixture = fixture();
    let mnt = fixture.try_mount(&order(&fixture, ProfileChoice::Auto)).unwrap().mount_point;
    read_all(&mnt);
    let mut reads = fixture.counter(&mnt, "reads");
    assert!(reads > 0);
    let mut epoch = || {
        read_all(&mnt);
        let before = std::mem::replace(&mut reads, fixture.counter(&mnt, "reads"));
        reads - before
    };
    // Reading the counters is itself a read each time. The kernel may drop a page whenever it likes, but hardly in every epoch.
    let reads: Vec<_> = (0..5).map(|_| epoch()).collect();
    assert!(reads.iter().any(|reads| *reads <= 2), "{reads:?} reads in the epochs after the first");
    assert_eq!(fixture.counter(&mnt, "opens_cached"), 0);
    assert_eq!(fixture.counter(&mnt, "opens_passthrough"), 0);
    let status = atfs::daemon::client::running(&fixture.cache_dir()).unwrap().unwrap().mounts;
    assert_eq!(status[0].profile.to_string(), "smallfiles");
    // Nothing may be written, by whichever way a file is opened.
    let error = fs::OpenOptions::new().write(true).open(path(&mnt, 1)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn the_counters_are_read_anew_each_time() {
    let fixture = fixture();
    let mnt = fixture.try_mount(&order(&fixture, ProfileChoice::SmallFiles)).unwrap().mount_point;
    let mut before = fixture.counter(&mnt, "lookups");
    for n in 0..40 {
        fs::read(path(&mnt, n)).unwrap();
        let now = fixture.counter(&mnt, "lookups");
        assert!(now > before, "lookups: {now} after {before}");
        before = now;
    }
    for _ in 0..2 {
        assert_eq!(fs::read_to_string(mnt.join(".atfs/ref")).unwrap(), "work\n");
    }
}

#[test]
fn after_the_pages_are_dropped_the_slabs_answer_and_not_the_store() {
    let fixture = fixture();
    let order = order(&fixture, ProfileChoice::SmallFiles);
    let mnt = fixture.try_mount(&order).unwrap().mount_point;
    read_all(&mnt);
    fixture.unmount();
    mount_common::signal(fixture.daemon().unwrap(), nix::sys::signal::Signal::SIGKILL);
    // Without its data packs the repository cannot answer for any of these.
    fs::rename(fixture.path("data").join("data"), fixture.path("data-aside")).unwrap();
    let mnt = fixture.try_mount(&order).unwrap().mount_point;
    read_all(&mnt);
    // And one that was never read is an error, not zeros.
    fixture.unmount();
    fs::remove_dir_all(fixture.cache_dir().join("v1/slabs")).unwrap();
    fs::create_dir(fixture.cache_dir().join("v1/slabs")).unwrap();
    mount_common::signal(fixture.daemon().unwrap(), nix::sys::signal::Signal::SIGKILL);
    let mnt = fixture.try_mount(&order).unwrap().mount_point;
    let error = fs::read(path(&mnt, 5)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
}

#[test]
fn a_long_file_that_nobody_reads_any_more_may_be_evicted() {
    let fixture = fixture();
    let mnt = fixture.try_mount(&order(&fixture, ProfileChoice::SmallFiles)).unwrap().mount_point;
    let held = || atfs::daemon::client::cache_info(&fixture.cache_dir()).unwrap().unwrap().stats.bytes_open;
    assert!(fs::read(mnt.join("long")).unwrap() == noise(7777, 5 << 20));
    wait_until("the cache holds it for nobody", || held() == 0);
    assert!(fs::read(mnt.join("long")).unwrap() == noise(7777, 5 << 20), "it is read as before");
}

#[test]
fn sixteen_readers_of_the_same_cold_files_see_the_same_bytes() {
    let fixture = fixture();
    let mnt = fixture.try_mount(&order(&fixture, ProfileChoice::SmallFiles)).unwrap().mount_point;
    std::thread::scope(|scope| {
        for reader in 0..16usize {
            let mnt = &mnt;
            scope.spawn(move || {
                for turn in 0..FILES {
                    let n = (turn * 7 + reader * 11) % FILES;
                    assert!(fs::read(path(mnt, n)).unwrap() == expected(n), "file {n}");
                }
            });
        }
    });
}
