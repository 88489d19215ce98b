//! What a mounted tree means, and the door to FUSE.
//!
//! - `inode`: numbers made of slot and rank; no inode table.
//! - `tree`: one commit as inodes; `following`: a commit that moves; `refs_root`: a directory per ref; `virtuals`: the `.atfs` files; `xattr`.
//! - `view`: all of them behind inode numbers: what a mount shows, testable without a mount.
//! - `files`, `handles`, `mode`, `ahead`, `neighbours`, `pieces`: open files, which way their bytes travel, and from where.
//! - `prefetch`: files into the cache before they are read.
//! - `errno`: the only place where errors become errnos.
//! - `fuse`: the only folder that names fuser; `profile`: how a mount's files are opened.
//!
//! A read-only mount never changes: bytes behind an inode number stay what they are for the life of the mount.

mod ahead;
mod attr;
mod errno;
mod error;
mod files;
mod following;
mod fuse;
mod handles;
mod inode;
mod mode;
mod neighbours;
mod node;
mod pieces;
mod pinned;
mod prefetch;
mod profile;
mod recent;
mod refs_root;
mod stats;
mod tree;
mod unopened;
mod view;
mod virtuals;
mod xattr;

pub use attr::{Attr, Owner};
pub use error::FsError;
pub use files::{OpenContent, OpenFile};
pub use following::Followed;
pub use fuse::{ServeOptions, Session};
pub use inode::{Ino, Inode, Slot, Virtual};
pub use node::{Lifetime, Listed, Room};
pub use prefetch::{BadPattern, Pattern, PrefetchError, Prefetched, Selection};
pub use profile::{Profile, ProfileChoice, UnknownProfile};
pub use stats::Stats;
pub use view::{Lookup, Space, View};
