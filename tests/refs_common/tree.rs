//! Small trees as maps of paths to texts: an empty text is a directory, anything else a file with it.

use std::collections::BTreeMap;

use atfs::format::{Content, Entry, EntryBody, EntryHints, Mtime, TreeKey, Xattrs};
use atfs::repo::change::{Change, Committed, NewCommit, Referenced};
use atfs::repo::{Edits, Placed, RepoError, Repository, Snapshot};
use atfs::types::RepoPath;
use bytes::Bytes;

use super::{name, revision};

pub fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

pub fn key(text: &str) -> TreeKey {
    TreeKey::of(&path(text)).unwrap()
}

pub fn placed(text: &str) -> Placed {
    let body = match text {
        "" => EntryBody::Directory,
        _ => EntryBody::File {
            size: text.len() as u64,
            content: Content::Inline(Bytes::copy_from_slice(text.as_bytes())),
        },
    };
    let mtime = Mtime { seconds: 1_700_000_000, nanos: 0 };
    let entry = Entry { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Xattrs::None, body };
    Placed { entry, hints: EntryHints::default() }
}

/// `None` removes.
pub fn edits(changes: &[(&str, Option<&str>)]) -> Edits {
    let mut edits = Edits::new();
    for (path, text) in changes {
        match text {
            Some(text) => edits.put(key(path), placed(text)).unwrap(),
            None => edits.remove(key(path)),
        }
    }
    edits
}

/// Everything in a tree.
pub async fn contents(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rank = 0;
    let all = snapshot.commit().totals.entries;
    while rank < all {
        for entry in snapshot.page(rank..all).await.unwrap() {
            assert_eq!(entry.rank, rank);
            rank += 1;
            let text = match &entry.item.entry.body {
                EntryBody::File { content: Content::Inline(text), .. } => {
                    String::from_utf8(text.to_vec()).unwrap()
                }
                EntryBody::Directory => String::new(),
                other => panic!("{other:?}"),
            };
            found.insert(entry.item.key.to_path().unwrap().to_string(), text);
        }
    }
    found
}

pub async fn contents_of(repository: &Repository, at: &str) -> BTreeMap<String, String> {
    let resolved = repository.resolve(&revision(at)).await.unwrap();
    contents(&repository.snapshot(&resolved)).await
}

pub fn tree(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect()
}

pub async fn begin(repository: &Repository) -> Change {
    Change::begin(repository, &name("main")).await.unwrap()
}

/// Commits edits to a change that was begun.
pub async fn finish(change: Change, changes: &[(&str, Option<&str>)]) -> Result<Committed, RepoError> {
    change.commit(&edits(changes), &Referenced::default(), &NewCommit::new("test", "a test")).await
}

/// Commits edits to `main` as it stands.
pub async fn commit_edits(
    repository: &Repository,
    changes: &[(&str, Option<&str>)],
) -> Result<Committed, RepoError> {
    finish(begin(repository).await, changes).await
}
