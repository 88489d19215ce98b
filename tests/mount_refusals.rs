//! Every bad input of a mount: what is said, and that nothing stays mounted and nothing hangs.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::path::Path;

use atfs::daemon::mount::{MountError, MountTable, NonEmpty};
use atfs::daemon::{DaemonError, FailureKind, client};
use mount_common::Fixture;

fn refused(fixture: &Fixture, order: &client::MountOrder) -> DaemonError {
    let error = fixture.try_mount(order).expect_err("refused");
    let table = MountTable::read().unwrap();
    assert!(table.at(&fixture.mount_point()).is_none(), "nothing stays mounted after {error}");
    error
}

#[test]
fn mount_points_that_cannot_be_used() {
    let fixture = Fixture::new();
    let mut order = fixture.order(None);
    order.mount_point = fixture.path("gone");
    assert!(matches!(refused(&fixture, &order), DaemonError::Mount(MountError::Missing { .. })));
    order.mount_point = fixture.path("data/format.json");
    assert!(matches!(refused(&fixture, &order), DaemonError::Mount(MountError::NotADirectory { .. })));
    assert_eq!(fixture.daemon(), None, "no daemon is started for a mistyped directory");
    fs::write(fixture.mount_point().join("precious"), "x").unwrap();
    let error = refused(&fixture, &fixture.order(None));
    assert!(error.to_string().contains("not empty: it holds \"precious\""), "{error}");
    let order = client::MountOrder { non_empty: NonEmpty::Allow, ..fixture.order(None) };
    fixture.try_mount(&order).unwrap();
    let error = fixture.try_mount(&order).unwrap_err();
    assert!(error.to_string().contains("is already mounted on"), "{error}");
    fixture.unmount();
    assert!(fixture.mount_point().join("precious").exists());
}

#[test]
fn devices_that_are_none() {
    let fixture = Fixture::new();
    for (device, said) in [
        ("gone", "has no FUSE"),
        // Opens, and is no FUSE device.
        ("/dev/null", "does not take it for a FUSE device"),
    ] {
        let order = client::MountOrder { device: fixture.path(device), ..fixture.order(None) };
        let error = refused(&fixture, &order);
        assert!(error.to_string().contains(said), "{device}: {error}");
    }
}

#[test]
fn repositories_and_revisions_that_do_not_exist() {
    let fixture = Fixture::new();
    let kind = |order: &client::MountOrder| match refused(&fixture, order) {
        DaemonError::Refused(failure) => failure.kind,
        other => panic!("{other}"),
    };
    let with = |revision: &str| fixture.order(Some(revision));
    assert_eq!(kind(&with("mian")), FailureKind::UnknownRevision);
    assert_eq!(kind(&with("0123abcd")), FailureKind::UnknownRevision);
    assert_eq!(kind(&with("main~7")), FailureKind::UnknownRevision);
    assert_eq!(kind(&with("a b")), FailureKind::BadRequest);
    let url = |path: &Path| client::MountOrder { url: path.to_str().unwrap().into(), ..fixture.order(None) };
    assert_eq!(kind(&url(&fixture.path("state"))), FailureKind::NotARepository);
    assert_eq!(kind(&url(&fixture.path("nowhere"))), FailureKind::NoBucket);
    // The daemon that refused all this is well.
    fixture.mount(None);
}

#[test]
fn unmounting_what_is_not_mounted() {
    let fixture = Fixture::new();
    let error =
        client::unmount(&fixture.cache_dir(), &fixture.mount_point(), Default::default()).unwrap_err();
    assert!(matches!(error, DaemonError::Mount(MountError::NotMounted { .. })), "{error}");
    assert!(!client::stop(&fixture.cache_dir()).unwrap());
    assert!(client::running(&fixture.cache_dir()).unwrap().is_none());
}
