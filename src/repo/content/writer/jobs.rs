//! What is done with one file on a thread that may block.

use std::io::{self, Read, Take};

use bytes::Bytes;
use tokio::task::JoinError;

use crate::format::{MAX_INLINE_BYTES, SINGLE_CHUNK_BYTES};
use crate::repo::RepoError;

use super::super::known::Known;
use super::super::sink::PreparedChunk;
use super::{Opened, Source};

/// How often a file that changes is read.
const ATTEMPTS: usize = 2;

/// A file of at most one chunk, read.
#[derive(Debug)]
pub(super) enum Short<M> {
    /// It is read.
    Ready { meta: M, size: u64, cut: Cut },
    /// It is longer than that by now.
    Long,
}

/// Content of at most one chunk.
#[derive(Debug)]
pub(super) enum Cut {
    Empty,
    Inline(Bytes),
    Chunk(PreparedChunk),
}

/// Reads, hashes and compresses a file of at most one chunk.
pub(super) fn read_short<S: Source>(source: &S, known: &Known) -> Result<Short<S::Meta>, RepoError> {
    for _ in 0..ATTEMPTS {
        let Opened { mut reader, size, meta } = source.open()?;
        if size > SINGLE_CHUNK_BYTES {
            return Ok(Short::Long);
        }
        // One byte more than there should be shows the end, and that it is where it was.
        let mut raw = Vec::with_capacity(size as usize + 1);
        bounded(&mut reader, size).read_to_end(&mut raw).map_err(|error| source.failed(error))?;
        if raw.len() as u64 == size && source.is_unchanged(&reader, &meta)? {
            return Ok(Short::Ready { meta, size, cut: cut(raw, known) });
        }
    }
    Err(source.failed(changed()))
}

fn cut(raw: Vec<u8>, known: &Known) -> Cut {
    match raw.len() {
        0 => Cut::Empty,
        len if len <= MAX_INLINE_BYTES => Cut::Inline(raw.into()),
        _ => Cut::Chunk(PreparedChunk::new(raw.into(), known)),
    }
}

/// At most one byte more than `size`: a file that grows as fast as it is read has an end all the same.
pub(super) fn bounded<R: Read>(reader: R, size: u64) -> Take<R> {
    reader.take(size.saturating_add(1))
}

/// Why a file that keeps changing is not stored.
pub(super) fn changed() -> io::Error {
    io::Error::other("it changed while it was read, twice")
}

/// A job that panicked, or that the end of the program cut off.
pub(super) fn died(error: JoinError) -> RepoError {
    RepoError::Local { action: "reading", path: "a file".into(), source: io::Error::other(error) }
}
