//! Where new content ends: blobs that are not stored yet go into packs, in the order in which they come.
//!
//! Must always be true: the place that is given out for a blob is one that will be durable when `finish` has said so, or
//! one whose pack was seen in the store during this run, or one that the base holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::format::{BlobKind, Compression, PackKind, StoredBlob, XattrList, Xattrs};
use crate::repo::{RepoError, Repository, layout};
use crate::types::{ChunkId, Location, PackId, Progress};

use super::known::{Known, Lookup};
use super::packer::{PackWriter, WrittenPack};

/// A chunk on its way into a pack: hashed, looked up, and compressed if it seems to be new.
#[derive(Debug)]
pub(in crate::repo) struct PreparedChunk {
    /// Its id.
    pub(in crate::repo) id: ChunkId,
    /// Its raw length, 1 to 4 MiB.
    pub(in crate::repo) len: u32,
    bytes: Prepared,
}

#[derive(Debug)]
enum Prepared {
    Stored(Option<Location>),
    Perhaps(Location, Bytes),
    New(StoredBlob),
}

impl PreparedChunk {
    /// Hashes, looks up and compresses: the work of a core, to be done on a thread that may be kept busy.
    pub(in crate::repo) fn new(raw: Bytes, known: &Known) -> Self {
        let id = ChunkId::of(&raw);
        let len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        let bytes = match known.chunk(&id) {
            Lookup::Stored(place) => Prepared::Stored(place),
            Lookup::Perhaps(place) => Prepared::Perhaps(place, raw),
            Lookup::Unknown => Prepared::New(pack_chunk(id, &raw)),
        };
        Self { id, len, bytes }
    }
}

fn pack_chunk(id: ChunkId, raw: &[u8]) -> StoredBlob {
    StoredBlob::pack(BlobKind::Chunk, *id.as_bytes(), raw, Compression::IfItPays)
}

/// What a run has stored.
#[derive(Debug, Default)]
pub(in crate::repo) struct Stored {
    /// The packs that were written, durable.
    pub(in crate::repo) packs: Vec<WrittenPack>,
    /// Data packs of earlier runs whose chunks were found through the node's index and are referred to anew.
    pub(in crate::repo) reused: BTreeSet<PackId>,
    /// Stored bytes of new blobs.
    pub(in crate::repo) new_bytes: u64,
}

/// Takes blobs.
#[derive(Debug)]
pub(in crate::repo) struct Sink {
    repository: Repository,
    packs: PackWriter,
    known: Arc<Known>,
    seen: HashMap<PackId, bool>,
    stored: Stored,
}

impl Sink {
    /// A sink that stores what `known` does not know.
    pub(in crate::repo) fn new(
        repository: &Repository,
        known: Arc<Known>,
        progress: Arc<dyn Progress>,
    ) -> Self {
        Self {
            repository: repository.clone(),
            packs: PackWriter::new(repository, progress),
            known,
            seen: HashMap::new(),
            stored: Stored::default(),
        }
    }

    /// Stores a chunk unless it is stored; says where it lies, if that is known.
    ///
    /// # Errors
    /// That of an upload, or of the store when it is asked for a pack.
    pub(in crate::repo) async fn put_chunk(
        &mut self,
        chunk: PreparedChunk,
    ) -> Result<Option<Location>, RepoError> {
        // An equal chunk may have come by since this one was looked up.
        if let Some(place) = self.known.blob(BlobKind::Chunk, chunk.id.as_bytes()) {
            return Ok(place);
        }
        let blob = match chunk.bytes {
            Prepared::Stored(place) => return Ok(place),
            Prepared::Perhaps(place, _) if self.exists(place.pack).await? => {
                self.stored.reused.insert(place.pack);
                self.known.note(BlobKind::Chunk, *chunk.id.as_bytes(), Some(place));
                return Ok(Some(place));
            }
            Prepared::Perhaps(_, raw) => {
                self.known.refute(&chunk.id);
                pack_chunk(chunk.id, &raw)
            }
            Prepared::New(blob) => blob,
        };
        self.put(&blob).await.map(Some)
    }

    /// Stores a manifest node or a list of attributes unless it is stored; says where it lies, if that is known.
    ///
    /// # Errors
    /// That of an upload.
    pub(in crate::repo) async fn put_meta(
        &mut self,
        kind: BlobKind,
        hash: [u8; 32],
        raw: &[u8],
    ) -> Result<Option<Location>, RepoError> {
        match self.known.blob(kind, &hash) {
            Some(place) => Ok(place),
            None => self.put(&StoredBlob::pack(kind, hash, raw, Compression::IfItPays)).await.map(Some),
        }
    }

    /// What belongs into an entry for these attributes; stores the list when it is too long to stand there.
    ///
    /// # Errors
    /// That of an upload.
    pub(in crate::repo) async fn put_xattrs(
        &mut self,
        list: XattrList,
    ) -> Result<(Xattrs, Option<Location>), RepoError> {
        let (xattrs, blob) = list.place();
        let Some((id, raw)) = blob else { return Ok((xattrs, None)) };
        let place = self.put_meta(BlobKind::Xattrs, *id.as_bytes(), &raw).await?;
        Ok((xattrs, place))
    }

    /// Waits until everything is durable.
    ///
    /// # Errors
    /// That of the first upload that failed.
    pub(in crate::repo) async fn finish(self) -> Result<Stored, RepoError> {
        let packs = self.packs.finish().await?;
        Ok(Stored { packs, ..self.stored })
    }

    async fn put(&mut self, blob: &StoredBlob) -> Result<Location, RepoError> {
        let place = self.packs.push(blob).await?;
        self.known.note(blob.kind, blob.hash, Some(place));
        self.stored.new_bytes += blob.stored.len() as u64;
        Ok(place)
    }

    /// Whether a data pack is in the store. Asked once per pack and run.
    async fn exists(&mut self, pack: PackId) -> Result<bool, RepoError> {
        if let Some(exists) = self.seen.get(&pack) {
            return Ok(*exists);
        }
        let exists = match self.repository.store().get_range(&layout::pack(PackKind::Data, pack), 0..1).await
        {
            Ok(_) => true,
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(error.into()),
        };
        self.seen.insert(pack, exists);
        Ok(exists)
    }
}
