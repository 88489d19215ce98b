//! What the commit loop needs of the tree: building one from edits, and comparing two. (Until `tree/` has both.)

use crate::format::{CommitPlace, Totals, TreeKey};
use crate::repo::{Edits, Placed, RepoError, Snapshot};
use crate::types::{NodeId, PackId};

/// A tree that was built and written.
#[derive(Debug, Clone)]
pub(super) struct Built {
    /// Its root.
    pub(super) tree: NodeId,
    /// What it holds.
    pub(super) totals: Totals,
    /// Where its root and interior nodes lie.
    pub(super) place: CommitPlace,
    /// The packs that were written, durable.
    pub(super) packs: Vec<PackId>,
}

/// Applies edits to a tree and writes the nodes that are new.
pub(super) async fn build(_base: &Snapshot, _edits: &Edits) -> Result<Built, RepoError> {
    unimplemented!()
}

/// Tells every difference between two trees, in any order.
pub(super) async fn differences(
    _before: &Snapshot,
    _after: &Snapshot,
    _each: impl FnMut(&TreeKey, Option<&Placed>, Option<&Placed>),
) -> Result<(), RepoError> {
    unimplemented!()
}
