//! At most so many requests at once, and fewer while the store says that it is busy (`pace.rs`).
//!
//! Slots are given in the order of asking. A queue that moves is waited for however long it is: bulk work is slow, not
//! broken. A queue in which nothing ends well for a whole `stall` means that the store is down, and its waiters get an
//! error: no wait is without an end.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;

use super::pace::{Pace, Slot};
use super::{Key, ListPage, ListRequest, Operation, Store, StoreError, StoreErrorKind};

/// Bounds the number of concurrent requests.
#[derive(Debug)]
pub struct LimitStore {
    inner: Arc<dyn Store>,
    pace: Arc<Pace>,
    stall: Duration,
    /// Requests that the store has answered, whatever it said.
    answered: AtomicU64,
}

impl LimitStore {
    /// At most as many requests of `inner` at once as `pace` allows; a waiter gives up when none was answered for
    /// `stall`, which should be longer than one request may take. Whoever is nearest to the store tells `pace` how it
    /// goes ([`super::MeterStore`]).
    pub fn new(inner: Arc<dyn Store>, pace: Arc<Pace>, stall: Duration) -> Self {
        Self { inner, pace, stall, answered: AtomicU64::new(0) }
    }

    async fn slot(&self, operation: Operation, key: &str) -> Result<Slot<'_>, StoreError> {
        let waiting = self.pace.slot();
        tokio::pin!(waiting);
        let mut seen = self.answered.load(Ordering::Relaxed);
        let stalled = || {
            let detail = format!(
                "all request slots are taken and none was answered for {:.0} s",
                self.stall.as_secs_f64()
            );
            StoreError::new(StoreErrorKind::Timeout, operation.as_str(), key, self.inner.describe(), detail)
        };
        loop {
            match timeout(self.stall, &mut waiting).await {
                Ok(slot) => return slot.ok_or_else(stalled),
                Err(_) => {
                    let now = self.answered.load(Ordering::Relaxed);
                    if now == seen {
                        return Err(stalled());
                    }
                    seen = now;
                }
            }
        }
    }

    fn count<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if !matches!(&result, Err(e) if e.is_transient()) {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

#[async_trait]
impl Store for LimitStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let _slot = self.slot(Operation::Get, key.as_str()).await?;
        self.count(self.inner.get(key).await)
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let _slot = self.slot(Operation::GetRange, key.as_str()).await?;
        self.count(self.inner.get_range(key, range).await)
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let _slot = self.slot(Operation::Put, key.as_str()).await?;
        self.count(self.inner.put(key, body).await)
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let _slot = self.slot(Operation::PutNew, key.as_str()).await?;
        self.count(self.inner.put_new(key, body).await)
    }

    /// In one slot: a race that is let in one by one is none.
    async fn put_new_at_once(&self, key: &Key, bodies: Vec<Bytes>) -> Vec<Result<(), StoreError>> {
        match self.slot(Operation::PutNew, key.as_str()).await {
            Ok(_slot) => self.inner.put_new_at_once(key, bodies).await,
            Err(error) => bodies.iter().map(|_| Err(error.repeated())).collect(),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let _slot = self.slot(Operation::List, &request.prefix).await?;
        self.count(self.inner.list(request).await)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let _slot = self.slot(Operation::Delete, key.as_str()).await?;
        self.count(self.inner.delete(key).await)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::{Fault, FaultRule, FaultStore};
    use super::super::{MemoryStore, RecordStore};
    use super::*;

    /// A store whose every request takes `delay`, at most `concurrency` at once, and its recorder.
    fn slow(concurrency: usize, delay: u64, stall: u64) -> (Arc<RecordStore>, Arc<LimitStore>) {
        let fault = FaultStore::new(Arc::new(MemoryStore::new()), 1);
        fault.set_rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(delay)))]);
        let record = Arc::new(RecordStore::new(Arc::new(fault)));
        let limit =
            LimitStore::new(record.clone(), Arc::new(Pace::new(concurrency)), Duration::from_secs(stall));
        (record, Arc::new(limit))
    }

    async fn put_many(store: &Arc<LimitStore>, count: usize) -> Vec<Result<(), StoreError>> {
        let puts: Vec<_> = (0..count)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.put(&Key::new(format!("k{n}")), Bytes::new()).await })
            })
            .collect();
        let mut results = Vec::new();
        for put in puts {
            results.push(put.await.expect("no panic"));
        }
        results
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_than_so_many_and_a_moving_queue_is_waited_for() {
        // 25 rounds of 3 s each: far beyond the stall limit of 10 s, but never without progress.
        let (record, limit) = slow(4, 3, 10);
        assert!(put_many(&limit, 100).await.iter().all(Result::is_ok));
        assert_eq!(record.calls().len(), 100);
        assert_eq!(record.most_at_once(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stands_still_is_an_error() {
        let (_record, limit) = slow(2, 1000, 10);
        let results = put_many(&limit, 5).await;
        let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert_eq!(failed.len(), 3);
        assert!(failed.iter().all(|e| e.kind() == StoreErrorKind::Timeout));
    }
}
