//! One entry of the tree: what `stat` and `read` need to know about a path.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::types::{ChunkId, ManifestId};

use super::Xattrs;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory; empty ones are entries too.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// An instant as file systems keep it: seconds since 1970 (may be negative) and 0..1e9 nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

impl Mtime {
    /// The instant; one that this machine's clock cannot express becomes 1970.
    pub fn to_system_time(self) -> SystemTime {
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let whole = if self.seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        };
        whole
            .and_then(|whole| whole.checked_add(Duration::from_nanos(u64::from(self.nanos))))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// An object that existed before it was registered: read under its ETag, never copied, never deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalObject {
    /// Bucket: 3 to 63 lower-case letters, digits, dots, hyphens and underscores.
    pub bucket: String,
    /// Key, 1 to 1,024 bytes.
    pub key: String,
    /// Version id where the bucket has versions, at most 1,024 bytes; empty for none.
    pub version: String,
    /// ETag as the store gave it, without its quotes: 1 to 255 visible ASCII characters.
    pub etag: String,
}

/// A file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// None; size 0.
    Empty,
    /// In the entry: 1 to [`super::MAX_INLINE_BYTES`] bytes.
    Inline(Bytes),
    /// Exactly one chunk: 513 bytes to 1 MiB.
    Chunk(ChunkId),
    /// Several chunks, listed by the manifest with this root: above 1 MiB.
    Manifest(ManifestId),
    /// An object outside the repository.
    External(Box<ExternalObject>),
}

/// What differs between the kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryBody {
    /// A regular file.
    File {
        /// Length in bytes, below 2^63.
        size: u64,
        /// Its bytes.
        content: Content,
    },
    /// A directory.
    Directory,
    /// A symbolic link: 1 to 4,095 bytes without NUL.
    Symlink {
        /// Where it points.
        target: Bytes,
    },
}

/// One entry, without its key and without hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits and the sticky bit: `mode & 0o1777`; setuid and setgid are never stored.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Kind and what belongs to it.
    pub body: EntryBody,
}

impl Entry {
    /// File, directory or symlink.
    pub fn kind(&self) -> EntryKind {
        match self.body {
            EntryBody::File { .. } => EntryKind::File,
            EntryBody::Directory => EntryKind::Directory,
            EntryBody::Symlink { .. } => EntryKind::Symlink,
        }
    }

    /// What identifies a file's content, for people and for `user.atfs.hash`: up to 1 MiB the BLAKE3 of the bytes (as
    /// `b3sum` prints it), above that the id of the manifest, of an external object `etag:` and its ETag. `None` for anything
    /// but a file.
    pub fn content_hash(&self) -> Option<String> {
        let EntryBody::File { content, .. } = &self.body else { return None };
        Some(match content {
            Content::Empty => ChunkId::of(b"").to_hex(),
            Content::Inline(bytes) => ChunkId::of(bytes).to_hex(),
            Content::Chunk(id) => id.to_hex(),
            Content::Manifest(id) => id.to_hex(),
            Content::External(object) => format!("etag:{}", object.etag),
        })
    }

    /// `st_size`: a file's length, a symlink's target length, 0 for a directory.
    pub fn size(&self) -> u64 {
        match &self.body {
            EntryBody::File { size, .. } => *size,
            EntryBody::Directory => 0,
            EntryBody::Symlink { target } => target.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_beyond_all_clocks() {
        let half_before = Mtime { seconds: -1, nanos: 500_000_000 }.to_system_time();
        assert_eq!(
            SystemTime::UNIX_EPOCH.duration_since(half_before).expect("before"),
            Duration::from_millis(500)
        );
        for seconds in [i64::MIN, i64::MAX] {
            // Either expressed or 1970; never a panic.
            Mtime { seconds, nanos: 999_999_999 }.to_system_time();
        }
    }
}
