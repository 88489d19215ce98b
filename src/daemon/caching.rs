//! What clients ask about the cache itself.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::Cache;

use super::protocol::{Failure, FailureKind, Reply, Versioned};
use super::server::Shared;
use super::wire::Connection;

/// How often a client that waits for a long answer is told how far it is.
const TELL: Duration = Duration::from_millis(500);

/// The cache, all of it counted.
pub(super) fn cache(shared: &Shared) -> Result<&Arc<Cache>, Failure> {
    let text = "the daemon runs without a cache; its log says why";
    let cache = shared.cache.as_ref().ok_or_else(|| Failure::new(FailureKind::NoCache, text))?;
    cache.wait_until_ready();
    Ok(cache)
}

/// Compares the cache with what was written, and tells the client how far it is; one that is gone ends it.
///
/// # Errors
/// The client is gone.
pub(super) fn verify(shared: &Shared, connection: &mut Connection) -> io::Result<Reply> {
    let cache = match cache(shared) {
        Ok(cache) => cache,
        Err(failure) => return Ok(Reply::Failed(failure)),
    };
    let mut told = Instant::now();
    let mut sent = Ok(());
    let seen = cache.verify(|seen| {
        if shared.is_stopping() {
            return ControlFlow::Break(());
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            sent = connection.send(&Versioned::new(Reply::CacheVerifying(*seen)), None);
        }
        if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    sent.map(|()| match shared.is_stopping() {
        true => Reply::Failed(Failure::new(FailureKind::Stopping, "the daemon is stopping")),
        false => Reply::CacheVerified(seen),
    })
}
