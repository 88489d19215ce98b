//! Bytes to values and back: the code twin of `docs/format.md`.
//!
//! Nothing here does I/O, and every decoder is total: whatever the bytes, it ends in a value that obeys every rule
//! of the document or in a [`FormatError`] that names the object and the rule; it allocates no more than a small
//! multiple of its input (or of a stated bound). Encoding is canonical: a value has one encoding, and
//! `encode(decode(bytes)) == bytes` for everything that is hashed. Encoders do not fail: what they are given must
//! obey the rules, which the `check` functions tell beforehand, else no decoder will take the result.

mod blob;
mod canonical;
mod commit;
mod cursor;
mod cut;
mod entry;
mod entry_codec;
mod error;
mod fields;
mod hints;
#[cfg(test)]
mod json_tests;
mod key;
mod manifest;
mod moved;
mod node;
mod node_items;
#[cfg(test)]
mod node_tests;
mod pack;
mod pack_index;
mod record;
mod record_check;
mod repository;
mod xattrs;

pub use blob::{BlobKind, Compression, StoredBlob};
pub use canonical::{JsonValue, MAX_JSON_BYTES};
pub use commit::{Commit, CommitPlace, StoredCommit, Totals};
pub use cut::{ManifestCutter, NodeCutter};
pub use entry::{Content, Entry, EntryBody, EntryKind, ExternalObject, Mtime};
pub use error::FormatError;
pub use key::TreeKey;
pub use manifest::{ChunkItem, ManifestChild, ManifestNode};
pub use moved::MovedPack;
pub use node::{ChildItem, Counts, EntryHints, LeafItem, TreeNode};
pub use pack::{FinishedPack, PackBuilder};
pub use pack_index::{PackEntry, PackIndex, PackKind, PackTrailer};
pub use record::{CheckResult, Operation, Record, RecordKind, RecordName};
pub use repository::{ChunkerParameters, RepositoryFormat};
pub use xattrs::{XattrList, Xattrs};

/// The version of the repository format that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// Content up to this length stands inside its entry.
pub const MAX_INLINE_BYTES: usize = 512;

/// A file up to this length is exactly one chunk.
pub const SINGLE_CHUNK_BYTES: u64 = 1 << 20;

/// The longest chunk.
pub const MAX_CHUNK_BYTES: u32 = 4 << 20;

/// The most that the items of one tree node may take with their keys written in full: what the cut rule keeps to,
/// and what bounds the memory of a decoder, because prefix compression could otherwise repeat a key of 4 KiB for
/// every few bytes of input.
pub const MAX_TREE_NODE_ITEM_BYTES: usize = 128 << 10;

/// The most entries of one commit: inode numbers have 44 bits for the rank, and some are kept back.
pub const MAX_ENTRIES: u64 = 1 << 43;

/// The longest node (tree or manifest) or xattr blob, hints included, uncompressed.
pub const MAX_NODE_BYTES: usize = 1 << 20;

/// The longest stored blob: a chunk that does not compress, and its frame.
pub const MAX_STORED_BLOB_BYTES: u32 = MAX_CHUNK_BYTES + 64;

/// Extended attributes whose encoding is longer than this are a blob of their own.
pub const MAX_INLINE_XATTR_BYTES: usize = 1024;
