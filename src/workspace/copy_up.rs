//! How something of the view below comes into the top: without its bytes, and without showing.
//!
//! A directory is made as one that is merged, a file as a sparse one of its size that shows all of its origin; both with the attributes that they
//! have below. So the view is the same before and after, but for the time of the directory that gets a name: it is put back.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;

use crate::format::{EntryBody, EntryKind};
use crate::repo::Placed;
use crate::types::{Name, RepoPath};

use super::attributes::Attributes;
use super::error::WorkspaceError;
use super::layer::{Held, Layer, Seen};
use super::record::{Holder, Origin, Record, Visible};
use super::view::{Directory, From, Node, Stack};

/// A path, and what was found on the way to it.
#[derive(Debug)]
pub(super) struct Trail {
    pub(super) stack: Arc<Stack>,
    pub(super) path: RepoPath,
    /// From the root to the directory that holds the name; empty for the root itself.
    ancestors: Vec<Directory>,
    pub(super) node: Option<Node>,
    /// What would be there without the top.
    pub(super) below: Option<Node>,
}

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Undone {
    /// Something else changed meanwhile: look again.
    Stale,
    Failed(WorkspaceError),
}

impl Trail {
    /// Looks at `path` and at everything above it.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR` for a directory above it.
    pub(super) async fn to(stack: Arc<Stack>, path: &RepoPath) -> Result<Self, WorkspaceError> {
        let mut trail = Self {
            path: path.clone(),
            ancestors: Vec::new(),
            node: Some(Node::Directory(stack.directory(&RepoPath::ROOT).await?)),
            below: None,
            stack,
        };
        for name in path.components() {
            let parent = match trail.node.take() {
                Some(Node::Directory(parent)) => parent,
                Some(_) => return Err(WorkspaceError::errno(path, Errno::ENOTDIR)),
                None => return Err(WorkspaceError::errno(path, Errno::ENOENT)),
            };
            trail.node = trail.stack.child(&parent, name, From::Top).await?;
            trail.below = trail.stack.child(&parent, name, From::BelowTop).await?;
            trail.ancestors.push(parent);
        }
        Ok(trail)
    }

    /// The name; `EBUSY` for the root, which has none.
    pub(super) fn name(&self) -> Result<Name<'_>, WorkspaceError> {
        self.path.name().ok_or_else(|| WorkspaceError::errno(&self.path, Errno::EBUSY))
    }

    /// The layer that is written to.
    pub(super) fn top(&self) -> &Arc<Layer> {
        &self.stack.layers[0]
    }

    /// What is there.
    ///
    /// # Errors
    /// `ENOENT`.
    pub(super) fn existing(&self) -> Result<&Node, WorkspaceError> {
        self.node.as_ref().ok_or_else(|| WorkspaceError::errno(&self.path, Errno::ENOENT))
    }

    /// The top's directory that holds the name, made with those above it where the top has none.
    pub(super) fn parent(&self) -> Result<File, Undone> {
        let mut made: Option<File> = None;
        for directory in &self.ancestors {
            made = Some(self.directory_in_top(directory, made.as_ref())?);
        }
        made.ok_or_else(|| Undone::Failed(WorkspaceError::errno(&self.path, Errno::EBUSY)))
    }

    /// What the top has of the path, brought up where it has nothing.
    pub(super) fn in_top(&self) -> Result<Held, Undone> {
        let node = self.existing().map_err(Undone::Failed)?;
        if let Node::Directory(directory) = node {
            let parent = (!self.ancestors.is_empty()).then(|| self.parent()).transpose()?;
            let file = self.directory_in_top(directory, parent.as_ref())?;
            return self.held(file).map_err(|error| self.undone(error));
        }
        let parent = self.parent()?;
        let name = self.name().map_err(Undone::Failed)?;
        let at = (&parent, name.as_os());
        if !matches!(node, Node::Held(0, _)) {
            self.file_to_top(node, &parent, name).map_err(|error| self.undone(error))?;
        }
        match self.top().look(at).map_err(|error| self.undone(error))? {
            Seen::Held(held) => Ok(*held),
            Seen::Nothing | Seen::Whiteout => Err(Undone::Stale),
        }
    }

    fn held(&self, file: File) -> io::Result<Held> {
        Ok(Held { record: Record::of(&file)?, stat: file.metadata()?, file })
    }

    fn directory_in_top(&self, directory: &Directory, parent: Option<&File>) -> Result<File, Undone> {
        let make = || {
            if let Some(file) = directory.top() {
                return file.try_clone();
            }
            let (Some(parent), Some(name)) = (parent, directory.path.name()) else {
                return Err(Errno::EBUSY.into());
            };
            let about = Attributes::of_directory(directory)?;
            let record = Record {
                origin: Some(Origin::Here),
                xattrs: Holder::Origin,
                ..Record::new(EntryKind::Directory, about.mode, about.owner)
            };
            let disk = &self.top().disk;
            unseen(self.top(), parent, || {
                let fill = |file: &File| disk.set_times(file, None, Some(about.modified));
                self.top().make_directory((parent, name.as_os()), &record, fill)
            })
        };
        make().map_err(|error| self.undone(error))
    }

    fn file_to_top(&self, node: &Node, parent: &File, name: Name<'_>) -> io::Result<File> {
        let about = Attributes::of(node)?;
        let below = self.ancestors.last().and_then(Directory::below);
        let target = match node {
            Node::Base(found) => match &found.item.entry.body {
                EntryBody::Symlink { target } => Some(target.clone()),
                _ => None,
            },
            Node::Held(_, held) if about.kind == EntryKind::Symlink => Some(read_all(held)?),
            Node::Held(..) | Node::Directory(_) => None,
        };
        let visible = Visible { len: about.size, ranges: None };
        let origin = match node {
            _ if target.is_some() => None,
            Node::Base(found) => {
                let item = &found.item;
                let placed = Placed { entry: item.entry.clone(), hints: item.hints };
                Some(Origin::Entry(Box::new(placed), visible))
            }
            _ => {
                let below = below.and_then(|below| below.join(name).ok()).ok_or(Errno::ENAMETOOLONG)?;
                Some(Origin::At(below, visible))
            }
        };
        let xattrs = if origin.is_some() { Holder::Origin } else { Holder::Own };
        let record = Record { origin, xattrs, ..Record::new(about.kind, about.mode, about.owner) };
        let disk = &self.top().disk;
        unseen(self.top(), parent, || {
            self.top().make_file((parent, name.as_os()), &record, |file| {
                match &target {
                    Some(target) => disk.write(file, target, 0)?,
                    None => disk.set_len(file, about.size)?,
                }
                disk.set_times(file, None, Some(about.modified))
            })
        })
    }

    /// What the disk answered: something that is in the way means that the look was too old.
    pub(super) fn undone(&self, error: io::Error) -> Undone {
        match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => Undone::Stale,
            _ => Undone::Failed(self.stack.failed(&self.path, error)),
        }
    }
}

impl core::convert::From<WorkspaceError> for Undone {
    fn from(error: WorkspaceError) -> Self {
        Self::Failed(error)
    }
}

/// Gives a directory of the top a name that changes nothing in the view: its time stays.
fn unseen<T>(layer: &Layer, parent: &File, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let modified = parent.metadata()?.modified()?;
    let made = make()?;
    layer.disk.set_times(parent, None, Some(modified))?;
    Ok(made)
}

/// All bytes of a symlink of a layer.
pub(super) fn read_all(held: &Held) -> io::Result<Bytes> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; held.stat.len() as usize];
    held.file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}
