//! What the commit loop needs of the tree: building one from edits. (Until `tree/` has it.)

use crate::format::{CommitPlace, Totals};
use crate::repo::{Edits, RepoError, Snapshot};
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
