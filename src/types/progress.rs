//! Progress as the engine reports it; how it looks is the command line's business.

use std::fmt;

/// What a long operation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Walking local files.
    Scan,
    /// Reading, cutting and hashing content.
    Hash,
    /// Sending packs to the store.
    Upload,
    /// Fetching content from the store.
    Download,
    /// Building or merging tree nodes.
    Tree,
}

/// Receives counts while work goes on. Calls are cheap and may come from any thread.
pub trait Progress: Send + Sync + fmt::Debug {
    /// A stage begins; totals that are not known yet are `None`.
    fn begin(&self, stage: Stage, total_files: Option<u64>, total_bytes: Option<u64>);

    /// `files` more files and `bytes` more bytes are done in `stage`.
    fn advance(&self, stage: Stage, files: u64, bytes: u64);

    /// The stage is over.
    fn end(&self, stage: Stage);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _: Stage, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: Stage, _: u64, _: u64) {}
    fn end(&self, _: Stage) {}
}
