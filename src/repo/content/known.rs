//! Which blobs need not be stored again.
//!
//! Must always be true: a blob is called known only if the commit's base refers to it or this run has put it into a pack
//! that is waited for. What the node's index remembers is a candidate, not known: a collector may have taken its
//! pack since; whoever uses it asks for the pack first (`sink`).
//!
//! Memory: about 75 bytes per blob met, so some 75 MB for a million files of one chunk each, or for a terabyte. A sorted map,
//! because a hash table would take as much again while it grows; and packs are kept once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use crate::format::{BlobKind, Content, EntryBody, LeafItem, ManifestNode};
use crate::meta::Index;
use crate::repo::blobs::{Blobs, Wanted};
use crate::repo::{RepoError, Repository};
use crate::types::{ChunkId, Location, ManifestId, PackId, RepoUuid};

/// Manifest nodes of the base that are fetched at once: some 8 * 20 KiB.
const NODES_AT_ONCE: usize = 8;

/// Where blobs lie, as far as that is known.
#[derive(Debug, Default)]
struct Places {
    blobs: BTreeMap<(BlobKind, [u8; 32]), Place>,
    packs: Vec<PackId>,
    /// Which of `packs` one is.
    numbers: HashMap<PackId, u32>,
}

/// An optional location.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    len: u32,
    /// Which of the packs; [`Place::NOWHERE`] for none.
    pack: u32,
}

impl Place {
    const NOWHERE: u32 = u32::MAX;
}

impl Places {
    fn get(&self, kind: BlobKind, hash: &[u8; 32]) -> Option<Option<Location>> {
        let Place { offset, len, pack } = *self.blobs.get(&(kind, *hash))?;
        Some(self.packs.get(pack as usize).map(|pack| Location { pack: *pack, offset, len }))
    }

    fn insert(&mut self, kind: BlobKind, hash: [u8; 32], place: Option<Location>) {
        let place = match place {
            Some(Location { pack, offset, len }) => Place { offset, len, pack: self.number(pack) },
            None => Place { offset: 0, len: 0, pack: Place::NOWHERE },
        };
        self.blobs.insert((kind, hash), place);
    }

    fn number(&mut self, pack: PackId) -> u32 {
        let packs = &mut self.packs;
        *self.numbers.entry(pack).or_insert_with(|| {
            packs.push(pack);
            packs.len() as u32 - 1
        })
    }
}

/// The blobs met so far in one run. Shared by its threads.
#[derive(Debug)]
pub(in crate::repo) struct Known {
    uuid: RepoUuid,
    index: Option<Index>,
    blobs: Blobs,
    places: Mutex<Places>,
}

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Lookup {
    /// It is stored; where, if that is known.
    Stored(Option<Location>),
    /// It lay there once.
    Perhaps(Location),
    /// Nothing.
    Unknown,
}

impl Known {
    /// Nothing is known but what the node's index remembers.
    pub(in crate::repo) fn new(repository: &Repository) -> Self {
        Self {
            uuid: repository.format().uuid,
            index: repository.services().index.clone(),
            blobs: repository.blobs().clone(),
            places: Mutex::default(),
        }
    }

    /// What is known of a chunk. Never waits for the store.
    pub(in crate::repo) fn chunk(&self, id: &ChunkId) -> Lookup {
        if let Some(place) = self.blob(BlobKind::Chunk, id.as_bytes()) {
            return Lookup::Stored(place);
        }
        let remembered = self.index.as_ref().and_then(|index| index.get_location(&self.uuid, id));
        remembered.map_or(Lookup::Unknown, Lookup::Perhaps)
    }

    /// Where a blob of the base or of this run lies; `None` when it is neither.
    pub(in crate::repo) fn blob(&self, kind: BlobKind, hash: &[u8; 32]) -> Option<Option<Location>> {
        self.places().get(kind, hash)
    }

    /// Notes a blob that the base refers to, or that this run has put into a pack.
    pub(in crate::repo) fn note(&self, kind: BlobKind, hash: [u8; 32], place: Option<Location>) {
        self.places().insert(kind, hash, place);
    }

    /// Forgets a candidate whose pack is gone.
    pub(in crate::repo) fn refute(&self, id: &ChunkId) {
        if let Some(index) = &self.index {
            index.forget_location(&self.uuid, id);
        }
    }

    /// Notes every blob of an entry that the base holds: what a new version of that file is compared with. A manifest that
    /// cannot be read is passed over: then the file is stored anew, which heals it.
    pub(in crate::repo) async fn learn(&self, base: &LeafItem) {
        let EntryBody::File { content, .. } = &base.entry.body else { return };
        match content {
            Content::Chunk(id) => self.note(BlobKind::Chunk, *id.as_bytes(), base.hints.content),
            Content::Manifest(id) => {
                if let Err(error) = self.learn_manifest(*id, base.hints.content).await {
                    tracing::warn!(manifest = %id, %error, "the earlier version of a file cannot be compared with");
                }
            }
            Content::Empty | Content::Inline(_) | Content::External(_) => {}
        }
    }

    async fn learn_manifest(&self, root: ManifestId, hint: Option<Location>) -> Result<(), RepoError> {
        let mut nodes = vec![Wanted::<ManifestNode>::new(root, hint)];
        while !nodes.is_empty() {
            let batch = nodes.split_off(nodes.len().saturating_sub(NODES_AT_ONCE));
            for (wanted, node) in batch.iter().zip(self.blobs.get_all(&batch).await?) {
                match &*node {
                    ManifestNode::Leaf(chunks) => {
                        for chunk in chunks {
                            self.note(BlobKind::Chunk, *chunk.id.as_bytes(), chunk.hint);
                        }
                    }
                    ManifestNode::Interior { children, .. } => {
                        nodes.extend(children.iter().map(|child| Wanted::new(child.id, child.hint)));
                    }
                }
                self.note(BlobKind::ManifestNode, *wanted.id.as_bytes(), wanted.hint);
            }
        }
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(|e| e.into_inner())
    }
}
