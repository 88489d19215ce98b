//! Edits that remove and rename, made from a tree without looking at any content.

use crate::format::{EntryKind, TreeKey};
use crate::repo::{Edits, Placed, RepoError, Snapshot};
use crate::types::RepoPath;

/// Whether directories may be removed with all that is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directories {
    /// Naming one is an error.
    Refuse,
    /// With everything in them.
    Recurse,
}

/// Edits that remove `paths`.
///
/// # Errors
/// [`RepoError::NoSuchPath`], [`RepoError::BadPath`] for the root and for refused directories; as [`Snapshot::get`].
pub async fn remove(
    snapshot: &Snapshot,
    paths: &[RepoPath],
    directories: Directories,
) -> Result<Edits, RepoError> {
    let mut edits = Edits::new();
    for path in paths {
        let (key, placed) = existing(snapshot, path).await?;
        if placed.is_directory() {
            if directories == Directories::Refuse {
                return Err(bad(path, "is a directory"));
            }
            below(snapshot, path, |key, _| {
                edits.remove(key);
                Ok(())
            })
            .await?;
        }
        edits.remove(key);
    }
    Ok(edits)
}

/// Edits that rename `from` to `to`, a path that does not exist in a directory that does; directories with all that is in them.
///
/// # Errors
/// [`RepoError::NoSuchPath`], [`RepoError::BadPath`], [`RepoError::Path`] when a path becomes too long; as [`Snapshot::get`].
pub async fn rename(snapshot: &Snapshot, from: &RepoPath, to: &RepoPath) -> Result<Edits, RepoError> {
    let (old_key, placed) = existing(snapshot, from).await?;
    if to.starts_with(from) {
        return Err(bad(to, "cannot be moved into itself"));
    }
    let new_key = TreeKey::of(to).ok_or_else(|| bad(to, "is the root of the tree"))?;
    if snapshot.get(to).await?.is_some() {
        return Err(bad(to, "exists already"));
    }
    if let Some(parent) = to.parent().filter(|parent| !parent.is_root()) {
        let (_, placed) = existing(snapshot, &parent).await?;
        if !placed.is_directory() {
            return Err(bad(&parent, "is not a directory"));
        }
    }
    let mut edits = Edits::new();
    if placed.entry.kind() == EntryKind::Directory {
        below(snapshot, from, |key, placed| {
            let rest = key.to_path().ok().and_then(|path| path.strip_prefix(from));
            let new_path = to.join_path(&rest.unwrap_or_default())?;
            edits.remove(key);
            let key = TreeKey::of(&new_path).ok_or_else(|| bad(to, "is the root of the tree"))?;
            put(&mut edits, &new_path, key, placed)?;
            Ok(())
        })
        .await?;
    }
    edits.remove(old_key);
    put(&mut edits, to, new_key, placed)?;
    Ok(edits)
}

fn put(edits: &mut Edits, path: &RepoPath, key: TreeKey, placed: Placed) -> Result<(), RepoError> {
    edits.put(key, placed).map_err(|error| bad(path, &error.to_string()))
}

async fn existing(snapshot: &Snapshot, path: &RepoPath) -> Result<(TreeKey, Placed), RepoError> {
    if path.is_root() {
        return Err(bad(path, "is the root of the tree"));
    }
    match snapshot.get(path).await? {
        Some(found) => Ok((found.item.key.clone(), found.item.into())),
        None => Err(RepoError::NoSuchPath { path: path.clone(), revision: snapshot.id().short() }),
    }
}

/// Calls `each` for everything below a directory.
async fn below(
    snapshot: &Snapshot,
    dir: &RepoPath,
    mut each: impl FnMut(TreeKey, Placed) -> Result<(), RepoError>,
) -> Result<(), RepoError> {
    let mut ranks = snapshot.subtree(dir).await?;
    while !ranks.is_empty() {
        let page = snapshot.page(ranks.clone()).await?;
        // A page holds at least one entry of a range that is not empty.
        ranks.start = page.last().map_or(ranks.end, |found| found.rank + 1);
        for found in page {
            each(found.item.key.clone(), found.item.into())?;
        }
    }
    Ok(())
}

fn bad(path: &RepoPath, reason: &str) -> RepoError {
    let path = if path.is_root() { "/".to_owned() } else { path.to_string() };
    RepoError::BadPath { path, reason: reason.to_owned() }
}
