//! A tree is whole: what lies in a directory has that directory.
//!
//! Edits are made by several parts of the program; this is looked at once more before a tree is built from them, since
//! a commit with an entry that no listing reaches could never be repaired.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::format::{EntryKind, TreeKey};
use crate::repo::{Edits, RepoError, Snapshot};
use crate::types::RepoPath;

/// How many directories are looked up at once.
const AT_ONCE: usize = 16;

/// Checks that the directory of every path written is one, in the edits or in the tree they are applied to.
///
/// # Errors
/// [`RepoError::BadPath`] naming the directory; as [`Snapshot::get`].
pub(super) async fn check(base: &Snapshot, edits: &Edits) -> Result<(), RepoError> {
    let mut unknown: BTreeSet<RepoPath> = BTreeSet::new();
    let mut finder = edits.finder();
    for (key, placed) in edits.iter() {
        let parent = key.to_path().ok().and_then(|path| path.parent());
        let Some(parent) = parent.filter(|parent| placed.is_some() && !parent.is_root()) else { continue };
        match TreeKey::of(&parent).as_ref().and_then(|key| finder.get(key)) {
            Some(Some(placed)) if placed.is_directory() => {}
            Some(_) => return Err(bad(parent)),
            None => {
                unknown.insert(parent);
            }
        }
    }
    stream::iter(unknown)
        .map(|parent| async move {
            let found = base.get(&parent).await?;
            let is_directory = found.is_some_and(|found| found.item.entry.kind() == EntryKind::Directory);
            if is_directory { Ok(()) } else { Err(bad(parent)) }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn bad(parent: RepoPath) -> RepoError {
    let reason = "something is to be written into it, but it is no directory".to_owned();
    RepoError::BadPath { path: parent.to_string(), reason }
}
