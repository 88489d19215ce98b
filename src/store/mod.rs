//! Object storage: one small trait, three backends, decorators around them.
//!
//! What the engine relies on, and what the conformance suite (`tests/store_conformance.rs`) holds every backend to:
//! objects are whole or absent; a `put_new` that returned `Ok` is durable and no other `put_new` of that key ever
//! succeeds; a `get` after a successful put returns those bytes; a listing is in bytewise key order and a page may
//! be short at any time. Nothing else is asked of a store: no conditional overwrite, no lock, no rename.

mod error;
pub mod fault;
mod hedge;
mod limit;
mod local;
mod memory;
mod meter;
mod open;
mod operation;
mod pace;
mod page;
mod probe;
mod recent;
mod record;
mod retry;
mod s3;
mod stats;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

pub use error::{StoreError, StoreErrorKind};
pub use hedge::HedgeStore;
pub use limit::LimitStore;
pub use local::{LocalStore, create_local_root};
pub use memory::MemoryStore;
pub use meter::{MeterStore, Trouble};
pub use open::{OpenStore, StoreOptions, open};
pub use operation::Operation;
pub use pace::Pace;
pub use probe::{ProbeFailure, ProbeReport, probe};
pub use record::{Call, RecordStore};
pub use retry::{RetryPolicy, RetryStore};
pub use s3::{
    AccessKeys, Addressing, ClockReading, CredentialsFound, CredentialsOrigin, Encryption, S3Options,
    S3Store, S3Timeouts, watch_clock,
};
pub use stats::{StoreMonitor, StoreStats};

/// The largest object that [`Store::get`] brings into memory, in bytes. Packs aim at 64 MiB and every other object
/// is far smaller; without a bound, a foreign object under one of our keys could exhaust the memory.
pub const MAX_OBJECT: u64 = 512 << 20;

/// The name of an object, relative to the repository's root: `/`-separated, no leading slash, at most 600 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// A key from text that the caller built from validated parts ([`crate::repo`] spells every key in one file).
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What to list.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Keys that begin with this text (empty: all keys under the root).
    pub prefix: String,
    /// Only keys and groups behind this one, bytewise. A group that this text names or lies in is not behind it, nor
    /// is any key of that group.
    pub start_after: Option<String>,
    /// Whether keys that share everything up to the next `/` behind the prefix are folded into one group.
    pub grouping: Grouping,
    /// At most this many keys and groups together in one page, 1 to 1,000.
    pub max_keys: usize,
}

impl ListRequest {
    /// Every key that begins with `prefix`, in pages of 1,000.
    pub fn all(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), start_after: None, grouping: Grouping::Flat, max_keys: 1000 }
    }

    /// The same, folded at the next `/` behind the prefix.
    pub fn folded(prefix: impl Into<String>) -> Self {
        Self { grouping: Grouping::BySlash, ..Self::all(prefix) }
    }

    /// The first key that begins with `prefix`.
    pub fn first(prefix: impl Into<String>) -> Self {
        Self { max_keys: 1, ..Self::all(prefix) }
    }
}

/// Whether a listing folds keys at the next `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Every key by itself.
    Flat,
    /// Folded at the next `/` behind the prefix, as a directory listing is.
    BySlash,
}

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, by the store's clock, in whole seconds since 1970 (collectors judge age by it).
    pub modified_seconds: i64,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects in bytewise key order.
    pub objects: Vec<ObjectInfo>,
    /// Groups (with their closing `/`), in order; empty for [`Grouping::Flat`].
    pub groups: Vec<String>,
    /// Where to go on (`start_after` of the next request); `None` when the listing is complete.
    pub next: Option<String>,
}

/// Object storage under one root. Cheap to clone behind an `Arc`; every call may run at once with any other.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The root, for people: `s3://bucket/prefix (endpoint http://...)`, `/srv/repos/slides`.
    fn describe(&self) -> String;

    /// The whole object, at most [`MAX_OBJECT`] bytes.
    ///
    /// # Errors
    /// `NotFound`; `BadAnswer` for a larger object; any other [`StoreErrorKind`].
    async fn get(&self, key: &Key) -> Result<Bytes, StoreError>;

    /// Exactly the bytes of `range`, which is not empty; an object that ends earlier is `OutOfRange`, a body that ends earlier
    /// `CutBody`. Never fewer bytes.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Creates or replaces the object, durably.
    ///
    /// # Errors
    /// Any [`StoreErrorKind`]; after an ambiguous one ([`StoreError::is_ambiguous`]) the object may exist.
    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError>;

    /// Creates the object, durably, only if it does not exist. Never retried inside a backend: a retry that meets
    /// its own first try looks like a lost race.
    ///
    /// # Errors
    /// `AlreadyExists` when it does; after an ambiguous error it may have been created, now or later.
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError>;

    /// Creates the object from each of `bodies`, all at the same moment as nearly as the backend can: what [`probe()`]
    /// asks to see who wins. The answers are in the order of the bodies.
    async fn put_new_at_once(&self, key: &Key, bodies: Vec<Bytes>) -> Vec<Result<(), StoreError>> {
        join_all(bodies.into_iter().map(|body| self.put_new(key, body))).await
    }

    /// One page of keys in bytewise order; it may be short, or even empty with `next` set.
    ///
    /// # Errors
    /// Any [`StoreErrorKind`].
    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError>;

    /// Removes the object; one that does not exist is no error.
    ///
    /// # Errors
    /// Any [`StoreErrorKind`].
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;
}

/// Everything that `request` names, page after page, as one page. The caller knows that it fits into memory.
///
/// # Errors
/// As [`Store::list`].
pub async fn list_all(store: &dyn Store, mut request: ListRequest) -> Result<ListPage, StoreError> {
    let mut whole = ListPage::default();
    loop {
        let page = store.list(&request).await?;
        whole.objects.extend(page.objects);
        whole.groups.extend(page.groups);
        match page.next {
            Some(next) => request.start_after = Some(next),
            None => return Ok(whole),
        }
    }
}
