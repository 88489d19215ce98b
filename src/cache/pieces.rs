//! Where bytes come from: the seam towards whoever owns repositories and stores.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

/// The longest piece. Longer than any chunk; it bounds what one reader of one byte can make the cache hold
/// in memory.
pub const MAX_PIECE_BYTES: u64 = 16 << 20;

/// One file's content, cut into consecutive pieces (chunks, as a rule), each of which can be fetched by
/// itself.
///
/// The cache asks for no list: at 200 GB that list is itself fetched bit by bit. It asks which piece holds
/// a byte, and only about bytes that it does not have.
#[async_trait]
pub trait Pieces: Send + Sync + 'static {
    /// The piece that holds byte `offset` of the file (below its size): 1 to [`MAX_PIECE_BYTES`] bytes,
    /// within the file, the same at every call.
    ///
    /// # Errors
    /// Any; the read that asked fails with it.
    async fn piece_at(&self, offset: u64) -> Result<Range<u64>, FetchError>;

    /// Exactly the bytes of `piece`, which [`Pieces::piece_at`] named, **already verified** against its
    /// hash: the cache keeps what it is given for ever.
    ///
    /// # Errors
    /// Any; every reader that waits for the piece fails with it, and the next read asks again.
    async fn fetch(&self, piece: Range<u64>) -> Result<Bytes, FetchError>;

    /// As [`Pieces::fetch`] for several pieces in order, each with an outcome of its own. Those that adjoin each other are better
    /// brought together; here each is fetched by itself.
    async fn fetch_run(&self, run: &[Range<u64>]) -> Vec<Result<Bytes, FetchError>> {
        join_all(run.iter().map(|piece| self.fetch(piece.clone()))).await
    }

    /// Called when a piece that was fetched is on disk: others may borrow it from now on ([`super::Cache::lend`]).
    async fn kept(&self, _piece: Range<u64>) {}
}

/// Why a piece could not be had: the fetcher's own error, shared by all who waited for it.
#[derive(Clone)]
pub struct FetchError(Arc<dyn Error + Send + Sync>);

impl FetchError {
    /// Wraps the fetcher's error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// The fetcher's error, if it is a `T`: how the layer above finds its own error again.
    pub fn downcast_ref<T: Error + 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
