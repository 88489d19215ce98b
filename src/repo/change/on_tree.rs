//! What the commit loop needs of the tree: building one from edits.

use std::sync::Arc;

use crate::format::{CommitPlace, Totals};
use crate::repo::content::PackWriter;
use crate::repo::tree::{BuiltTree, edit};
use crate::repo::{Edits, RepoError, Snapshot};
use crate::types::{NoProgress, NodeId, PackId};

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
pub(super) async fn build(base: &Snapshot, edits: &Edits) -> Result<Built, RepoError> {
    let repository = base.repository();
    // A tree is small beside the content that came before it, whose upload was shown.
    let mut writer = PackWriter::new(repository, Arc::new(NoProgress));
    let seed = repository.format().cut_seed;
    let BuiltTree { root, totals, place } = edit(Some(base.tree()), seed, edits.iter(), &mut writer).await?;
    let packs = writer.finish().await?.into_iter().map(|pack| pack.id).collect();
    Ok(Built { tree: root, totals, place, packs })
}
