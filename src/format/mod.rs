//! Bytes to values and back: the code twin of `docs/format.md`.
//!
//! Nothing here does I/O, and every decoder is total: whatever the bytes, it ends in a value that obeys every rule
//! of the document or in a [`FormatError`] that names the object and the rule; it allocates no more than a small
//! multiple of its input (or of a stated bound). Encoding is canonical: a value has one encoding, and
//! `encode(decode(bytes)) == bytes` for everything that is hashed.

mod canonical;
mod commit;
mod cursor;
mod cut;
mod entry;
mod error;
mod key;
mod manifest;
mod node;
mod pack;
mod record;
mod repository;

pub use commit::{Commit, CommitPlace, StoredCommit, Totals};
pub use cut::{ManifestCutter, NodeCutter};
pub use entry::{Content, Entry, EntryBody, EntryKind, ExternalObject, Mtime, XattrList, Xattrs};
pub use error::FormatError;
pub use key::TreeKey;
pub use manifest::{ChunkItem, ManifestChild, ManifestNode};
pub use node::{ChildItem, Counts, EntryHints, LeafItem, TreeNode};
pub use pack::{
    BlobKind, Compression, FinishedPack, PackBuilder, PackEntry, PackIndex, PackKind, StoredBlob,
};
pub use record::{CheckResult, Operation, Record, RecordKind, RecordName};
pub use repository::{ChunkerParameters, RepositoryFormat};

/// The version of the repository format that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// Content up to this length stands inside its entry.
pub const MAX_INLINE_BYTES: usize = 512;

/// A file up to this length is exactly one chunk.
pub const SINGLE_CHUNK_BYTES: u64 = 1 << 20;

/// The longest chunk.
pub const MAX_CHUNK_BYTES: u32 = 4 << 20;

/// The longest node (tree or manifest) or xattr blob, hints included, uncompressed.
pub const MAX_NODE_BYTES: usize = 1 << 20;

/// The longest stored blob: a chunk that does not compress, and its frame.
pub const MAX_STORED_BLOB_BYTES: u32 = MAX_CHUNK_BYTES + 64;

/// Extended attributes whose encoding is longer than this are a blob of their own.
pub const MAX_INLINE_XATTR_BYTES: usize = 1024;
