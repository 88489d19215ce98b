//! A whole repository mounted: a directory per ref.
#![allow(clippy::unwrap_used)]

mod mount_common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use mount_common::Fixture;

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_empty_repository_shows_its_branch() {
    let fixture = Fixture::new();
    let mnt = fixture.mount(None);
    assert_eq!(names(&mnt), ["data@main"]);
    assert!(mnt.join("data@main").metadata().unwrap().is_dir());
    assert!(!mnt.join("data@nothing").exists());
    assert!(!mnt.join("other").exists());
    assert_eq!(fs::read_to_string(mnt.join(".atfs/url")).unwrap(), format!("{}\n", fixture.url()));
    assert!(!mnt.join(".atfs/commit").exists(), "a whole repository has no one commit");
    let commit = fs::read_to_string(mnt.join("data@main/.atfs/commit")).unwrap();
    let by_id = mnt.join(format!("data@{}", &commit[..12]));
    assert_eq!(fs::read_to_string(by_id.join(".atfs/commit")).unwrap(), commit);
    assert_ne!(by_id.metadata().unwrap().ino(), mnt.join("data@main").metadata().unwrap().ino());
    assert_eq!(names(&mnt), ["data@main"], "what was only looked up is not listed");
    fixture.unmount();
    assert_eq!(names(&mnt), [""; 0]);
}
