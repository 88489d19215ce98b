//! What `stat` shows, from whichever layer says it.

use std::io;
use std::time::SystemTime;

use nix::errno::Errno;

use crate::format::{Entry, EntryKind};
use crate::types::RepoPath;

use super::error::WorkspaceError;
use super::layer::Held;
use super::record::Record;
use super::view::{Directory, Node};
use super::{Moves, Workspace};

/// What `stat` shows of something of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// File, directory or symlink.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u16,
    /// Uid and gid.
    pub owner: (u32, u32),
    /// Length in bytes; 0 for a directory.
    pub size: u64,
    /// Last modification.
    pub modified: SystemTime,
}

/// New attributes; `None` as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewAttributes {
    /// Permission bits, at most `0o7777`.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub accessed: Option<SystemTime>,
    /// Last modification.
    pub modified: Option<SystemTime>,
}

impl Workspace {
    /// Changes attributes.
    pub async fn set_attributes(&self, path: &RepoPath, new: NewAttributes) -> Result<(), WorkspaceError> {
        self.change([path], |[trail]| {
            let held = trail.in_top()?;
            let record = Record {
                mode: new.mode.map_or(held.record.mode, |mode| mode & 0o7777),
                uid: new.uid.unwrap_or(held.record.uid),
                gid: new.gid.unwrap_or(held.record.gid),
                ..held.record.clone()
            };
            let disk = &trail.top().disk;
            let set = || {
                if record != held.record {
                    record.write(disk, &held.file)?;
                }
                match (new.accessed, new.modified) {
                    (None, None) => Ok(()),
                    (accessed, modified) => disk.set_times(&held.file, accessed, modified),
                }
            };
            set().map_err(|error| trail.undone(error))?;
            Ok(((), Moves::Nothing))
        })
        .await
    }
}

impl Attributes {
    pub(super) fn of(node: &Node) -> io::Result<Self> {
        match node {
            Node::Directory(directory) => Self::of_directory(directory),
            Node::Held(_, held) => Self::of_held(held),
            Node::Base(found) => Ok(Self::of_entry(&found.item.entry)),
        }
    }

    pub(super) fn of_directory(directory: &Directory) -> io::Result<Self> {
        match (directory.held(), directory.entry()) {
            (Some(held), _) => Self::of_held(held),
            (None, Some(found)) => Ok(Self::of_entry(&found.item.entry)),
            // The root has a part in every layer.
            (None, None) => Err(Errno::ENOENT.into()),
        }
    }

    fn of_held(held: &Held) -> io::Result<Self> {
        let Record { kind, mode, uid, gid, .. } = held.record;
        let size = if kind == EntryKind::Directory { 0 } else { held.stat.len() };
        Ok(Self { kind, mode, owner: (uid, gid), size, modified: held.stat.modified()? })
    }

    fn of_entry(entry: &Entry) -> Self {
        Self {
            kind: entry.kind(),
            // setuid and setgid are never stored; a hostile tree that held them would not get them here either.
            mode: entry.mode & 0o1777,
            owner: (entry.uid, entry.gid),
            size: entry.size(),
            modified: entry.mtime.to_system_time(),
        }
    }
}
