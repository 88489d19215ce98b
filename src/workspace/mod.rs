//! Uncommitted changes over a commit: an upper directory that mirrors what was changed, in layers.
//!
//! **What must always be true.** What was acknowledged is there after the process died; what was not shows as it was before or as it
//! would have been after, never in between; what is below never changes. How, operation by operation, stands in
//! `docs/design/0011-workspaces.md` and at the head of each file here.
//!
//! Looking up may wait for the network; making never does. So a change first learns all that it must know (`Trail`), then takes the
//! gate and makes it, unless the names have moved meanwhile: then it looks again. What a change must know of one directory does not
//! change in between: the kernel lets one change at a time into a directory.
//!
//! - `record`: what a plain file cannot say. `layer`: one upper directory, changed by one visible call at a time. `disk`: those calls.
//! - `ranges`, `local`: the bytes of a file of which only some are local.
//! - `view`: what is at a path, through all layers down to the commit.
//! - here: how a change is looked up and made. `names`, `attributes`, `xattrs`: what programs change.
//! - `changes`, `status`: what differs from the commit, and what a person is told of it.
//! - `copy_up`: how something of below comes into the top.

mod attributes;
mod changes;
mod copy_up;
mod disk;
mod error;
mod layer;
mod local;
mod names;
mod ranges;
mod record;
mod status;
mod view;
mod xattrs;

#[cfg(test)]
mod tests;

pub use attributes::{Attributes, NewAttributes};
pub use error::WorkspaceError;
pub use local::{Local, Whose};
pub use names::Replace;
pub use status::Mark;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use nix::errno::Errno;

use crate::format::EntryKind;
use crate::repo::Snapshot;
use crate::types::RepoPath;

use copy_up::{Trail, Undone};
use disk::Disk;
use layer::Layer;
use record::{Holder, Origin, Record};
use view::{Node, Stack};

/// How often a change looks again before it gives up with `EBUSY`.
const LOOKS: u32 = 100;

/// Uncommitted changes over a commit.
#[derive(Debug)]
pub struct Workspace {
    gate: RwLock<Gate>,
}

#[derive(Debug)]
struct Gate {
    stack: Arc<Stack>,
    /// Grows when a directory moves or a layer is laid on top.
    version: u64,
}

/// Whether names below a directory may now lie elsewhere.
#[derive(Clone, Copy)]
enum Moves {
    Nothing,
    Directories,
}

impl Workspace {
    /// A new workspace in the directory `dir` over a commit, whose root has this mode and owner (uid, gid).
    ///
    /// # Errors
    /// [`WorkspaceError::Directory`].
    pub fn create(dir: &Path, base: Snapshot, root: (u16, (u32, u32))) -> Result<Self, WorkspaceError> {
        Self::create_on(dir, base, root, Disk::default())
            .map_err(|source| Self::directory("make", dir, source))
    }

    /// The workspace in `dir`, as it was left.
    ///
    /// # Errors
    /// [`WorkspaceError::Directory`].
    pub fn open(dir: &Path, base: Snapshot) -> Result<Self, WorkspaceError> {
        Self::open_on(dir, base, Disk::default()).map_err(|source| Self::directory("open", dir, source))
    }

    fn directory(action: &'static str, dir: &Path, source: io::Error) -> WorkspaceError {
        WorkspaceError::Directory { action, dir: dir.to_path_buf(), source }
    }

    fn create_on(dir: &Path, base: Snapshot, root: (u16, (u32, u32)), disk: Disk) -> io::Result<Self> {
        let origin = Some(Origin::Here);
        let record = Record { origin, ..Record::new(EntryKind::Directory, root.0, root.1) };
        let layer = Layer::create(&dir.join("layers/0"), &record, disk)?;
        Ok(Self::of(dir, vec![layer], base))
    }

    fn open_on(dir: &Path, base: Snapshot, disk: Disk) -> io::Result<Self> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(dir.join("layers"))? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut layers = Vec::new();
        for number in numbers.into_iter().rev() {
            match Layer::open(&dir.join("layers").join(number.to_string()), disk.clone()) {
                Ok(layer) => layers.push(layer),
                // Begun, and nothing was ever in it: a freeze that died.
                Err(error) if error.kind() == io::ErrorKind::InvalidData && layers.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        match layers.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::InvalidData, "it has no layer")),
            false => Ok(Self::of(dir, layers, base)),
        }
    }

    fn of(dir: &Path, layers: Vec<Layer>, base: Snapshot) -> Self {
        let layers = layers.into_iter().map(Arc::new).collect();
        let stack = Arc::new(Stack { dir: dir.to_path_buf(), layers, base });
        Self { gate: RwLock::new(Gate { stack, version: 0 }) }
    }

    /// What is at a path; `None` for nothing.
    async fn look(&self, path: &RepoPath) -> Result<Option<Node>, WorkspaceError> {
        let (stack, _) = self.now();
        match Trail::to(stack, path).await {
            Ok(trail) => Ok(trail.node),
            Err(WorkspaceError::Errno { errno: libc::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What `stat` shows of what is at a path; `None` for nothing.
    ///
    /// # Errors
    /// `ENOTDIR` for a file above it; [`WorkspaceError`].
    pub async fn attributes(&self, path: &RepoPath) -> Result<Option<Attributes>, WorkspaceError> {
        let Some(node) = self.look(path).await? else { return Ok(None) };
        let (stack, _) = self.now();
        Attributes::of(&node).map(Some).map_err(|error| stack.failed(path, error))
    }

    /// The layers as they are now.
    fn now(&self) -> (Arc<Stack>, u64) {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        (gate.stack.clone(), gate.version)
    }

    /// Looks at `paths` and makes a change of them, if need be again.
    async fn change<const N: usize, T>(
        &self,
        paths: [&RepoPath; N],
        make: impl Fn(&[Trail; N]) -> Result<(T, Moves), Undone>,
    ) -> Result<T, WorkspaceError> {
        for _ in 0..LOOKS {
            let (stack, version) = self.now();
            let mut trails = Vec::with_capacity(N);
            for path in paths {
                trails.push(Trail::to(stack.clone(), path).await?);
            }
            let Ok(trails) = <[Trail; N]>::try_from(trails) else { break };
            let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            if gate.version != version {
                continue;
            }
            match make(&trails) {
                Ok((made, Moves::Nothing)) => return Ok(made),
                Ok((made, Moves::Directories)) => {
                    drop(gate);
                    self.gate.write().unwrap_or_else(PoisonError::into_inner).version += 1;
                    return Ok(made);
                }
                Err(Undone::Stale) => {}
                Err(Undone::Failed(error)) => return Err(error),
            }
        }
        Err(WorkspaceError::errno(paths[0], Errno::EBUSY))
    }

    /// A file, open to be written.
    pub async fn open_to_write(&self, path: &RepoPath) -> Result<Local, WorkspaceError> {
        self.change([path], |[trail]| {
            let held = trail.in_top()?;
            if held.record.kind != EntryKind::File {
                return Err(WorkspaceError::errno(path, Errno::EISDIR).into());
            }
            let open = || {
                let parent = trail.parent()?;
                let at = (&parent, trail.name()?.as_os());
                let opened = trail.top().open_to_write(at);
                let local =
                    opened.and_then(|file| Local::new(trail.top().clone(), file, held.record.clone()));
                local.map_err(|error| trail.undone(error))
            };
            Ok((open()?, Moves::Nothing))
        })
        .await
    }

    /// The names in a directory, in no order.
    pub async fn list(&self, path: &RepoPath) -> Result<Vec<Vec<u8>>, WorkspaceError> {
        let (stack, _) = self.now();
        let directory = stack.directory(path).await?;
        stack.names(&directory).await
    }

    /// Lays a new layer on top; what was the top is never written again.
    pub fn freeze(&self) -> io::Result<()> {
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let Stack { dir, layers, base } = &*gate.stack;
        let root = layers[0].look_at_root()?;
        let record = Record { origin: Some(Origin::Here), xattrs: Holder::Origin, ..root.record };
        let number = layers[0].number()? + 1;
        let disk = layers[0].disk.clone();
        let layer = Layer::create(&dir.join("layers").join(number.to_string()), &record, disk)?;
        layer.disk.set_times(&layer.look_at_root()?.file, None, Some(root.stat.modified()?))?;
        let layers = std::iter::once(Arc::new(layer)).chain(layers.iter().cloned()).collect();
        gate.stack = Arc::new(Stack { dir: dir.clone(), layers, base: base.clone() });
        gate.version += 1;
        Ok(())
    }
}
