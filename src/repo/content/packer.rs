//! Blobs to packs to the store.
//!
//! Must always be true: `finish` says `Ok` only when every pack that took a blob, and its index, is durable in the
//! store; a failed upload fails the next call and every later one. Within a kind, blobs lie in the order in which they
//! were pushed.
//!
//! Memory: one data pack being filled, one meta pack, and at most [`AT_ONCE`] finished packs on their way:
//! 64 + 8 + 4 * 64 MiB = 328 MiB at the worst, and only when the store is slower than the work before it. A small
//! commit takes what it stores.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::format::{BlobKind, FinishedPack, PackBuilder, PackIndex, PackKind, StoredBlob};
use crate::repo::{RepoError, Repository, layout};
use crate::store::Key;
use crate::types::{ChunkId, Location, PackId, Progress, Stage};

/// A data pack is finished when it holds this much: large enough that a terabyte is some 16,000 objects, small enough
/// that several fit into memory and that one upload is not long.
pub(in crate::repo) const DATA_PACK_BYTES: u64 = 64 << 20;

/// A meta pack is finished when it holds this much: some 250 tree nodes before compression, so a run of neighbours
/// is one ranged GET.
pub(in crate::repo) const META_PACK_BYTES: u64 = 8 << 20;

/// Packs on their way at once: one connection does not fill a network.
const AT_ONCE: usize = 4;

/// A pack that is durable in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) struct WrittenPack {
    /// Its id.
    pub(in crate::repo) id: PackId,
    /// Which folder.
    pub(in crate::repo) kind: PackKind,
    /// Its length in bytes, index and trailer included.
    pub(in crate::repo) bytes: u64,
}

/// Writes packs. Dropping it without [`PackWriter::finish`] gives up the uploads; what was sent is never referred to.
#[derive(Debug)]
pub(in crate::repo) struct PackWriter {
    repository: Repository,
    progress: Arc<dyn Progress>,
    data: Option<PackBuilder>,
    meta: Option<PackBuilder>,
    uploads: JoinSet<Result<WrittenPack, Failed>>,
    written: Vec<WrittenPack>,
    failed: Option<Key>,
}

/// An upload that failed, and of what.
#[derive(Debug)]
struct Failed {
    pack: Key,
    error: RepoError,
}

impl PackWriter {
    /// Nothing is written before the first blob.
    pub(in crate::repo) fn new(repository: &Repository, progress: Arc<dyn Progress>) -> Self {
        Self {
            repository: repository.clone(),
            progress,
            data: None,
            meta: None,
            uploads: JoinSet::new(),
            written: Vec::new(),
            failed: None,
        }
    }

    /// Appends a blob to the pack of its kind and says where it will lie. Waits while too many packs are on their way.
    ///
    /// # Errors
    /// That of an upload that failed meanwhile; the writer is then of no further use.
    pub(in crate::repo) async fn push(&mut self, blob: &StoredBlob) -> Result<Location, RepoError> {
        let kind = PackKind::of_blob(blob.kind);
        let builder = self.open(kind);
        let location = builder.push(blob);
        if builder.len() >= target(kind) {
            self.close(kind).await?;
        } else {
            self.collect_ready()?;
        }
        Ok(location)
    }

    /// Appends blobs of one kind one behind the other in one pack, however much they are together: a run that is later
    /// read with one request.
    ///
    /// # Errors
    /// As [`PackWriter::push`].
    pub(in crate::repo) async fn push_run(
        &mut self,
        kind: PackKind,
        blobs: &[StoredBlob],
    ) -> Result<Vec<Location>, RepoError> {
        let builder = self.open(kind);
        let places = blobs.iter().map(|blob| builder.push(blob)).collect();
        if builder.len() >= target(kind) {
            self.close(kind).await?;
        } else {
            self.collect_ready()?;
        }
        Ok(places)
    }

    /// Where the next blob of this kind will lie: what a run needs to know that refers to itself.
    pub(in crate::repo) fn next_place(&mut self, kind: PackKind) -> (PackId, u64) {
        let builder = self.open(kind);
        (builder.id(), builder.len())
    }

    /// Sends what is left and waits for every upload.
    ///
    /// # Errors
    /// That of the first upload that failed.
    pub(in crate::repo) async fn finish(mut self) -> Result<Vec<WrittenPack>, RepoError> {
        self.close(PackKind::Data).await?;
        self.close(PackKind::Meta).await?;
        while !self.uploads.is_empty() {
            self.collect_one().await?;
        }
        // A failure that was told before, to a caller who came back all the same.
        match &self.failed {
            Some(pack) => Err(self.repository.missing(pack)),
            None => Ok(self.written),
        }
    }

    fn slot(&mut self, kind: PackKind) -> &mut Option<PackBuilder> {
        match kind {
            PackKind::Data => &mut self.data,
            PackKind::Meta => &mut self.meta,
        }
    }

    fn open(&mut self, kind: PackKind) -> &mut PackBuilder {
        let random = self.repository.services().random.clone();
        self.slot(kind).get_or_insert_with(|| PackBuilder::new(PackId::from_bytes(random.bytes16()), kind))
    }

    /// Sends the open pack of this kind, if there is one.
    async fn close(&mut self, kind: PackKind) -> Result<(), RepoError> {
        let Some(builder) = self.slot(kind).take() else { return Ok(()) };
        while self.uploads.len() >= AT_ONCE {
            self.collect_one().await?;
        }
        self.collect_ready()?;
        let (repository, progress) = (self.repository.clone(), self.progress.clone());
        self.uploads.spawn(async move {
            let finished = builder.finish();
            let pack = layout::pack(finished.kind, finished.id);
            upload(&repository, &*progress, finished).await.map_err(|error| Failed { pack, error })
        });
        Ok(())
    }

    async fn collect_one(&mut self) -> Result<(), RepoError> {
        let ended = self.uploads.join_next().await;
        ended.map_or(Ok(()), |ended| self.take(ended))
    }

    fn collect_ready(&mut self) -> Result<(), RepoError> {
        while let Some(ended) = self.uploads.try_join_next() {
            self.take(ended)?;
        }
        match &self.failed {
            Some(pack) => Err(self.repository.missing(pack)),
            None => Ok(()),
        }
    }

    fn take(
        &mut self,
        ended: Result<Result<WrittenPack, Failed>, tokio::task::JoinError>,
    ) -> Result<(), RepoError> {
        match ended {
            Ok(Ok(pack)) => {
                self.written.push(pack);
                Ok(())
            }
            Ok(Err(Failed { pack, error })) => {
                self.failed = Some(pack);
                Err(error)
            }
            // The task panicked, or the runtime is going down: the pack is not known to be there.
            Err(error) => {
                let pack = Key::new(format!("a pack whose upload ended with {error}"));
                let missing = self.repository.missing(&pack);
                self.failed = Some(pack);
                Err(missing)
            }
        }
    }
}

fn target(kind: PackKind) -> u64 {
    match kind {
        PackKind::Data => DATA_PACK_BYTES,
        PackKind::Meta => META_PACK_BYTES,
    }
}

/// The pack, then its index, so that an index never speaks of a pack that does not exist; then this node's memory of
/// where chunks are. A plain put is safe: nobody else can have drawn this name.
async fn upload(
    repository: &Repository,
    progress: &dyn Progress,
    finished: FinishedPack,
) -> Result<WrittenPack, RepoError> {
    let FinishedPack { id, kind, bytes, index } = finished;
    let written = WrittenPack { id, kind, bytes: bytes.len() as u64 };
    repository.store().put(&layout::pack(kind, id), bytes).await?;
    repository.store().put(&layout::index(id), index.clone()).await?;
    remember(repository, &index);
    progress.advance(Stage::Upload, 0, written.bytes);
    Ok(written)
}

/// Notes where the chunks of a durable pack lie. Only now: a location noted before would outlive a failed upload.
fn remember(repository: &Repository, index: &[u8]) {
    let Some(notes) = &repository.services().index else { return };
    // Our own bytes of a moment ago; if they did not parse there would be nothing to note.
    let Ok(index) = PackIndex::decode(index) else { return };
    let chunks = index.entries.iter().filter(|entry| entry.kind == BlobKind::Chunk).map(|entry| {
        let location = Location { pack: index.pack, offset: entry.offset, len: entry.stored_len };
        (ChunkId::from_bytes(entry.hash), location)
    });
    notes.put_locations(&repository.format().uuid, chunks);
}
