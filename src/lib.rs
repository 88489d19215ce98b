//! atfs mounts every branch, tag or commit of a data repository kept in an S3 bucket as a plain directory.
//!
//! # Layout
//! Layers, lowest first. A module imports only from layers below it; siblings in one layer never import
//! each other (see `ARCHITECTURE.md` for the picture and `tests/layers.rs` for the test that holds it).
//!
//! - [`types`]: ids, repository paths, ref names, revisions, addresses, clock, randomness, progress; no I/O.
//! - [`mod@format`]: bytes to values and back, the code twin of `docs/format.md`; no I/O.
//! - [`store`]: object storage: S3, a local folder, memory; decorators for retry, limits, recording, faults.
//! - [`meta`]: the node's disposable index (redb): tree nodes, chunk locations, attempts in flight.
//! - [`cache`]: the SSD cache of file contents; told how to fetch, never where from.
//! - [`repo`]: the versioning engine: keys, refs, commits, the tree, chunking and packing.
//! - [`workspace`]: uncommitted changes over a commit, on the local disk.
//! - [`fs`]: what a mounted tree means: inodes, lookup, read, xattrs, `.atfs`; the only place that knows FUSE.
//! - [`daemon`]: one process per cache directory: mounts, control socket, readiness, shutdown.
//! - [`cli`]: one file per command.

pub mod cache;
// Doc comments there are help texts, in which brackets mean "may be left out".
#[allow(rustdoc::broken_intra_doc_links)]
pub mod cli;
pub mod daemon;
pub mod format;
pub mod fs;
pub mod meta;
pub mod repo;
pub mod store;
pub mod types;
pub mod workspace;
