//! The disk that holds the daemon's own files full: lines of its log are lost, and nothing else.
#![allow(clippy::unwrap_used)]

#[path = "chaos_support/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "chaos_support/disk.rs"]
#[allow(dead_code, unreachable_pub)]
mod disk;
mod mount_common;

use std::fs;

use atfs::daemon::client::{self, MountOrder};
use atfs::daemon::mount::Unmount;
use disk::Disk;
use mount_common::{Fixture, alive, signal, wait_until};
use nix::sys::signal::Signal;

/// A daemon that is ended before the disk with its socket goes.
struct Daemon(u32);

impl Drop for Daemon {
    fn drop(&mut self) {
        if alive(self.0) {
            signal(self.0, Signal::SIGKILL);
            wait_until("the daemon has ended", || !alive(self.0));
        }
    }
}

#[test]
fn a_full_disk_costs_lines_of_the_log_and_not_the_daemon() {
    let fixture = Fixture::new();
    let disk = Disk::on(&fixture.cache_dir(), 8 << 20);
    fs::write(fixture.source().join("file"), vec![7; 50_000]).unwrap();
    fixture.commit("work");
    let mnt = fixture.mount(Some("work"));
    let daemon = Daemon(fixture.daemon().unwrap());
    let second = fixture.path("second");
    fs::create_dir(&second).unwrap();
    let order = MountOrder { mount_point: second.clone(), ..fixture.order(Some("work")) };
    // Two lines in the log.
    let mount_and_unmount = || {
        assert!(fixture.try_mount(&order).is_ok() && alive(daemon.0), "the daemon has ended");
        assert!(fs::read(second.join("file")).unwrap() == vec![7; 50_000]);
        client::unmount(&fixture.cache_dir(), &second, Unmount::WhenIdle).unwrap();
    };
    disk.fill();
    // More than the last page of the log has room for.
    (0..40).for_each(|_| mount_and_unmount());
    assert!(alive(daemon.0));
    assert!(fs::read(mnt.join("file")).unwrap() == vec![7; 50_000]);
    // With room again it is written again.
    let before = fixture.log().len();
    disk.free();
    mount_and_unmount();
    wait_until("the log goes on", || fixture.log()[before..].contains("unmounted"));
}
