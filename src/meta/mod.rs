//! The node's index: what this machine remembers so that the next command asks the store for less.
//!
//! # What must always be true
//! - **Everything here is a hint, except attempts.** Nodes are given back as bytes that the caller checks
//!   against the hash he asked for; a location is proven when the blob read there has its hash; a fact only
//!   warns or saves a probe. So the redb file may vanish, be damaged or be old at any moment, and the only
//!   cost is time.
//! - **Attempts are never lost.** A conditional write whose outcome is unknown is noted before it is sent. So
//!   attempts are not in redb: each is a small file of its own, on disk before [`Attempts::put`] returns.
//! - **Nobody waits.** Reads never wait for a disk flush, writes never wait at all: they go to a queue that a
//!   background thread commits. A queue that is full drops what it is given; it is a cache.
//!
//! # Two processes
//! redb lets one process write a file. Sharing one file among processes (redb's `MultiWriter` mode) was
//! rejected: the protocol is weeks old, makes every commit durable with two flushes, and throws away the
//! page cache at each commit of a neighbour. Instead a state directory holds up to eight **slots**,
//! `index-v1-<n>.redb`, each with a lock file that its user holds (`flock`, so a dead process frees it). A
//! process takes the first free slot and keeps it; a command beside a running daemon gets the second, finds
//! there what the command before it left, and never touches the daemon's. With no slot free, or on a file
//! system without locks, the index lives in memory. What must be seen by every process at once, attempts
//! and facts, is in small files that are replaced by `rename` (`attempts/`, `facts/`), and outlives any
//! damage to redb.
//!
//! # Bounds
//! Nodes and locations each live in two generations of tables (see `twin`): new and used entries go to the
//! young one; when it holds half the budget, the old one is dropped whole and the young one becomes old.
//! That is LRU to within half the budget, with no bookkeeping per entry.

mod attempts;
mod engine;
mod error;
mod facts;
mod held;
mod queue;
mod slot;
mod small_files;
mod twin;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{ChunkId, Location, RepoUuid};

pub use attempts::Attempts;
pub use error::MetaError;
pub use facts::{Facts, Namespace};
pub use held::HeldChunk;

use queue::{Queue, Write};
use twin::{Budget, Twin};

/// How much the index may keep.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Bytes on disk for decoded tree and manifest nodes. The second and later slots get a quarter of it.
    pub node_bytes: u64,
    /// Bytes on disk for chunk locations, about 200 bytes each, up to 450 of those in the cache. The second and later slots get a quarter.
    pub location_bytes: u64,
}

impl Default for IndexOptions {
    /// 1 GiB of nodes (about 10 million entries of a tree) and 256 MiB of locations (about 1.3 TB of chunks).
    fn default() -> Self {
        Self { node_bytes: 1 << 30, location_bytes: 256 << 20 }
    }
}

/// A handle to the index of one state directory; cheap to clone, safe to use from any thread. The last
/// handle to go commits what is queued. It has a thread of its own, so open it after a `fork`, not before.
#[derive(Clone)]
pub struct Index {
    queue: Arc<Queue>,
    attempts: Attempts,
    facts: Facts,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("place", &self.queue.engine().place()).finish()
    }
}

impl Index {
    /// Opens the index in the state directory `dir`, which is made if it is missing (0700). A damaged,
    /// truncated, foreign or newer index file is replaced by an empty one, with one warning.
    ///
    /// # Errors
    /// [`MetaError`] when the directory cannot be made or written to: no rights, read-only, no space.
    pub fn open(dir: &Path, options: &IndexOptions) -> Result<Self, MetaError> {
        small_files::make_private_dir(dir)?;
        let attempts = Attempts::open(dir)?;
        let facts = Facts::open(dir)?;
        let slot = slot::take(dir)?;
        let budget = Budget {
            nodes: options.node_bytes / slot.divisor,
            locations: options.location_bytes / slot.divisor,
        };
        let queue = Arc::new(Queue::start(slot.engine, budget));
        Ok(Self { queue, attempts, facts })
    }

    /// The redb file in use; `None` when the index lives in memory (every slot is taken, or locks do not
    /// work).
    pub fn file(&self) -> Option<PathBuf> {
        self.queue.engine().place().map(Path::to_path_buf)
    }

    /// The decoded blob of the node `id`. The caller checks that it hashes to `id`, and calls
    /// [`Index::forget_node`] when it does not.
    pub fn get_node(&self, id: &[u8; 32]) -> Option<Bytes> {
        self.queue.get(Twin::Nodes, id)
    }

    /// Remembers nodes: pairs of id and decoded blob, at most 1 MiB each. Seen by [`Index::get_node`] at
    /// once.
    pub fn put_nodes(&self, nodes: impl IntoIterator<Item = ([u8; 32], Bytes)>) {
        self.queue.put(nodes.into_iter().map(|(id, blob)| Write::put(Twin::Nodes, &id, &blob)));
    }

    /// Remembers one node.
    pub fn put_node(&self, id: [u8; 32], blob: Bytes) {
        self.put_nodes([(id, blob)]);
    }

    /// Drops a node whose bytes turned out not to hash to its id.
    pub fn forget_node(&self, id: &[u8; 32]) {
        self.queue.put([Write::remove(Twin::Nodes, id)]);
    }

    /// Where a chunk of a repository was last seen. A hint: the blob there proves itself by its hash.
    pub fn get_location(&self, repo: &RepoUuid, chunk: &ChunkId) -> Option<Location> {
        let key = location_key(repo, chunk);
        decode_location(&key, &self.queue.get(Twin::Locations, &key)?)
    }

    /// Remembers where chunks of a repository lie.
    pub fn put_locations(&self, repo: &RepoUuid, chunks: impl IntoIterator<Item = (ChunkId, Location)>) {
        self.queue.put(chunks.into_iter().map(|(chunk, location)| {
            let key = location_key(repo, &chunk);
            let value = encode_location(&key, &location);
            Write::put(Twin::Locations, &key, &value)
        }));
    }

    /// Drops a location that turned out wrong.
    pub fn forget_location(&self, repo: &RepoUuid, chunk: &ChunkId) {
        self.queue.put([Write::remove(Twin::Locations, &location_key(repo, chunk))]);
    }

    /// Conditional writes in flight, shared by every process of this state directory.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Small facts, shared by every process of this state directory.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Waits until everything put so far is on disk.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

fn location_key(repo: &RepoUuid, chunk: &ChunkId) -> [u8; 48] {
    let mut key = [0; 48];
    key[..16].copy_from_slice(repo.as_bytes());
    key[16..].copy_from_slice(chunk.as_bytes());
    key
}

/// Pack, offset and length, little-endian, and four bytes of BLAKE3 over key and value: redb checks its
/// pages only when it repairs, and a location from a flipped bit would cost a request each time it is
/// tried.
fn encode_location(key: &[u8], location: &Location) -> Bytes {
    let mut value = Vec::with_capacity(32);
    value.extend_from_slice(location.pack.as_bytes());
    value.extend_from_slice(&location.offset.to_le_bytes());
    value.extend_from_slice(&location.len.to_le_bytes());
    let check = small_files::check(key, &value);
    value.extend_from_slice(&check[..4]);
    value.into()
}

fn decode_location(key: &[u8], value: &[u8]) -> Option<Location> {
    let (body, check) = value.split_at_checked(28)?;
    if check != &small_files::check(key, body)[..4] {
        return None;
    }
    Some(Location {
        pack: crate::types::PackId::from_bytes(body[..16].try_into().ok()?),
        offset: u64::from_le_bytes(body[16..24].try_into().ok()?),
        len: u32::from_le_bytes(body[24..28].try_into().ok()?),
    })
}
