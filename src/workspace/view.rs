//! What is at a path: layers over a commit, from the top down.
//!
//! A directory of the view is made of parts, at most one per layer, and of a directory of the commit. Which parts those are is learnt
//! on the way from the root: a whiteout, a file, or a directory without origin hides everything under its name that lies deeper; a directory
//! that was renamed takes the parts of the place that it came from. Nothing is remembered, so nothing can be out of date.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use nix::errno::Errno;

use crate::format::EntryKind;
use crate::repo::{Found, Snapshot};
use crate::types::{Name, RepoPath};

use super::error::WorkspaceError;
use super::layer::{Held, Layer, Seen, names};
use super::record::Origin;

/// Layers over a commit. Never changes: freezing makes another.
#[derive(Debug)]
pub(super) struct Stack {
    /// The workspace, for messages.
    pub(super) dir: PathBuf,
    /// The top comes first; it alone is written to.
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) base: Snapshot,
}

/// A directory of the view.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) path: RepoPath,
    /// What layers have of it, by their place in the stack; the uppermost first.
    parts: Vec<(usize, Arc<Held>)>,
    /// The commit's directory that shows through.
    base: Option<RepoPath>,
    /// Where the view below the top has it; `None` if it is not merged with anything there.
    below: Option<RepoPath>,
    /// What says its attributes, where no part does; `None` for the root.
    entry: Option<Found>,
}

/// What is at a path.
#[derive(Debug)]
pub(super) enum Node {
    Directory(Directory),
    /// A file or symlink of a layer, and which layer's.
    Held(usize, Arc<Held>),
    /// A file or symlink of the commit.
    Base(Found),
}

/// From which depth on names are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Top,
    /// Whatever the top has: what would show without it.
    BelowTop,
}

impl Directory {
    /// What the top has of it.
    pub(super) fn top(&self) -> Option<&File> {
        self.parts.first().filter(|(layer, _)| *layer == 0).map(|(_, held)| &held.file)
    }

    /// What says its attributes: its uppermost part.
    pub(super) fn held(&self) -> Option<&Arc<Held>> {
        self.parts.first().map(|(_, held)| held)
    }

    /// Or the commit's entry.
    pub(super) fn entry(&self) -> Option<&Found> {
        self.entry.as_ref()
    }

    /// Where the view below the top has it.
    pub(super) fn below(&self) -> Option<&RepoPath> {
        self.below.as_ref()
    }

    /// The path of one of its names.
    pub(super) fn join(&self, name: Name<'_>) -> Result<RepoPath, WorkspaceError> {
        Ok(self.path.join(name)?)
    }

    /// Its parts in the layers.
    pub(super) fn parts(&self) -> impl Iterator<Item = &(usize, Arc<Held>)> {
        self.parts.iter()
    }

    /// The commit's directory that shows through.
    pub(super) fn base(&self) -> Option<&RepoPath> {
        self.base.as_ref()
    }
}

impl Stack {
    /// The root, as the layers from this one on have it.
    fn root(&self, from: usize) -> Result<Directory, WorkspaceError> {
        let path = RepoPath::ROOT;
        let mut parts = Vec::new();
        for (number, layer) in self.layers.iter().enumerate().skip(from) {
            let held = layer.look_at_root().map_err(|error| self.failed(&path, error))?;
            parts.push((number, Arc::new(held)));
        }
        let (base, below) = (Some(path.clone()), Some(path.clone()));
        Ok(Directory { path, parts, base, below, entry: None })
    }

    /// The directory at `path`.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`; see [`WorkspaceError`].
    pub(super) async fn directory(&self, path: &RepoPath) -> Result<Directory, WorkspaceError> {
        match self.find(0, path).await? {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(_) => Err(WorkspaceError::errno(path, Errno::ENOTDIR)),
            None => Err(WorkspaceError::errno(path, Errno::ENOENT)),
        }
    }

    /// What is at `path` in the view below this layer; `None` for nothing.
    pub(super) async fn find_below(
        &self,
        layer: usize,
        path: &RepoPath,
    ) -> Result<Option<Node>, WorkspaceError> {
        self.find(layer + 1, path).await
    }

    /// What is at `path`, as the layers from this one on have it; `None` for nothing.
    fn find<'a>(
        &'a self,
        from: usize,
        path: &'a RepoPath,
    ) -> BoxFuture<'a, Result<Option<Node>, WorkspaceError>> {
        Box::pin(async move {
            let mut node = Node::Directory(self.root(from)?);
            for name in path.components() {
                let Node::Directory(directory) = node else {
                    return Err(WorkspaceError::errno(path, Errno::ENOTDIR));
                };
                match self.child(&directory, name, From::Top).await? {
                    Some(found) => node = found,
                    None => return Ok(None),
                }
            }
            Ok(Some(node))
        })
    }

    /// What a name of a directory is; `None` for nothing.
    pub(super) async fn child(
        &self,
        directory: &Directory,
        name: Name<'_>,
        from: From,
    ) -> Result<Option<Node>, WorkspaceError> {
        let path = directory.join(name)?;
        let below = directory.below.as_ref().map(|below| below.join(name)).transpose()?;
        let mut child = Directory { path, parts: Vec::new(), base: None, below, entry: None };
        let depth = if from == From::BelowTop { 1 } else { 0 };
        for (number, part) in directory.parts.iter().filter(|(number, _)| *number >= depth) {
            let seen = self.layers[*number].look((&part.file, name.as_os()));
            let held = match seen.map_err(|error| self.failed(&child.path, error))? {
                Seen::Nothing => continue,
                Seen::Whiteout => return Ok(child.if_any()),
                Seen::Held(held) if held.record.kind != EntryKind::Directory => {
                    let file = Node::Held(*number, Arc::new(*held));
                    return Ok(child.if_any().or(Some(file)));
                }
                Seen::Held(held) => Arc::new(*held),
            };
            child.parts.push((*number, held.clone()));
            match &held.record.origin {
                Some(Origin::Here) => {}
                Some(Origin::At(place, _)) => {
                    if *number == 0 {
                        child.below = Some(place.clone());
                    }
                    return Ok(Some(Node::Directory(self.with_parts_of(child, *number + 1, place).await?)));
                }
                Some(Origin::Entry(..)) | None => {
                    if *number == 0 {
                        child.below = None;
                    }
                    return Ok(child.if_any());
                }
            }
        }
        let Some(base) = &directory.base else { return Ok(child.if_any()) };
        self.with_base(child, &base.join(name)?).await
    }

    /// The directory, with everything that the view from layer `from` on has at `place`.
    async fn with_parts_of(
        &self,
        mut directory: Directory,
        from: usize,
        place: &RepoPath,
    ) -> Result<Directory, WorkspaceError> {
        match self.find(from, place).await? {
            Some(Node::Directory(origin)) => {
                directory.parts.extend(origin.parts);
                directory.base = origin.base;
                directory.entry = origin.entry;
                Ok(directory)
            }
            _ => {
                let gone = format!("{place}, which it was renamed from, is not there");
                Err(self.failed(&directory.path, io::Error::new(io::ErrorKind::InvalidData, gone)))
            }
        }
    }

    /// The directory with the commit's at `place`, or what else the commit has there.
    async fn with_base(
        &self,
        mut directory: Directory,
        place: &RepoPath,
    ) -> Result<Option<Node>, WorkspaceError> {
        let found = self.base.get(place).await;
        let found = found.map_err(|source| WorkspaceError::repo(&directory.path, source))?;
        match found {
            Some(found) if found.item.entry.kind() == EntryKind::Directory => {
                directory.base = Some(place.clone());
                directory.entry = Some(found);
                Ok(Some(Node::Directory(directory)))
            }
            Some(found) if directory.parts.is_empty() => Ok(Some(Node::Base(found))),
            _ => Ok(directory.if_any()),
        }
    }

    /// The names in a directory, in no order.
    pub(super) async fn names(&self, directory: &Directory) -> Result<Vec<Vec<u8>>, WorkspaceError> {
        let mut seen = self.names_in_layers(directory)?;
        if let Some(base) = &directory.base {
            for name in self.committed_names(base).await? {
                seen.entry(name).or_insert(true);
            }
        }
        Ok(seen.into_iter().filter(|(_, shown)| *shown).map(|(name, _)| name).collect())
    }

    /// The names that layers have in a directory, and whether they show something.
    pub(super) fn names_in_layers(
        &self,
        directory: &Directory,
    ) -> Result<BTreeMap<Vec<u8>, bool>, WorkspaceError> {
        let mut seen = BTreeMap::new();
        for (_, held) in &directory.parts {
            for listed in names(&held.file).map_err(|error| self.failed(&directory.path, error))? {
                seen.entry(listed.name).or_insert(!listed.is_whiteout);
            }
        }
        Ok(seen)
    }

    /// The names in a directory of the commit; none where it has none.
    pub(super) async fn committed_names(&self, path: &RepoPath) -> Result<Vec<Vec<u8>>, WorkspaceError> {
        let failed = |source| WorkspaceError::repo(path, source);
        let mut ranks = self.base.children(path).await.map_err(failed)?;
        let mut names = Vec::new();
        while !ranks.is_empty() {
            let page = self.base.page(ranks.clone()).await.map_err(failed)?;
            let Some(last) = page.last() else { break };
            ranks.start = last.rank + 1;
            names.extend(page.iter().map(|found| found.item.key.name().as_bytes().to_vec()));
        }
        Ok(names)
    }

    /// What the disk answered, for a path.
    pub(super) fn failed(&self, path: &RepoPath, error: io::Error) -> WorkspaceError {
        match error.raw_os_error() {
            Some(errno) => WorkspaceError::Errno { path: path.clone(), errno },
            None => WorkspaceError::Damaged { path: path.clone(), dir: self.dir.clone(), source: error },
        }
    }
}

impl Directory {
    fn if_any(self) -> Option<Node> {
        (!self.parts.is_empty()).then_some(Node::Directory(self))
    }
}
