//! From a URL to a store that is ready for use.
//!
//! ```text
//! caller > limit > retry > S3 or local folder
//! ```
//! The limit is outside: a request keeps its slot while it waits to try again, so a store in trouble sees fewer requests
//! and not more, and waiting for a slot does not count against the deadline. Recorders and fault injectors of tests go
//! between retry and the backend, where they see what a store sees.

use std::sync::Arc;
use std::time::Duration;

use super::{LimitStore, LocalStore, RetryPolicy, RetryStore, S3Options, S3Store, Store, StoreError};
use crate::types::{OsRandom, RepoUrl};

/// How a store is reached and treated.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// For buckets.
    pub s3: S3Options,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Requests at once.
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

/// The store at `url`, limited and retried. A bucket is not asked anything yet; a local folder must exist (see
/// [`super::create_local_root`]).
///
/// # Errors
/// As [`S3Store::open`] and [`LocalStore::open`].
pub async fn open(url: &RepoUrl, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    let backend: Arc<dyn Store> = match url {
        RepoUrl::S3 { bucket, prefix } => Arc::new(S3Store::open(bucket, prefix, &options.s3).await?),
        RepoUrl::Local(path) => Arc::new(LocalStore::open(path)?),
    };
    let retry = RetryStore::new(backend, options.retry.clone(), Arc::new(OsRandom));
    // Longer than any request of a common size may take with all its attempts, so that a queue is given up only when
    // those in front of it have been.
    let stall = options.retry.deadline + options.retry.attempt + Duration::from_secs(30);
    Ok(Arc::new(LimitStore::new(Arc::new(retry), options.concurrency, stall)))
}
