//! What programs do to names: make, remove, rename, link.
//!
//! Which calls of the disk that takes, in which order, and why a process that dies between two of them shows nothing half done, stands in
//! `docs/design/0011-workspaces.md`; the calls are [`super::layer`]'s.

use std::fs::File;
use std::io;

use nix::errno::Errno;

use crate::format::{EntryKind, XattrList};
use crate::types::{Name, RepoPath};

use super::copy_up::{Trail, Undone};
use super::error::WorkspaceError;
use super::layer::{Below, Layer};
use super::local::Local;
use super::record::{Origin, Record, Visible};
use super::view::Node;
use super::xattrs::own_xattrs;
use super::{Moves, Workspace};

/// What a rename does to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It takes its place.
    Yes,
    /// It is an error.
    No,
    /// They change places.
    Exchange,
}

impl Workspace {
    /// Makes a file.
    pub async fn create_file(
        &self,
        path: &RepoPath,
        mode: u16,
        owner: (u32, u32),
    ) -> Result<Local, WorkspaceError> {
        self.change([path], |[trail]| {
            let record = Record::new(EntryKind::File, mode, owner);
            let file = make(trail, |parent, name| {
                trail.top().make_file((parent, name.as_os()), &record, |_| Ok(()))
            })?;
            let local = Local::new(trail.top().clone(), file, record).map_err(|error| trail.undone(error))?;
            Ok((local, Moves::Nothing))
        })
        .await
    }

    /// Makes a directory.
    pub async fn make_directory(
        &self,
        path: &RepoPath,
        mode: u16,
        owner: (u32, u32),
    ) -> Result<(), WorkspaceError> {
        self.change([path], |[trail]| {
            let record = Record::new(EntryKind::Directory, mode, owner);
            let make_it = |parent: &File, name: Name<'_>| {
                trail.top().make_directory((parent, name.as_os()), &record, |_| Ok(()))
            };
            make(trail, make_it)?;
            Ok(((), Moves::Nothing))
        })
        .await
    }

    /// Makes a symlink.
    pub async fn make_symlink(
        &self,
        path: &RepoPath,
        target: &[u8],
        owner: (u32, u32),
    ) -> Result<(), WorkspaceError> {
        self.change([path], |[trail]| {
            let record = Record::new(EntryKind::Symlink, 0o777, owner);
            let top = trail.top();
            make(trail, |parent, name| {
                top.make_file((parent, name.as_os()), &record, |file| top.disk.write(file, target, 0))
            })?;
            Ok(((), Moves::Nothing))
        })
        .await
    }

    /// Takes a file's or a symlink's name away.
    pub async fn unlink(&self, path: &RepoPath) -> Result<(), WorkspaceError> {
        self.change([path], |[trail]| {
            if let Node::Directory(_) = trail.existing()? {
                return Err(WorkspaceError::errno(path, Errno::EISDIR).into());
            }
            remove(trail)?;
            Ok(((), Moves::Nothing))
        })
        .await
    }

    /// Removes an empty directory.
    pub async fn remove_directory(&self, path: &RepoPath) -> Result<(), WorkspaceError> {
        self.must_be_empty(path).await?;
        self.change([path], |[trail]| {
            if !matches!(trail.existing()?, Node::Directory(_)) {
                return Err(WorkspaceError::errno(path, Errno::ENOTDIR).into());
            }
            remove(trail)?;
            Ok(((), Moves::Directories))
        })
        .await
    }

    /// Renames.
    pub async fn rename(
        &self,
        from: &RepoPath,
        to: &RepoPath,
        replace: Replace,
    ) -> Result<(), WorkspaceError> {
        if to.starts_with(from) && to != from
            || replace == Replace::Exchange && from.starts_with(to) && to != from
        {
            return Err(WorkspaceError::errno(to, Errno::EINVAL));
        }
        let there = self.look(to).await?;
        let moved = self.look(from).await?;
        let moved = moved.ok_or_else(|| WorkspaceError::errno(from, Errno::ENOENT))?;
        match (&there, replace) {
            (Some(_), Replace::No) => return Err(WorkspaceError::errno(to, Errno::EEXIST)),
            (None, Replace::Exchange) => return Err(WorkspaceError::errno(to, Errno::ENOENT)),
            _ if from == to => return Ok(()),
            (Some(there), Replace::Yes) => match (&moved, there) {
                (Node::Directory(_), Node::Directory(_)) => self.must_be_empty(to).await?,
                (Node::Directory(_), _) => return Err(WorkspaceError::errno(to, Errno::ENOTDIR)),
                (_, Node::Directory(_)) => return Err(WorkspaceError::errno(to, Errno::EISDIR)),
                _ => {}
            },
            _ => {}
        }
        let attributes = match &there {
            Some(Node::Directory(_)) => self.xattrs(to).await?,
            _ => XattrList::default(),
        };
        self.change([from, to], |[from, to]| {
            bring(from)?;
            let (from_parent, to_parent) = (from.parent()?, to.parent()?);
            let (from_at, to_at) = ((&from_parent, from.name()?.as_os()), (&to_parent, to.name()?.as_os()));
            let top = from.top();
            let below = |trail: &Trail| if trail.below.is_some() { Below::Has } else { Below::Lacks };
            let done = match (&to.node, replace) {
                (Some(_), Replace::Exchange) => {
                    bring(to)?;
                    top.exchange(from_at, to_at)
                }
                (Some(Node::Directory(there)), _) => match there.top() {
                    Some(file) => make_opaque(top, file, &attributes)
                        .and_then(|()| top.rename(from_at, to_at, below(from))),
                    None => top.rename(from_at, to_at, below(from)),
                },
                _ => top.rename(from_at, to_at, below(from)),
            };
            done.map_err(|error| from.undone(error))?;
            Ok(((), Moves::Directories))
        })
        .await
    }

    /// One more name for a file.
    pub async fn link(&self, from: &RepoPath, to: &RepoPath) -> Result<(), WorkspaceError> {
        self.change([from, to], |[from, to]| {
            if let Node::Directory(_) = from.existing()? {
                return Err(WorkspaceError::errno(&from.path, Errno::EPERM).into());
            }
            from.in_top()?;
            let parent = from.parent()?;
            let at = (&parent, from.name()?.as_os());
            make(to, |parent, name| from.top().link(at, (parent, name.as_os())))?;
            Ok(((), Moves::Nothing))
        })
        .await
    }

    async fn must_be_empty(&self, path: &RepoPath) -> Result<(), WorkspaceError> {
        match self.list(path).await?.is_empty() {
            true => Ok(()),
            false => Err(WorkspaceError::errno(path, Errno::ENOTEMPTY)),
        }
    }
}

/// Makes something at a name that is free.
fn make<T>(trail: &Trail, make: impl FnOnce(&File, Name<'_>) -> io::Result<T>) -> Result<T, Undone> {
    if trail.node.is_some() {
        return Err(WorkspaceError::errno(&trail.path, Errno::EEXIST).into());
    }
    let (parent, name) = (trail.parent()?, trail.name()?);
    make(&parent, name).map_err(|error| trail.undone(error))
}

/// Takes the name away.
fn remove(trail: &Trail) -> Result<(), Undone> {
    let parent = trail.parent()?;
    let below = if trail.below.is_some() { Below::Has } else { Below::Lacks };
    trail.top().remove((&parent, trail.name()?.as_os()), below).map_err(|error| trail.undone(error))
}

/// Brings what is to be renamed into the top; a merged directory learns where it is merged from.
fn bring(trail: &Trail) -> Result<(), Undone> {
    let held = trail.in_top()?;
    let Some(Node::Directory(directory)) = &trail.node else { return Ok(()) };
    if held.record.origin != Some(Origin::Here) {
        return Ok(());
    }
    let Some(below) = directory.below() else { return Ok(()) };
    let origin = Some(Origin::At(below.clone(), Visible::default()));
    let record = Record { origin, ..held.record };
    record.write(&trail.top().disk, &held.file).map_err(|error| trail.undone(error))
}

/// Lets nothing show through a directory of the top any more, through which nothing is seen.
fn make_opaque(top: &Layer, file: &File, xattrs: &XattrList) -> io::Result<()> {
    let record = Record::of(file)?;
    match record.origin {
        None => Ok(()),
        Some(_) => own_xattrs(&top.disk, file, &Record { origin: None, ..record }, xattrs),
    }
}
