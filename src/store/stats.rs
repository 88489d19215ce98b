//! How a store is doing, for people: what was asked of it, what came back, how often it had to be asked again.
//!
//! Each decorator counts what it does; here is where they are asked, so that no counter is passed down through them.

use std::sync::Arc;

use super::meter::{Counted, MeterStore};
use super::{HedgeStore, Operation, Pace, RetryStore, Trouble};
use crate::types::Timestamp;

/// The decorators of one open store, to be asked at any time.
#[derive(Debug, Clone)]
pub struct StoreMonitor {
    pub(super) pace: Arc<Pace>,
    pub(super) retry: Arc<RetryStore>,
    /// A local folder has none.
    pub(super) hedge: Option<Arc<HedgeStore>>,
    pub(super) meter: Arc<MeterStore>,
}

/// One look at a store, from when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// Requests sent, of every kind, in [`Operation::ALL`]'s order: further attempts and second requests are counted too.
    pub requests: [(Operation, u64); Operation::ALL.len()],
    /// Bytes of the bodies that reads returned; those of answers that were given up half-way are not known.
    pub bytes_received: u64,
    /// Bytes of the bodies that writes sent.
    pub bytes_sent: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Second requests for reads that took unusually long.
    pub hedges_sent: u64,
    /// Those of them that answered first.
    pub hedges_won: u64,
    /// Requests that the store refused because it was busy (429, 503).
    pub slow_downs: u64,
    /// So many requests may run at once now.
    pub concurrency: usize,
    /// So many may when the store never complains.
    pub most_concurrency: usize,
    /// When the store last answered as it should (that an object does not exist is such an answer).
    pub last_success: Option<Timestamp>,
    /// The last request that failed otherwise, also when another attempt succeeded.
    pub last_error: Option<Trouble>,
}

impl StoreMonitor {
    /// How the store is doing now.
    pub fn stats(&self) -> StoreStats {
        let Counted { requests, received, sent, last_answer, last_trouble } = self.meter.counted();
        StoreStats {
            requests,
            bytes_received: received,
            bytes_sent: sent,
            retries: self.retry.retries(),
            hedges_sent: self.hedge.as_ref().map_or(0, |hedge| hedge.sent()),
            hedges_won: self.hedge.as_ref().map_or(0, |hedge| hedge.won()),
            slow_downs: self.pace.slow_downs(),
            concurrency: self.pace.allowed(),
            most_concurrency: self.pace.most(),
            last_success: last_answer,
            last_error: last_trouble,
        }
    }
}

impl StoreStats {
    /// Requests of this kind.
    pub fn count(&self, operation: Operation) -> u64 {
        self.requests[operation as usize].1
    }
}
