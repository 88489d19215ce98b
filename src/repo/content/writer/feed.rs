//! Starts jobs, in order, as far ahead as the budget allows.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::format::{ChunkerParameters, SINGLE_CHUNK_BYTES};
use crate::repo::RepoError;

use super::super::chunker::Chunker;
use super::super::known::Known;
use super::super::sink::PreparedChunk;
use super::jobs::{Short, bounded, died, read_short};
use super::{BUDGET_BYTES, Input, LEAST_CHARGE, Opened, Source};

/// A step of the work, in the order in which it is to be taken.
#[derive(Debug)]
pub(super) enum Job<S: Source, T> {
    /// Passed through.
    Other(T),
    /// A file of at most one chunk.
    Short { task: JoinHandle<Done<S>>, charge: OwnedSemaphorePermit },
    /// The next chunk of a longer file.
    Chunk { task: JoinHandle<PreparedChunk>, charge: OwnedSemaphorePermit },
    /// Its end.
    End { source: S, meta: S::Meta, size: u64, unchanged: bool },
    /// A file that cannot be read.
    Failed(RepoError),
}

/// A file that was given to a thread, and what came of it.
#[derive(Debug)]
pub(super) struct Done<S: Source> {
    pub(super) source: S,
    pub(super) short: Result<Short<S::Meta>, RepoError>,
}

/// The receiver is gone: nobody waits for the work.
#[derive(Debug)]
struct Abandoned;

/// Starts jobs.
#[derive(Debug)]
pub(super) struct Feeder<S: Source, T> {
    known: Arc<Known>,
    parameters: ChunkerParameters,
    jobs: mpsc::Sender<Job<S, T>>,
    budget: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

impl<S: Source, T: Send + 'static> Feeder<S, T> {
    pub(super) fn new(
        known: Arc<Known>,
        parameters: ChunkerParameters,
        jobs: mpsc::Sender<Job<S, T>>,
    ) -> Self {
        // Twice the cores, because jobs wait for the disk too; more would only hold more compressors in memory.
        let slots = available_parallelism().map_or(8, |cores| cores.get() * 2).clamp(4, 64);
        let (budget, slots) =
            (Arc::new(Semaphore::new(BUDGET_BYTES as usize)), Arc::new(Semaphore::new(slots)));
        Self { known, parameters, jobs, budget, slots }
    }

    pub(super) async fn run(self, mut inputs: mpsc::Receiver<Input<S, T>>) {
        while let Some(input) = inputs.recv().await {
            let fed = match input {
                Input::Other(other) => self.send(Job::Other(other)).await,
                Input::File(source) if source.size_hint() <= SINGLE_CHUNK_BYTES => self.short(source).await,
                Input::File(source) => self.long(source).await,
            };
            if fed.is_err() {
                return;
            }
        }
    }

    async fn short(&self, source: S) -> Result<(), Abandoned> {
        let charge = self.charge(source.size_hint()).await?;
        let slot = self.slot().await?;
        let known = self.known.clone();
        let task = spawn_blocking(move || {
            let short = read_short(&source, &known);
            drop(slot);
            Done { source, short }
        });
        self.send(Job::Short { task, charge }).await
    }

    async fn long(&self, source: S) -> Result<(), Abandoned> {
        let task = spawn_blocking(move || {
            let opened = source.open();
            (source, opened)
        });
        let (source, opened) = match task.await {
            Ok((source, Ok(opened))) => (source, opened),
            Ok((_, Err(error))) => return self.send(Job::Failed(error)).await,
            Err(error) => return self.send(Job::Failed(died(error))).await,
        };
        let Opened { reader, size, meta } = opened;
        if size <= SINGLE_CHUNK_BYTES {
            return self.short(source).await;
        }
        let mut chunker = Chunker::new(bounded(reader, size), self.parameters);
        let mut read = 0;
        loop {
            let mut charge = self.charge(u64::from(self.parameters.max)).await?;
            let task = spawn_blocking(move || {
                let chunk = chunker.next_chunk();
                (chunker, chunk)
            });
            let (back, chunk) = match task.await {
                Ok((back, Ok(chunk))) => (back, chunk),
                Ok((_, Err(error))) => return self.send(Job::Failed(source.failed(error))).await,
                Err(error) => return self.send(Job::Failed(died(error))).await,
            };
            chunker = back;
            let Some(raw) = chunk else { break };
            read += raw.len() as u64;
            drop(charge.split(charge.num_permits().saturating_sub(raw.len().max(LEAST_CHARGE as usize))));
            let slot = self.slot().await?;
            let known = self.known.clone();
            let task = spawn_blocking(move || {
                let chunk = PreparedChunk::new(raw, &known);
                drop(slot);
                chunk
            });
            self.send(Job::Chunk { task, charge }).await?;
        }
        let reader = chunker.into_reader().into_inner();
        let unchanged = match source.is_unchanged(&reader, &meta) {
            Ok(unchanged) => unchanged && read == size,
            Err(error) => return self.send(Job::Failed(error)).await,
        };
        self.send(Job::End { source, meta, size, unchanged }).await
    }

    /// Room for this much, once there is some. No file asks for more than a chunk at a time, which is far below the budget.
    async fn charge(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Abandoned> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(LEAST_CHARGE, BUDGET_BYTES);
        self.budget.clone().acquire_many_owned(bytes).await.map_err(|_| Abandoned)
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Abandoned> {
        self.slots.clone().acquire_owned().await.map_err(|_| Abandoned)
    }

    async fn send(&self, job: Job<S, T>) -> Result<(), Abandoned> {
        self.jobs.send(job).await.map_err(|_| Abandoned)
    }
}
