//! Files in, their content and its place out: read, cut, hashed and compressed on all cores, taken in order.
//!
//! Must always be true: content that is given out was read from a file that did not change meanwhile (its size and
//! times are the same before and after); a file that did change is read once more, and then it is an error. What comes out
//! comes in the order of what went in, and so do the blobs in their packs.
//!
//! One task feeds (`feed`): it starts a job per short file, and per chunk of a long one. The caller takes the
//! results in order ([`Pipeline::next`]) and puts them into the sink. Memory: the raw bytes of started jobs that were not taken
//! are at most [`BUDGET_BYTES`] (a file is charged at least [`LEAST_CHARGE`]), a job that runs may hold its bytes twice, the
//! cutter of a long file has 8 MiB: together less than 128 MiB on up to 8 cores, whatever the files are.

mod feed;
mod jobs;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use crate::format::{ChunkItem, ChunkerParameters, Content};
use crate::repo::RepoError;
use crate::types::Location;

use super::chunker::Chunker;
use super::known::Known;
use super::manifest::ManifestBuilder;
use super::sink::{PreparedChunk, Sink};

use feed::{Done, Feeder, Job};
use jobs::{Cut, Short, bounded, changed, died, read_short};

/// Raw bytes of jobs under way.
const BUDGET_BYTES: u32 = 64 << 20;

/// What a job is charged at least: bounds how many jobs of small files are under way (1,024).
const LEAST_CHARGE: u32 = 64 << 10;

/// A file that can be read, twice if need be. Its methods are called on threads that may block.
pub(in crate::repo) trait Source: Send + Sync + 'static {
    /// The open file.
    type Reader: Read + Send + 'static;
    /// What was seen of it when it was opened, and is to come out beside its content.
    type Meta: std::fmt::Debug + Send + 'static;

    /// How long the file seems to be, in bytes.
    fn size_hint(&self) -> u64;

    /// Opens the file at its beginning.
    fn open(&self) -> Result<Opened<Self::Reader, Self::Meta>, RepoError>;

    /// Whether the file still is what it was when it was opened; asked when all of it was read.
    fn is_unchanged(&self, reader: &Self::Reader, meta: &Self::Meta) -> Result<bool, RepoError>;

    /// The error for a file that failed while it was read.
    fn failed(&self, error: std::io::Error) -> RepoError;
}

/// A file that was opened.
#[derive(Debug)]
pub(in crate::repo) struct Opened<R, M> {
    /// Its bytes.
    pub(in crate::repo) reader: R,
    /// Its length.
    pub(in crate::repo) size: u64,
    /// What else is to be known of it.
    pub(in crate::repo) meta: M,
}

/// Something that goes through the pipeline.
#[derive(Debug)]
pub(in crate::repo) enum Input<S, T> {
    /// A file to be stored.
    File(S),
    /// Something that only keeps its place in the order.
    Other(T),
}

/// Something that came out of it.
#[derive(Debug)]
pub(in crate::repo) enum Output<S: Source, T> {
    /// A file whose content is in the sink.
    File(Written<S>),
    /// What went in.
    Other(T),
}

/// A file whose content is in the sink.
#[derive(Debug)]
pub(in crate::repo) struct Written<S: Source> {
    /// The file.
    pub(in crate::repo) source: S,
    /// What was seen of it.
    pub(in crate::repo) meta: S::Meta,
    /// Its length in bytes.
    pub(in crate::repo) size: u64,
    /// Its content.
    pub(in crate::repo) content: Content,
    /// Where the chunk or the manifest's root lies.
    pub(in crate::repo) hint: Option<Location>,
}

/// Files under way. Dropping it ends the work; jobs that run end by themselves soon after.
#[derive(Debug)]
pub(in crate::repo) struct Pipeline<S: Source, T> {
    jobs: mpsc::Receiver<Job<S, T>>,
    known: Arc<Known>,
    parameters: ChunkerParameters,
    _feeder: JoinSet<()>,
}

impl<S: Source, T: Send + 'static> Pipeline<S, T> {
    /// Begins to work on what `inputs` gives.
    pub(in crate::repo) fn start(
        inputs: mpsc::Receiver<Input<S, T>>,
        known: Arc<Known>,
        parameters: ChunkerParameters,
    ) -> Self {
        // Jobs are bounded by the budget; this bounds what passes through without one.
        let (sender, jobs) = mpsc::channel(1024);
        let mut feeder = JoinSet::new();
        feeder.spawn(Feeder::new(known.clone(), parameters, sender).run(inputs));
        Self { jobs, known, parameters, _feeder: feeder }
    }

    /// The next of what went in, once its content is in `sink`; `None` at the end. Not to be called again after an
    /// error, nor after a call that was dropped.
    ///
    /// # Errors
    /// A file that cannot be read or keeps changing; a failed upload.
    pub(in crate::repo) async fn next(&mut self, sink: &mut Sink) -> Result<Option<Output<S, T>>, RepoError> {
        let mut manifest = ManifestBuilder::default();
        while let Some(job) = self.jobs.recv().await {
            match job {
                Job::Other(other) => return Ok(Some(Output::Other(other))),
                Job::Failed(error) => return Err(error),
                Job::Short { task, charge: _charge } => {
                    let Done { source, short } = task.await.map_err(died)?;
                    let written = match short? {
                        Short::Ready { meta, size, cut } => finished(source, meta, size, cut, sink).await?,
                        Short::Long => self.again(source, sink).await?,
                    };
                    return Ok(Some(Output::File(written)));
                }
                Job::Chunk { task, charge: _charge } => {
                    put_chunk(task.await.map_err(died)?, &mut manifest, sink).await?;
                }
                Job::End { source, meta, size, unchanged } => {
                    let written = match manifest.finish(sink).await? {
                        Some((id, hint)) if unchanged => {
                            Written { source, meta, size, content: Content::Manifest(id), hint }
                        }
                        _ => self.again(source, sink).await?,
                    };
                    return Ok(Some(Output::File(written)));
                }
            }
        }
        Ok(None)
    }

    /// Reads a file that was not what it had seemed to be, chunk by chunk, while everything behind it waits: rare.
    async fn again(&self, source: S, sink: &mut Sink) -> Result<Written<S>, RepoError> {
        let known = self.known.clone();
        let task = spawn_blocking(move || {
            let short = read_short(&source, &known);
            (source, short)
        });
        let (source, short) = task.await.map_err(died)?;
        if let Short::Ready { meta, size, cut } = short? {
            return finished(source, meta, size, cut, sink).await;
        }
        let parameters = self.parameters;
        let task = spawn_blocking(move || {
            let opened = source.open();
            (source, opened)
        });
        let (source, opened) = task.await.map_err(died)?;
        let Opened { reader, size, meta } = opened?;
        let mut chunker = Chunker::new(bounded(reader, size), parameters);
        let mut manifest = ManifestBuilder::default();
        let mut read = 0;
        loop {
            let known = self.known.clone();
            let task = spawn_blocking(move || {
                let chunk =
                    chunker.next_chunk().map(|chunk| chunk.map(|raw| PreparedChunk::new(raw, &known)));
                (chunker, chunk)
            });
            let (back, chunk) = task.await.map_err(died)?;
            chunker = back;
            let Some(chunk) = chunk.map_err(|error| source.failed(error))? else { break };
            read += u64::from(chunk.len);
            put_chunk(chunk, &mut manifest, sink).await?;
        }
        let reader = chunker.into_reader().into_inner();
        let root = manifest.finish(sink).await?;
        match root {
            Some((id, hint)) if read == size && source.is_unchanged(&reader, &meta)? => {
                Ok(Written { source, meta, size, content: Content::Manifest(id), hint })
            }
            _ => Err(source.failed(changed())),
        }
    }
}

/// Puts a short file's content into the sink.
async fn finished<S: Source>(
    source: S,
    meta: S::Meta,
    size: u64,
    cut: Cut,
    sink: &mut Sink,
) -> Result<Written<S>, RepoError> {
    let (content, hint) = match cut {
        Cut::Empty => (Content::Empty, None),
        Cut::Inline(bytes) => (Content::Inline(bytes), None),
        Cut::Chunk(chunk) => (Content::Chunk(chunk.id), sink.put_chunk(chunk).await?),
    };
    Ok(Written { source, meta, size, content, hint })
}

async fn put_chunk(
    chunk: PreparedChunk,
    manifest: &mut ManifestBuilder,
    sink: &mut Sink,
) -> Result<(), RepoError> {
    let (id, len) = (chunk.id, chunk.len);
    let hint = sink.put_chunk(chunk).await?;
    manifest.push(ChunkItem { id, len, hint }, sink).await
}
