//! A real tree goes in and is shown as it was; when the branch has moved on, the first commit still is.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::facts::{Tree, assert_no_diff, assert_same};
use crate::figures::{Figures, megabytes, seconds};
use crate::sample::{self, REMOVED};
use crate::site::{Kind, Site, has_fuse, is_full};

#[test]
fn in_a_folder_a_tree_is_shown_as_it_was() {
    shown_as_it_was(Kind::Folder);
}

#[test]
fn on_ministack_a_tree_is_shown_as_it_was() {
    shown_as_it_was(Kind::Ministack);
}

#[test]
fn on_radosgw_a_tree_is_shown_as_it_was() {
    shown_as_it_was(Kind::Radosgw);
}

fn shown_as_it_was(kind: Kind) {
    if !has_fuse() {
        return;
    }
    let Some(site) = Site::new(kind) else { return };
    let mut figures = Figures::default();
    let tree = site.path("tree");
    sample::generate(&tree);
    let mut items = sample::real_folders();
    items.push(tree.clone());
    let mut expected = Tree::of_items(&items);
    if is_full() {
        assert!(expected.files() >= 10_000, "{} files", expected.files());
    }
    figures
        .say(&format!("{kind:?}: files and entries"), format!("{} of {}", expected.files(), expected.len()));

    let begun = Instant::now();
    let first = site.add("", &items.iter().map(PathBuf::as_path).collect::<Vec<_>>(), "first");
    figures.say(&format!("{kind:?}: atfs add"), seconds(begun.elapsed()));
    let mount = site.mount("main", "first");
    let begun = Instant::now();
    for item in &items {
        assert_no_diff(item, &mount.join(item.file_name().unwrap()));
    }
    figures.say(&format!("{kind:?}: diff -r, the first reading"), seconds(begun.elapsed()));
    let before = expected.clone();
    assert_same("the first mount", &Tree::below(&mount), &before);

    // The branch moves; what is mounted does not.
    let change = site.folder("change").join("tree");
    sample::change(&tree, &change);
    let added = add_json(&site, &change);
    let removed: Vec<String> = REMOVED.iter().map(|path| site.at(&format!("main:tree/{path}"))).collect();
    site.ok(&[&["rm", "-r", "-m", "without"], &removed.iter().map(String::as_str).collect::<Vec<_>>()[..]]
        .concat());
    let changed = Tree::of_items(&[&change]);
    expected.overlay(changed);
    REMOVED.iter().for_each(|path| expected.remove(&format!("tree/{path}")));
    // 1 MiB appended to the big file, 2 MiB in a file of its own, and little else.
    let new_bytes = added["new_bytes"].as_u64().unwrap();
    figures.at_most(&format!("{kind:?}: sent for a change of 3.1 MiB"), new_bytes >> 20, 9, "MiB");

    assert_same("the first mount, afterwards", &Tree::below(&mount), &before);
    site.unmount(&mount);
    let second = site.mount("main", "second");
    assert_same("the second mount", &Tree::below(&second), &expected);
    let again = site.mount(&first, "again");
    assert_same("the first commit by its id", &Tree::below(&again), &before);
    for item in &items {
        assert_no_diff(item, &again.join(item.file_name().unwrap()));
    }
    site.unmount(&second);
    site.unmount(&again);
    figures.say(&format!("{kind:?}: the cache holds"), megabytes(bytes_below(&site.cache_dir())));
    figures.end();
}

fn add_json(site: &Site, local: &Path) -> serde_json::Value {
    site.json(&["add", &site.at("main:"), local.to_str().unwrap(), "-m", "second"])
}

/// Bytes of all files below a folder.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().len()).sum()
}
