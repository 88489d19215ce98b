//! A client's wish to have files in the cache.
//!
//! While the client waits it is told twice a second how far it is, and when it goes away the work ends: what was brought
//! stays.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::fs::{BadPattern, Pattern, Prefetched, Selection, View};
use crate::types::{Progress, Stage};

use super::protocol::{Failure, FailureKind, PrefetchRequest, Reply, Versioned};
use super::server::Shared;
use super::wire::Connection;

/// How often the client is told.
const TELL: Duration = Duration::from_millis(500);

/// Counts for whoever looks.
#[derive(Debug, Default)]
struct Counts {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Progress for Counts {
    fn begin(&self, _: Stage, _: Option<u64>, _: Option<u64>) {}

    fn advance(&self, _: Stage, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn end(&self, _: Stage) {}
}

/// Brings what is asked for of what `view` shows; returns the last reply.
///
/// # Errors
/// The client is gone.
pub(super) fn prefetch(
    shared: &Shared,
    view: Arc<View>,
    request: &PrefetchRequest,
    connection: &mut Connection,
) -> io::Result<Reply> {
    let patterns: Result<Vec<_>, BadPattern> =
        request.patterns.iter().map(|text| Pattern::parse(text)).collect();
    let selection = match patterns {
        Ok(patterns) => Selection { patterns, jobs: request.jobs, pin: request.pin },
        Err(error) => return Ok(Reply::Failed(Failure::new(FailureKind::BadRequest, error))),
    };
    let counts = Arc::new(Counts::default());
    let busy = shared.activity.begin();
    let work = {
        let counts = counts.clone();
        async move {
            let done = view.prefetch(selection, counts).await;
            drop(busy);
            done
        }
    };
    if !request.wait {
        shared.runtime.spawn(async move {
            match work.await {
                Ok(Prefetched { files, bytes, .. }) => tracing::info!(files, bytes, "fetched ahead"),
                Err(error) => tracing::warn!("not everything was fetched ahead: {error}"),
            }
        });
        return Ok(Reply::Started);
    }
    let mut work = shared.runtime.spawn(work);
    let done = loop {
        let waited = shared.runtime.block_on(async { tokio::time::timeout(TELL, &mut work).await });
        match waited {
            Ok(done) => break done,
            Err(_) => {
                let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
                let reply = Reply::Progress { files: get(&counts.files), bytes: get(&counts.bytes) };
                if let Err(error) = connection.send(&Versioned::new(reply), None) {
                    work.abort();
                    return Err(error);
                }
            }
        }
    };
    Ok(match done {
        Ok(Ok(prefetched)) => Reply::Prefetched(prefetched),
        Ok(Err(error)) => Reply::Failed(Failure::new(FailureKind::Other, error)),
        Err(died) => Reply::Failed(Failure::new(FailureKind::Other, died)),
    })
}
