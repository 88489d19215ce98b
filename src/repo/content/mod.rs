//! Files to chunks to packs, and back.
//!
//! - `chunker`: where content is cut. - `known`: which blobs need not be stored again. - `sink`, `packer`: new blobs to
//!   packs to the store. - `manifest`: the list of a long file's chunks, as it is written.
//! - `writer`: files in, on all cores, in order; entries out.
//! - `read`: bytes of a file, every chunk verified. - `small`: files of one chunk, and what lies beside them.
//! - `held`: which chunks the cache has in its files. - `same`: whether two long files have the same bytes.

mod chunker;
mod held;
mod known;
mod manifest;
mod packer;
mod read;
mod same;
mod sink;
mod small;
mod writer;

pub use held::content_name;
pub(super) use held::note_kept;
pub(super) use known::Known;
pub(super) use packer::PackWriter;
pub(super) use read::{pieces, read, read_chunks, read_short};
pub(super) use same::same_bytes;
pub(super) use sink::{Sink, Stored};
pub use small::{Beside, SMALL_CONTENT_BYTES};
pub(super) use small::{beside, checked, small};
pub(super) use writer::{Input, Opened, Output, Pipeline, Source};
