//! How the cache gets a file's bytes: from the commit that the file was opened in, verified.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::cache::{FetchError, Pieces};
use crate::format::LeafItem;
use crate::repo::{RepoError, Snapshot};

/// A file of a commit, cut as it is stored: a piece is a chunk.
pub(super) struct FilePieces {
    pub(super) snapshot: Snapshot,
    pub(super) item: Arc<LeafItem>,
}

/// The repository's error, shared by all who waited for the same piece.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<RepoError>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {}

#[async_trait]
impl Pieces for FilePieces {
    async fn piece_at(&self, offset: u64) -> Result<Range<u64>, FetchError> {
        self.snapshot.chunk_at(&self.item, offset).await.map_err(shared)
    }

    async fn fetch(&self, piece: Range<u64>) -> Result<Bytes, FetchError> {
        let len = usize::try_from(piece.end - piece.start).map_err(FetchError::new)?;
        self.snapshot.read(&self.item, piece.start, len).await.map_err(shared)
    }

    async fn fetch_run(&self, run: &[Range<u64>]) -> Vec<Result<Bytes, FetchError>> {
        let chunks = self.snapshot.read_chunks(&self.item, run).await;
        chunks.into_iter().map(|chunk| chunk.map_err(shared)).collect()
    }

    async fn kept(&self, piece: Range<u64>) {
        self.snapshot.note_kept(&self.item, piece).await;
    }
}

fn shared(error: RepoError) -> FetchError {
    FetchError::new(Shared(Arc::new(error)))
}
