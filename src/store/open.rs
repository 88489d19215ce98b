//! From a URL to a store that is ready for use.
//!
//! ```text
//! caller > limit > retry > hedge (buckets only) > meter > S3 or local folder
//! ```
//! The limit is outside: a request keeps its slot while it waits to try again, so a store in trouble sees fewer requests
//! and not more, and waiting for a slot does not count against the deadline. A hedge is part of an attempt and
//! needs no slot of its own: there are few, and none while the store is busy. The meter sees what a store sees, and so
//! do recorders and fault injectors of tests, which stand in the backend's place.

use std::sync::Arc;
use std::time::Duration;

use super::{
    HedgeStore, LimitStore, LocalStore, MeterStore, Pace, RetryPolicy, RetryStore, S3Options, S3Store, Store,
    StoreError, StoreMonitor,
};
use crate::types::{Clock, OsRandom, Random, RepoUrl, SystemClock};

/// How a store is reached and treated.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// For buckets.
    pub s3: S3Options,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Requests at once, when the store does not call itself busy.
    pub concurrency: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            s3: S3Options::default(),
            retry: RetryPolicy::default(),
            // One S3 stream carries 50 to 100 MB/s: sixty-four fill the network of a large machine. As many threads
            // keep an SSD busy.
            concurrency: 64,
        }
    }
}

/// A store in use: the way to it, and how it is doing.
#[derive(Debug)]
pub struct OpenStore {
    /// Through all decorators.
    pub store: Arc<dyn Store>,
    /// What they have counted; may outlive the store's users.
    pub monitor: StoreMonitor,
}

/// The store at `url`, limited, retried and, if it is a bucket, hedged. A bucket is not asked anything yet; a local
/// folder must exist (see [`super::create_local_root`]).
///
/// # Errors
/// As [`S3Store::open`] and [`LocalStore::open`].
pub async fn open(url: &RepoUrl, options: &StoreOptions) -> Result<OpenStore, StoreError> {
    match url {
        RepoUrl::S3 { bucket, prefix } => {
            let bucket = Arc::new(S3Store::open(bucket, prefix, &options.s3).await?);
            Ok(decorate(bucket, Tail::Hedged, options, Arc::new(OsRandom), Arc::new(SystemClock)))
        }
        RepoUrl::Local(path) => {
            let folder = Arc::new(LocalStore::open(path)?);
            // One disk has no other machine that might be faster.
            Ok(decorate(folder, Tail::WaitedFor, options, Arc::new(OsRandom), Arc::new(SystemClock)))
        }
    }
}

/// What is done about reads that take unusually long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// They are asked a second time.
    Hedged,
    /// Nothing.
    WaitedFor,
}

/// All decorators over `backend`.
pub(super) fn decorate(
    backend: Arc<dyn Store>,
    tail: Tail,
    options: &StoreOptions,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
) -> OpenStore {
    let pace = Arc::new(Pace::new(options.concurrency));
    let meter = Arc::new(MeterStore::new(backend, pace.clone(), clock));
    let (hedge, below): (_, Arc<dyn Store>) = match tail {
        Tail::Hedged => {
            let hedge = Arc::new(HedgeStore::new(meter.clone()));
            (Some(hedge.clone()), hedge)
        }
        Tail::WaitedFor => (None, meter.clone()),
    };
    let retry = Arc::new(RetryStore::new(below, options.retry.clone(), random));
    // Longer than any request of a common size may take with all its attempts, so that a queue is given up only when
    // those in front of it have been.
    let stall = options.retry.deadline + options.retry.attempt + Duration::from_secs(30);
    let store = Arc::new(LimitStore::new(retry.clone(), pace.clone(), stall));
    OpenStore { store, monitor: StoreMonitor { pace, retry, hedge, meter } }
}

#[cfg(test)]
mod tests;
