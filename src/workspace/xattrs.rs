//! Extended attributes `user.*`: a file's own, or its origin's until the first is set.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use xattr::FileExt;

use crate::format::{EntryKind, XattrList};
use crate::types::RepoPath;

use super::copy_up::Trail;
use super::disk::Disk;
use super::error::WorkspaceError;
use super::layer::Held;
use super::record::{self, Holder, Origin, Record};
use super::view::{Node, Stack};
use super::{Moves, Workspace};

impl Workspace {
    /// The `user.*` attributes of what is at a path.
    pub async fn xattrs(&self, path: &RepoPath) -> Result<XattrList, WorkspaceError> {
        let (stack, _) = self.now();
        let trail = Trail::to(stack, path).await?;
        trail.stack.xattrs(trail.existing()?, path).await
    }

    /// Sets a `user.*` attribute, or takes it away (`None`).
    pub async fn set_xattr(
        &self,
        path: &RepoPath,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), WorkspaceError> {
        let now = self.xattrs(path).await?;
        let is_there = now.0.iter().any(|(there, _)| there == name);
        if value.is_none() && !is_there {
            return Err(WorkspaceError::errno(path, Errno::ENODATA));
        }
        self.change([path], |[trail]| {
            let held = trail.in_top()?;
            let disk = &trail.top().disk;
            let set = || {
                if held.record.xattrs == Holder::Own {
                    let name = OsStr::from_bytes(name);
                    return match value {
                        Some(value) => disk.set_xattr(&held.file, name, value),
                        None => disk.remove_xattr(&held.file, name),
                    };
                }
                let mut all: Vec<_> = now.0.iter().filter(|(there, _)| there != name).cloned().collect();
                all.extend(value.map(|value| (name.to_vec(), value.to_vec())));
                own_xattrs(disk, &held.file, &held.record, &XattrList(all))
            };
            set().map_err(|error| trail.undone(error))?;
            Ok(((), Moves::Nothing))
        })
        .await
    }
}

impl Stack {
    /// The `user.*` attributes of something of the view.
    async fn xattrs(&self, node: &Node, path: &RepoPath) -> Result<XattrList, WorkspaceError> {
        let repo = |source| WorkspaceError::repo(path, source);
        let parts: Vec<_> = match node {
            Node::Base(found) => return self.base.xattrs(&found.item).await.map_err(repo),
            Node::Held(number, held) => vec![(*number, held.clone())],
            Node::Directory(directory) => directory.parts().cloned().collect(),
        };
        for (number, held) in parts {
            match (&held.record.xattrs, &held.record.origin) {
                (Holder::Own, _) | (Holder::Origin, None) => {
                    return own(&held).map_err(|error| self.failed(path, error));
                }
                (Holder::Origin, Some(Origin::Entry(placed, _))) => {
                    return self.base.xattrs_of(&placed.entry, &placed.hints).await.map_err(repo);
                }
                (Holder::Origin, Some(Origin::At(place, _))) if held.record.kind == EntryKind::File => {
                    return match self.find_below(number, place).await? {
                        Some(node) => Box::pin(self.xattrs(&node, path)).await,
                        None => Ok(XattrList::default()),
                    };
                }
                // The next part is the origin.
                (Holder::Origin, Some(Origin::Here | Origin::At(..))) => {}
            }
        }
        match node {
            Node::Directory(directory) => match directory.entry() {
                Some(found) => self.base.xattrs(&found.item).await.map_err(repo),
                None => Ok(XattrList::default()),
            },
            _ => Ok(XattrList::default()),
        }
    }
}

/// Gives a file of the top attributes of its own, which hold from the moment its record says so.
pub(super) fn own_xattrs(disk: &Disk, file: &File, record: &Record, xattrs: &XattrList) -> io::Result<()> {
    if record.xattrs == Holder::Origin {
        // Half a copy of a process before this one.
        for name in file.list_xattr()?.filter(|name| XattrList::is_stored_name(name.as_bytes())) {
            if name.as_bytes() != record::NAME.as_bytes() {
                disk.remove_xattr(file, &name)?;
            }
        }
        for (name, value) in &xattrs.0 {
            disk.set_xattr(file, OsStr::from_bytes(name), value)?;
        }
    }
    Record { xattrs: Holder::Own, ..record.clone() }.write(disk, file)
}

/// The attributes on a file of a layer.
fn own(held: &Held) -> io::Result<XattrList> {
    let mut pairs = Vec::new();
    for name in held.file.list_xattr()? {
        if XattrList::is_stored_name(name.as_bytes()) && name.as_bytes() != record::NAME.as_bytes() {
            let value = held.file.get_xattr(&name)?.unwrap_or_default();
            pairs.push((name.as_bytes().to_vec(), value));
        }
    }
    pairs.sort();
    Ok(XattrList(pairs))
}
