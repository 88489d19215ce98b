//! A program that knows the format's description and none of our code restores what the mount shows.

use std::path::PathBuf;

use crate::facts::{Tree, assert_no_diff, assert_same};
use crate::sample;
use crate::site::{Kind, Site, has_fuse};
use crate::support::python;

#[test]
fn the_plain_reader_restores_what_the_mount_shows() {
    let (true, Some(python)) = (has_fuse(), python::python()) else { return };
    let site = Site::new(Kind::Folder).unwrap();
    let tree = site.path("tree");
    sample::generate(&tree);
    let mut items = sample::real_folders();
    items.push(tree.clone());
    let first = site.add("", &items.iter().map(PathBuf::as_path).collect::<Vec<_>>(), "first");
    let change = site.folder("change").join("tree");
    sample::change(&tree, &change);
    site.add("", &[&change], "second");

    for (revision, name) in [("main", "head"), (&*first, "commit")] {
        let mount = site.mount(revision, name);
        let out = site.path(&format!("{name}-restored"));
        let output = python::read_repo(python, site.url.as_ref(), revision, &out);
        assert!(output.status.success(), "{revision}: {output:?}");
        assert_no_diff(&mount, &out);
        assert_same(revision, &Tree::below(&out), &Tree::below(&mount));
        site.unmount(&mount);
    }
}
