//! What the handlers pass around: an inode that was found, and a line of a listing.

use std::sync::Arc;
use std::time::Duration;

use crate::format::{EntryBody, LeafItem};
use crate::repo::Found;
use crate::types::RepoPath;

use super::attr::Attr;
use super::error::FsError;
use super::inode::{Ino, Inode, Slot};

/// An entry of a commit and its inode number. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its inode number.
    pub ino: Ino,
    /// Key, entry, hints.
    pub item: Arc<LeafItem>,
}

impl Node {
    /// The node of an entry of `slot`.
    ///
    /// # Errors
    /// [`FsError::TooManyEntries`] for a rank that no inode number can hold.
    pub(super) fn new(slot: Slot, found: Found) -> Result<Self, FsError> {
        let ino = Ino::entry(slot, found.rank).ok_or(FsError::TooManyEntries { rank: found.rank })?;
        Ok(Self { ino, item: Arc::new(found.item) })
    }

    /// Its place in the order of all keys of its commit.
    pub(super) fn rank(&self) -> u64 {
        match self.ino.meaning() {
            Some(Inode::Entry(_, rank)) => rank,
            // Nodes are made of entries only.
            _ => 0,
        }
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.item.entry.body, EntryBody::Directory)
    }

    /// Its path in the commit.
    ///
    /// # Errors
    /// [`FsError::NameTooLong`] never for an entry that a tree node decoded to.
    pub(super) fn path(&self) -> Result<RepoPath, FsError> {
        self.item.key.to_path().map_err(|_| FsError::NameTooLong)
    }
}

/// How long the kernel may believe an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// For ever: it belongs to a commit.
    Forever,
    /// For so long: the branch may move.
    For(Duration),
    /// Not at all: refs come and go, counters count.
    None,
}

/// One name of a listing.
#[derive(Debug)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Its attributes.
    pub attr: Attr,
    /// Where a listing that stops behind this name goes on.
    pub next: u64,
    /// How long name and attributes hold.
    pub lifetime: Lifetime,
}

/// Whether a listing's buffer took a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It did, and there may be room for more.
    Left,
    /// It did not.
    Full,
}
