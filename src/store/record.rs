//! Which requests were made: tests hold the engine to its request counts with it.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Key, ListPage, ListRequest, Operation, Store, StoreError};

/// One request that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// Of which key, or below which prefix.
    pub key: String,
    /// Bytes of the body sent or received; for a listing the number of items.
    pub bytes: u64,
    /// Whether it succeeded.
    pub ok: bool,
    /// Its place in the longest chain of requests one after the other: 1 when nothing had ended before it began.
    pub depth: usize,
}

/// Passes every request on and writes it down.
#[derive(Debug)]
pub struct RecordStore {
    inner: Arc<dyn Store>,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    calls: Vec<Call>,
    depth: usize,
    running: usize,
    most: usize,
}

impl RecordStore {
    /// Records the requests to `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, log: Mutex::default() }
    }

    /// The requests since the beginning or the last [`RecordStore::reset`], in the order in which they ended.
    pub fn calls(&self) -> Vec<Call> {
        self.log().calls.clone()
    }

    /// How many requests of this kind.
    pub fn count(&self, operation: Operation) -> usize {
        self.log().calls.iter().filter(|call| call.operation == operation).count()
    }

    /// Bytes of all requests of this kind together.
    pub fn bytes(&self, operation: Operation) -> u64 {
        self.log().calls.iter().filter(|call| call.operation == operation).map(|call| call.bytes).sum()
    }

    /// The longest chain of requests one after the other, in requests: what latency multiplies.
    pub fn depth(&self) -> usize {
        self.log().depth
    }

    /// The most requests that ran at once.
    pub fn most_at_once(&self) -> usize {
        self.log().most
    }

    /// Forgets what was recorded; requests that are running are recorded when they end.
    pub fn reset(&self) {
        let mut log = self.log();
        *log = Log { running: log.running, most: log.running, ..Log::default() };
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn begin(&self) -> Running<'_> {
        let mut log = self.log();
        log.running += 1;
        log.most = log.most.max(log.running);
        Running { store: self, depth: log.depth + 1 }
    }
}

/// A request under way; a caller that gives up drops it.
struct Running<'a> {
    store: &'a RecordStore,
    depth: usize,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut log = self.store.log();
        log.running = log.running.saturating_sub(1);
    }
}

impl Running<'_> {
    fn end(self, operation: Operation, key: &str, bytes: usize, ok: bool) {
        let mut log = self.store.log();
        log.depth = log.depth.max(self.depth);
        log.calls.push(Call { operation, key: key.to_owned(), bytes: bytes as u64, ok, depth: self.depth });
    }
}

fn received(result: &Result<Bytes, StoreError>) -> usize {
    result.as_ref().map_or(0, Bytes::len)
}

#[async_trait]
impl Store for RecordStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let running = self.begin();
        let result = self.inner.get(key).await;
        running.end(Operation::Get, key.as_str(), received(&result), result.is_ok());
        result
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let running = self.begin();
        let result = self.inner.get_range(key, range).await;
        running.end(Operation::GetRange, key.as_str(), received(&result), result.is_ok());
        result
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let (running, sent) = (self.begin(), body.len());
        let result = self.inner.put(key, body).await;
        running.end(Operation::Put, key.as_str(), sent, result.is_ok());
        result
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let (running, sent) = (self.begin(), body.len());
        let result = self.inner.put_new(key, body).await;
        running.end(Operation::PutNew, key.as_str(), sent, result.is_ok());
        result
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let running = self.begin();
        let result = self.inner.list(request).await;
        let items = result.as_ref().map_or(0, |page| page.objects.len() + page.groups.len());
        running.end(Operation::List, &request.prefix, items, result.is_ok());
        result
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let running = self.begin();
        let result = self.inner.delete(key).await;
        running.end(Operation::Delete, key.as_str(), 0, result.is_ok());
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::MemoryStore;
    use super::super::fault::{Fault, FaultRule, FaultStore};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_bytes_and_depth() {
        let fault = FaultStore::new(Arc::new(MemoryStore::new()), 1);
        fault.set_rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(1)))]);
        let store = RecordStore::new(Arc::new(fault));
        let (a, b) = (Key::new("a"), Key::new("b"));
        store.put(&a, Bytes::from_static(b"12345")).await.expect("put");
        store.reset();
        let _ = tokio::join!(store.get(&a), store.get(&b), store.get_range(&a, 1..3));
        store.put_new(&b, Bytes::from_static(b"1")).await.expect("create");
        assert_eq!((store.count(Operation::Get), store.bytes(Operation::Get)), (2, 5));
        assert_eq!(store.bytes(Operation::GetRange), 2);
        assert_eq!((store.depth(), store.most_at_once()), (2, 3));
        let last = store.calls().pop().expect("four calls");
        let expected = Call { operation: Operation::PutNew, key: "b".into(), bytes: 1, ok: true, depth: 2 };
        assert_eq!(last, expected);
        assert_eq!(store.calls().iter().filter(|call| !call.ok).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_given_up_does_not_run_for_ever() {
        let fault = FaultStore::new(Arc::new(MemoryStore::new()), 1);
        fault.set_rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(60)))]);
        let store = RecordStore::new(Arc::new(fault));
        let key = Key::new("a");
        tokio::time::timeout(Duration::from_secs(1), store.get(&key)).await.expect_err("given up");
        assert_eq!(store.log().running, 0);
        assert_eq!(store.calls(), []);
    }
}
