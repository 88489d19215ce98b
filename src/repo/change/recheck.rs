//! What a writer does when a collector began while it worked.
//!
//! A collector condemns packs that nothing refers to and raises the epoch. A writer that saw a lower epoch when it began
//! may have decided to refer to such a pack: one found by deduplication, or even one of its own uploads that had grown
//! old meanwhile. So when the epoch has moved, every pack that the new commit refers to (and that its parent does not
//! hold for it) is looked at once more before the ref moves. An index entry is never proof: the pack itself is asked.
//! A collection that begins after this check meets the writer at the ref: its fence takes the number that the
//! writer's record wants, the writer loses that race, and reads the epoch anew.

use std::collections::BTreeSet;

use futures_util::{TryStreamExt, stream};

use crate::format::PackKind;
use crate::repo::{Edits, RepoError, Repository, layout};
use crate::types::PackId;

/// How many packs are asked at once.
const AT_ONCE: usize = 32;

/// Packs that a commit refers to beyond what its parent holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Referenced {
    /// Under `data/`.
    pub data: BTreeSet<PackId>,
    /// Under `meta/`.
    pub meta: BTreeSet<PackId>,
}

impl Referenced {
    /// Adds what the hints of edits name; chunks behind a manifest are known only to who made it.
    pub(super) fn add_hints(&mut self, edits: &Edits) {
        use crate::format::{Content, EntryBody};
        for (_, placed) in edits.iter() {
            let Some(placed) = placed else { continue };
            self.meta.extend(placed.hints.xattrs.map(|place| place.pack));
            let Some(place) = placed.hints.content else { continue };
            match &placed.entry.body {
                EntryBody::File { content: Content::Manifest(_), .. } => self.meta.insert(place.pack),
                _ => self.data.insert(place.pack),
            };
        }
    }

    /// Adds another set.
    pub fn extend(&mut self, other: &Self) {
        self.data.extend(&other.data);
        self.meta.extend(&other.meta);
    }
}

impl Repository {
    /// Asks every pack whether it is there.
    ///
    /// # Errors
    /// [`RepoError::Missing`] naming a pack that is gone: what it held must be uploaded again.
    pub(in crate::repo) async fn recheck(&self, referenced: &Referenced) -> Result<(), RepoError> {
        let data = referenced.data.iter().map(|id| (PackKind::Data, *id));
        let meta = referenced.meta.iter().map(|id| (PackKind::Meta, *id));
        stream::iter(data.chain(meta).map(Ok))
            .try_for_each_concurrent(AT_ONCE, |(kind, id)| async move {
                let key = layout::pack(kind, id);
                match self.store().get_range(&key, 0..1).await {
                    Err(error) if error.is_not_found() => Err(self.missing(key)),
                    other => other.map(drop).map_err(RepoError::from),
                }
            })
            .await
    }
}
