//! Requests under way, so that everyone who asks for the same blob at once shares one.
//!
//! A request belongs to all who wait for it: it goes on while one of them is there and is given up with the last. So
//! a caller that is dropped (an interrupted read) neither leaves work behind nor takes the answer from the others.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::repo::RepoError;

use super::{Blob, Blobs};

/// What a run brought: the blobs that arrived whole, or the failure of the store and whom it concerns.
pub(super) type RunResult<B> = Result<Vec<([u8; 32], Arc<B>)>, (Vec<[u8; 32]>, Arc<RepoError>)>;

/// A run under way: several blobs in one request.
pub(super) type RunFlight<B> = Shared<BoxFuture<'static, Arc<RunResult<B>>>>;

/// The slow way to one blob, under way.
pub(super) type SlowFlight<B> = Shared<BoxFuture<'static, Result<Arc<B>, Arc<RepoError>>>>;

/// What is under way of one kind of blob.
pub(super) struct Flights<B> {
    table: Mutex<Table<B>>,
}

pub(super) struct Table<B> {
    next: u64,
    runs: HashMap<[u8; 32], (u64, WeakRun<B>)>,
    slow: HashMap<[u8; 32], (u64, WeakSlow<B>)>,
}

type WeakRun<B> = WeakShared<BoxFuture<'static, Arc<RunResult<B>>>>;
type WeakSlow<B> = WeakShared<BoxFuture<'static, Result<Arc<B>, Arc<RepoError>>>>;

impl<B> Flights<B> {
    pub(super) fn new() -> Self {
        Self { table: Mutex::new(Table { next: 0, runs: HashMap::new(), slow: HashMap::new() }) }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table<B>> {
        // Nothing panics while it is held, and the tables are whole at every step.
        self.table.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl<B> fmt::Debug for Flights<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        f.debug_struct("Flights").field("runs", &table.runs.len()).field("slow", &table.slow.len()).finish()
    }
}

impl<B: Blob> Table<B> {
    /// The run that brings this blob.
    pub(super) fn run(&self, hash: &[u8; 32]) -> Option<RunFlight<B>> {
        self.runs.get(hash)?.1.upgrade()
    }

    /// The slow way to this blob.
    pub(super) fn slow(&self, hash: &[u8; 32]) -> Option<SlowFlight<B>> {
        self.slow.get(hash)?.1.upgrade()
    }

    /// Enters a run that brings these blobs.
    pub(super) fn start_run(
        &mut self,
        blobs: &Blobs,
        hashes: Vec<[u8; 32]>,
        work: impl Future<Output = RunResult<B>> + Send + 'static,
    ) -> RunFlight<B> {
        let number = self.number();
        let entered = Entered { blobs: blobs.clone(), number, hashes: hashes.clone(), remove: Self::end_run };
        let flight = async move {
            let _entered = entered;
            Arc::new(work.await)
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            self.runs.extend(hashes.into_iter().map(|hash| (hash, (number, weak.clone()))));
        }
        flight
    }

    /// Enters the slow way to one blob.
    pub(super) fn start_slow(
        &mut self,
        blobs: &Blobs,
        hash: [u8; 32],
        work: impl Future<Output = Result<Arc<B>, RepoError>> + Send + 'static,
    ) -> SlowFlight<B> {
        let number = self.number();
        let entered = Entered { blobs: blobs.clone(), number, hashes: vec![hash], remove: Self::end_slow };
        let flight = async move {
            let _entered = entered;
            work.await.map_err(Arc::new)
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            self.slow.insert(hash, (number, weak));
        }
        flight
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn end_run(&mut self, hash: &[u8; 32], number: u64) {
        if self.runs.get(hash).is_some_and(|(own, _)| *own == number) {
            self.runs.remove(hash);
        }
    }

    fn end_slow(&mut self, hash: &[u8; 32], number: u64) {
        if self.slow.get(hash).is_some_and(|(own, _)| *own == number) {
            self.slow.remove(hash);
        }
    }
}

/// Takes a flight off the table when it ends or is given up. What it brought is in memory by then.
struct Entered<B: Blob> {
    blobs: Blobs,
    number: u64,
    hashes: Vec<[u8; 32]>,
    remove: fn(&mut Table<B>, &[u8; 32], u64),
}

impl<B: Blob> Drop for Entered<B> {
    fn drop(&mut self) {
        let mut table = B::shelf(&self.blobs.inner).flights.table();
        for hash in &self.hashes {
            (self.remove)(&mut table, hash, self.number);
        }
    }
}

/// The same failure for one more of those who waited for it.
pub(in crate::repo) fn repeated(error: &RepoError) -> RepoError {
    match error {
        RepoError::Store(error) => error.repeated().into(),
        RepoError::Damaged { object, store, source } => {
            RepoError::Damaged { object: object.clone(), store: store.clone(), source: source.clone() }
        }
        RepoError::Missing { object, store } => {
            RepoError::Missing { object: object.clone(), store: store.clone() }
        }
        // Reads of blobs end in one of the three above.
        other => RepoError::Missing { object: other.to_string(), store: String::new() },
    }
}
