//! What differs from the commit, found in time proportional to it.
//!
//! Only directories that some layer has are looked into, and committed ones that were renamed: those count entry by entry, as the commit will
//! store them. Whatever differs is told, each path once; in doubt a path is told that does not differ (a file patched with the bytes
//! that it had), which costs a commit nothing that is stored.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use tokio::sync::mpsc;

use crate::format::{Entry, EntryKind, TreeKey};
use crate::repo::{Found, RepoError};
use crate::types::{Name, RepoPath};

use super::attributes::Attributes;
use super::error::WorkspaceError;
use super::record::{Holder, Origin};
use super::view::{Directory, From, Node, Stack};

/// A path at which the view differs from the commit.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) path: RepoPath,
    /// What the commit has there.
    pub(super) before: Option<Found>,
    /// What the view has there.
    pub(super) after: Option<Node>,
}

/// Where changes go. Bounded: what waits there may be open files.
pub(super) type Sink = mpsc::Sender<Changed>;

/// Nobody wants to know more, or it cannot be found out.
#[derive(Debug)]
pub(super) enum Ended {
    Unwanted,
    Failed(WorkspaceError),
}

impl core::convert::From<WorkspaceError> for Ended {
    fn from(error: WorkspaceError) -> Self {
        Self::Failed(error)
    }
}

impl Stack {
    /// Tells every change, directories before what is in them.
    pub(super) async fn tell_changes(&self, sink: &Sink) -> Result<(), Ended> {
        let mut open = vec![self.directory(&RepoPath::ROOT).await?];
        while let Some(directory) = open.pop() {
            for name in self.names_that_may_differ(&directory).await? {
                let name = Name::new(&name).map_err(WorkspaceError::from)?;
                let path = directory.join(name)?;
                let after = self.child(&directory, name, From::Top).await?;
                let before = self.committed(&path).await?;
                let below = match (&before, &after) {
                    (_, Some(Node::Directory(child))) => Some(child.clone()),
                    (Some(found), _) if is_directory(found) => {
                        self.tell_moved(None, &path, sink).await?;
                        None
                    }
                    _ => None,
                };
                if self.differs(&path, before.as_ref(), after.as_ref())? {
                    tell(sink, Changed { path: path.clone(), before, after }).await?;
                }
                match below {
                    Some(child) if child.parts().next().is_some() => open.push(child),
                    Some(child) if child.base() != Some(&path) => {
                        self.tell_moved(child.base(), &path, sink).await?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The names of a directory that must be looked at.
    async fn names_that_may_differ(&self, directory: &Directory) -> Result<BTreeSet<Vec<u8>>, Ended> {
        let mut names: BTreeSet<_> = self.names_in_layers(directory)?.into_keys().collect();
        if directory.base() != Some(&directory.path) {
            names.extend(self.names(directory).await?);
            names.extend(self.committed_names(&directory.path).await?);
        }
        Ok(names)
    }

    /// What the commit has at a path that is not the root's.
    async fn committed(&self, path: &RepoPath) -> Result<Option<Found>, WorkspaceError> {
        self.base.get(path).await.map_err(|source| WorkspaceError::repo(path, source))
    }

    /// Tells that everything below `place` of the commit (nothing, where there is none) is now below `path`, in the place of what the
    /// commit has there.
    async fn tell_moved(&self, place: Option<&RepoPath>, path: &RepoPath, sink: &Sink) -> Result<(), Ended> {
        let mut before = Below::of(self, Some(path)).await?;
        let mut after = Below::of(self, place).await?;
        loop {
            let (old, new) = (before.peek(self).await?, after.peek(self).await?);
            let (old, new) = match (old, new) {
                (None, None) => return Ok(()),
                (Some(old), Some(new)) => {
                    // Both in the order of the commit's keys, in which what is below a directory follows it.
                    (old.0 <= new.0, new.0 <= old.0)
                }
                (old, new) => (old.is_some(), new.is_some()),
            };
            let old = if old { before.take() } else { None };
            let new = if new { after.take() } else { None };
            let Some(rest) = old.as_ref().or(new.as_ref()).map(|(rest, _)| rest.clone()) else { continue };
            let changed = Changed {
                path: path.join_path(&rest.0).map_err(WorkspaceError::from)?,
                before: old.map(|(_, found)| found),
                after: new.map(|(_, found)| Node::Base(found)),
            };
            tell(sink, changed).await?;
        }
    }

    /// Whether what is at a path differs from what the commit has there, in what is stored.
    fn differs(
        &self,
        path: &RepoPath,
        before: Option<&Found>,
        after: Option<&Node>,
    ) -> Result<bool, WorkspaceError> {
        let (Some(before), Some(after)) = (before, after) else {
            return Ok(before.is_some() || after.is_some());
        };
        let same = || -> io::Result<bool> {
            let before = &before.item.entry;
            Ok(has_attributes_of(&Attributes::of(after)?, before)
                && match after {
                    Node::Base(found) => found.item.entry == *before,
                    Node::Directory(directory) => {
                        let mut parts = directory.parts();
                        directory.base() == Some(path)
                            && parts.all(|(_, held)| held.record.xattrs == Holder::Origin)
                    }
                    Node::Held(_, held) => match &held.record.origin {
                        Some(Origin::Entry(placed, visible)) => {
                            held.record.xattrs == Holder::Origin
                                && visible.ranges.is_none()
                                && visible.len == before.size()
                                && held.stat.len() == before.size()
                                && placed.entry.body == before.body
                                && placed.entry.xattrs == before.xattrs
                        }
                        _ => false,
                    },
                })
        };
        same().map(|same| !same).map_err(|error| self.failed(path, error))
    }
}

fn is_directory(found: &Found) -> bool {
    found.item.entry.kind() == EntryKind::Directory
}

fn has_attributes_of(attributes: &Attributes, entry: &Entry) -> bool {
    attributes.kind == entry.kind()
        && attributes.mode & 0o1777 == entry.mode
        && attributes.owner == (entry.uid, entry.gid)
        && attributes.modified == entry.mtime.to_system_time()
}

async fn tell(sink: &Sink, changed: Changed) -> Result<(), Ended> {
    sink.send(changed).await.map_err(|_| Ended::Unwanted)
}

/// A path below a directory, compared as the commit's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rest(RepoPath);

impl PartialOrd for Rest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let key = |rest: &Self| TreeKey::of(&rest.0);
        Some(key(self).cmp(&key(other)))
    }
}

/// What the commit has below a directory, in the order of its keys, a page at a time.
struct Below {
    place: RepoPath,
    ranks: Range<u64>,
    page: std::iter::Peekable<std::vec::IntoIter<(Rest, Found)>>,
}

impl Below {
    async fn of(stack: &Stack, place: Option<&RepoPath>) -> Result<Self, WorkspaceError> {
        let page = Vec::new().into_iter().peekable();
        let Some(place) = place else { return Ok(Self { place: RepoPath::ROOT, ranks: 0..0, page }) };
        let ranks = stack.base.subtree(place).await.map_err(|source| WorkspaceError::repo(place, source))?;
        Ok(Self { place: place.clone(), ranks, page })
    }

    /// The next one, which stays.
    async fn peek(&mut self, stack: &Stack) -> Result<Option<&(Rest, Found)>, WorkspaceError> {
        if self.page.peek().is_none() && !self.ranks.is_empty() {
            let failed = |source| WorkspaceError::repo(&self.place, source);
            let page = stack.base.page(self.ranks.clone()).await.map_err(failed)?;
            self.ranks.start = page.last().map_or(self.ranks.end, |found| found.rank + 1);
            let mut named = Vec::with_capacity(page.len());
            for found in page {
                let path = found.item.key.to_path().map_err(|error| failed(RepoError::Unstorable(error)))?;
                let rest = path.strip_prefix(&self.place).unwrap_or(path);
                named.push((Rest(rest), found));
            }
            self.page = named.into_iter().peekable();
        }
        Ok(self.page.peek())
    }

    fn take(&mut self) -> Option<(Rest, Found)> {
        self.page.next()
    }
}
