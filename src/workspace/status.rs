//! What a person is told of the changes.

use std::ops::ControlFlow;

use tokio::sync::mpsc;

use crate::format::EntryKind;
use crate::types::RepoPath;

use super::changes::{Changed, Ended};
use super::error::WorkspaceError;
use super::view::Node;
use super::{Attributes, Workspace};

/// Changes that wait to be told: each may hold a file open.
const AHEAD: usize = 64;

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another than in the commit, or has other attributes.
    Modified,
}

impl Workspace {
    /// Tells each path that differs from the commit, a directory before what is in it, until `each` has enough. A directory of which only the
    /// time differs is not told: that is what is in it.
    ///
    /// # Errors
    /// [`WorkspaceError`].
    pub async fn status(
        &self,
        mut each: impl FnMut(&RepoPath, Mark) -> ControlFlow<()>,
    ) -> Result<(), WorkspaceError> {
        let (stack, _) = self.now();
        let (sink, mut told) = mpsc::channel(AHEAD);
        let telling = async {
            let told = stack.tell_changes(&sink).await;
            drop(sink);
            match told {
                Ok(()) | Err(Ended::Unwanted) => Ok(()),
                Err(Ended::Failed(error)) => Err(error),
            }
        };
        let hearing = async {
            while let Some(changed) = told.recv().await {
                let flow = mark(&changed).map_or(ControlFlow::Continue(()), |mark| each(&changed.path, mark));
                if flow.is_break() {
                    told.close();
                    break;
                }
            }
        };
        let (told, ()) = tokio::join!(telling, hearing);
        told
    }
}

fn mark(changed: &Changed) -> Option<Mark> {
    match (&changed.before, &changed.after) {
        (None, _) => Some(Mark::Added),
        (_, None) => Some(Mark::Removed),
        (Some(before), Some(Node::Directory(_))) if before.item.entry.kind() == EntryKind::Directory => {
            let entry = &before.item.entry;
            let now = changed.after.as_ref().and_then(|after| Attributes::of(after).ok());
            let same =
                |now: Attributes| now.mode & 0o1777 == entry.mode && now.owner == (entry.uid, entry.gid);
            (!now.is_some_and(same)).then_some(Mark::Modified)
        }
        _ => Some(Mark::Modified),
    }
}
