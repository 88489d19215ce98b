//! `scripts/read-repo.py`, which knows `docs/format.md` and none of our code, restores what the format's code stored, and
//! refuses what is damaged.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod format_support;
// Not the whole of `support`: servers are not needed here.
#[path = "support/python.rs"]
mod python;
#[path = "support/required.rs"]
mod required;

use std::path::Path;
use std::process::{Command, Output};

use atfs::format::StoredCommit;
use atfs::types::RefKind;
use format_support::repository::{Builder, Tree, sample_tree, scan};

struct Repo {
    python: &'static Path,
    scratch: tempfile::TempDir,
    first: StoredCommit,
    second: StoredCommit,
    tree: Tree,
}

/// A repository with two commits, a branch that has moved, tags, a deleted branch and wild records; `None` where there is
/// no Python to read it with.
fn repository() -> Option<Repo> {
    let python = python::python()?;
    let scratch = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(&scratch.path().join("repo"));
    let mut tree = sample_tree();
    let empty = builder.commit(&Tree::new(), vec![], "Begin");
    let first =
        builder.commit(&tree, vec![empty.commit.id()], "every \"kind\"\n\u{0}\u{7f}\u{2028}\u{1f600}");
    builder.flush();
    tree.remove(&b"labels/00017.json"[..]);
    let changed = tree.get_mut(&b"sizes/text-5000"[..]).unwrap();
    changed.bytes = Some(b"changed".to_vec());
    let second = builder.commit(&tree, vec![first.commit.id()], "a change");
    builder.flush();
    let heads = [Some(&empty), Some(&first), Some(&second)];
    let main = builder.log(RefKind::Branch, "main", &heads);
    builder.log(RefKind::Branch, "ingest/2026", &[Some(&first)]);
    builder.log(RefKind::Branch, "gone", &[Some(&first), None]);
    builder.log(RefKind::Tag, "v1", &[Some(&first)]);
    builder.log(RefKind::Tag, "empty", &[Some(&empty)]);
    builder.put(&format!("{main}/000000000005.json"), b"a wild number");
    builder.put(&format!("{main}/999999999999.json"), b"number 0");
    builder.put(&format!("{main}/0000.json"), b"not a number");
    Some(Repo { python, scratch, first, second, tree })
}

impl Repo {
    fn restore(&self, revision: &str) -> (Output, Tree) {
        let out = self.scratch.path().join("out");
        if out.exists() {
            let status = Command::new("chmod").args(["-R", "u+rwx"]).arg(&out).status().unwrap();
            assert!(status.success());
            std::fs::remove_dir_all(&out).unwrap();
        }
        let output = python::read_repo(self.python, &self.scratch.path().join("repo"), revision, &out);
        let tree = if out.exists() { scan(&out) } else { Tree::new() };
        (output, tree)
    }

    /// Every object but `format.json`, largest first.
    fn objects(&self) -> Vec<std::path::PathBuf> {
        let mut paths: Vec<_> = walkdir::WalkDir::new(self.scratch.path().join("repo"))
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
        paths
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Modes of files that nobody may read stay unread by others than root.
fn assert_same(found: &Tree, expected: &Tree) {
    for (path, entry) in expected {
        let name = path.escape_ascii();
        let found = found.get(path).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(found == entry, "{name} differs: mode {:o} mtime {:?}", found.mode, found.mtime);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn every_revision_is_restored_as_it_was() {
    let Some(repo) = repository() else { return };
    let first = sample_tree();
    let id = repo.first.commit.id();
    for (revision, expected) in [
        ("main", &repo.tree),
        ("HEAD", &repo.tree),
        (&repo.second.commit.id().to_hex(), &repo.tree),
        ("ingest/2026", &first),
        ("v1", &first),
        (&id.short(), &first),
        ("empty", &Tree::new()),
    ] {
        let (output, found) = repo.restore(revision);
        assert!(output.status.success(), "{revision}: {}", text(&output));
        assert_same(&found, expected);
    }
    let (output, _) = repo.restore("main");
    for ignored in ["000000000005.json", "999999999999.json", "0000.json"] {
        assert!(text(&output).contains(ignored), "{}", text(&output));
    }
    for unknown in ["gone", "nothing", "0000", "../main", "-x"] {
        let (output, _) = repo.restore(unknown);
        assert!(!output.status.success() && !text(&output).contains("Traceback"), "{}", text(&output));
    }
}

/// One flipped bit, or a missing object: what is restored is right, and what is not is named.
#[test]
fn damage_never_gives_wrong_bytes() {
    let Some(repo) = repository() else { return };
    let mut random = format_support::SplitMix64(6);
    // The packs three times: there is much to hit.
    let packs = repo.objects().into_iter().take(4).cycle().take(8);
    for path in packs.chain(repo.objects()) {
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let at = random.below(bad.len());
        bad[at] ^= 1 << random.below(8);
        // That the newest record is gone cannot be seen; docs/format.md says so.
        if random.below(5) == 0 && !path.to_string_lossy().contains("/refs/") {
            std::fs::remove_file(&path).unwrap();
        } else {
            std::fs::write(&path, &bad).unwrap();
        }
        let (output, found) = repo.restore("main");
        let what = format!("{} byte {at}: {}", path.display(), text(&output));
        assert!(!text(&output).contains("Traceback"), "{what}");
        let expected = &repo.tree;
        for (path, entry) in &found {
            let right = &expected[path];
            assert!(entry.bytes == right.bytes, "{}: {what}", path.escape_ascii());
            assert_eq!(entry.is_symlink, right.is_symlink, "{what}");
        }
        if output.status.success() {
            assert_same(&found, expected);
        } else {
            assert!(text(&output).contains("read-repo.py: "), "{what}");
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(repo.restore("main").0.status.success());
}
