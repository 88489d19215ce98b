//! Local trees, in the order of keys: everything in a directory first, then what lies in its directories, one after
//! the other. So files that lie together come together, and their content lies together in packs.
//!
//! Memory: the names of one directory, and the paths of the directories that are still to be listed (some 100 bytes each). A tree of
//! a million files in directories of thousands takes a few MB; a million files in one directory some 50 MB.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::format::TreeKey;
use crate::format::XattrList;
use crate::repo::RepoError;
use crate::types::{Name, Progress, RepoPath, Stage};

use super::AddItem;
use super::local::{Attributes, LocalFile, directory, local};

/// What a walk finds.
#[derive(Debug)]
pub(super) enum Found {
    /// A regular file, not read yet.
    File(LocalFile),
    /// A directory.
    Directory(TreeKey, Attributes),
    /// A symbolic link and its target.
    Symlink(TreeKey, Attributes, Bytes),
    /// Something that cannot be stored.
    Skipped(Skipped),
    /// The walk ended early.
    Failed(RepoError),
    /// The walk ended, and everything was told.
    Done,
}

/// Kinds of files that a repository does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// A block or character device.
    Device,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Nobody listens any more, or something failed.
enum Ended {
    Abandoned,
    Failed(RepoError),
}

impl From<RepoError> for Ended {
    fn from(error: RepoError) -> Self {
        Self::Failed(error)
    }
}

/// Walks `items` and tells what is found. Blocks. The last thing told is [`Found::Done`] or [`Found::Failed`].
pub(super) fn walk(items: &[AddItem], found: &mpsc::Sender<Found>, progress: &dyn Progress) {
    let walker = Walker { found, progress };
    let last = match items.iter().try_for_each(|item| walker.item(item)) {
        Ok(()) => Found::Done,
        Err(Ended::Failed(error)) => Found::Failed(error),
        Err(Ended::Abandoned) => return,
    };
    // If nobody listens any more nobody misses it.
    let _ = found.blocking_send(last);
}

struct Walker<'a> {
    found: &'a mpsc::Sender<Found>,
    progress: &'a dyn Progress,
}

impl Walker<'_> {
    fn item(&self, item: &AddItem) -> Result<(), Ended> {
        let metadata = fs::symlink_metadata(&item.from).map_err(|e| local("reading", &item.from, e))?;
        match TreeKey::of(&item.to) {
            Some(key) => self.one(&item.from, key, &metadata)?,
            None if metadata.is_dir() => {}
            None => {
                let reason = "only a directory can become the root of the tree".to_owned();
                return Err(
                    RepoError::BadPath { path: item.from.to_string_lossy().into_owned(), reason }.into()
                );
            }
        }
        if metadata.is_dir() { self.tree(item) } else { Ok(()) }
    }

    /// Everything below a directory.
    fn tree(&self, item: &AddItem) -> Result<(), Ended> {
        let mut open: Vec<(PathBuf, RepoPath)> = vec![(item.from.clone(), item.to.clone())];
        while let Some((dir, to)) = open.pop() {
            let failed = |error: io::Error| local("listing", &dir, error);
            let entries = fs::read_dir(&dir).map_err(failed)?;
            let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_boxed_os_str()));
            let mut names: Vec<Box<OsStr>> = names.collect::<io::Result<_>>().map_err(failed)?;
            names.sort_unstable();
            let below = open.len();
            for name in names {
                let path = dir.join(&*name);
                let to =
                    to.join(Name::new(name.as_bytes()).map_err(RepoError::from)?).map_err(RepoError::from)?;
                let metadata = fs::symlink_metadata(&path).map_err(|e| local("reading", &path, e))?;
                // Never the root: something was joined.
                let Some(key) = TreeKey::of(&to) else { continue };
                self.one(&path, key, &metadata)?;
                if metadata.is_dir() {
                    open.push((path, to));
                }
            }
            // The first is to be listed next.
            open[below..].reverse();
        }
        Ok(())
    }

    /// Tells one thing.
    fn one(&self, path: &Path, key: TreeKey, metadata: &Metadata) -> Result<(), Ended> {
        if key.is_reserved() {
            let reason = "the name .atfs at the root is kept for mounts".to_owned();
            return Err(RepoError::BadPath { path: path.to_string_lossy().into_owned(), reason }.into());
        }
        let kind = metadata.file_type();
        let found = if kind.is_file() {
            Found::File(LocalFile { path: path.to_owned(), key, size: metadata.size() })
        } else if kind.is_dir() {
            Found::Directory(key, directory(path, metadata)?)
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|e| local("reading", path, e))?;
            let target = Bytes::from(target.into_os_string().into_vec());
            Found::Symlink(key, Attributes::new(metadata, XattrList::default()), target)
        } else if kind.is_fifo() {
            Found::Skipped(Skipped::Fifo)
        } else if kind.is_socket() {
            Found::Skipped(Skipped::Socket)
        } else {
            Found::Skipped(Skipped::Device)
        };
        self.progress.advance(Stage::Scan, 1, if kind.is_file() { metadata.size() } else { 0 });
        self.found.blocking_send(found).map_err(|_| Ended::Abandoned)
    }
}
