//! The versioning engine: what a repository means, on top of any [`crate::store::Store`].
//!
//! - [`layout`]: every key of the bucket, spelt in this one file.
//! - [`Repository`]: an opened repository; [`Repository::init`] makes one.
//! - `refs/`: branches and tags as append-only logs; how an ambiguous append is settled; revisions to commits.
//! - `blobs`: stored blobs by hash and hint, verified before anyone sees them.
//! - `tree/`: the one sorted map of a commit: read, range listing, rank and select, edit, diff.
//! - `content/`: files to chunks to packs, and back.
//! - `files/`: local files into a tree, and a part of a tree to local files.
//! - [`Edits`]: what is to change in a tree.
//! - `change/`: edits made into a commit on a branch that may have moved meanwhile; `rm`, `mv`.

pub mod change;
pub mod files;
pub mod layout;
pub mod refs;

mod blobs;
mod content;
mod edits;
mod error;
mod init;
mod name;
mod probed;
mod repository;
mod snapshot;
mod tree;

pub use content::{Beside, SMALL_CONTENT_BYTES, content_name};
pub use edits::{Edits, Finder, Placed};
pub use error::RepoError;
pub use init::InitOptions;
pub use repository::{Repository, Services};
pub use snapshot::{Found, Snapshot};
pub use tree::{Difference, Differences};
