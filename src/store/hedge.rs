//! A read that takes unusually long is asked a second time, and the first answer counts.
//!
//! A store of many machines has a slow one now and then: a hundredth of its answers takes a hundred times as long, and a
//! reader of many objects meets that hundredth all the time. The second request most likely meets another machine. It
//! is allowed for reads alone, which change nothing, and for few of them: a store that is slow as a whole must not get
//! twice the work, so the second requests come out of a budget of a fiftieth of all, and there are none after it called
//! itself busy, until the budget has filled again.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::recent::Recent;
use super::{Key, ListPage, ListRequest, Store, StoreError, StoreErrorKind};

/// Nothing is called unusual before so many samples: the 99th percentile of fewer is their longest.
const ENOUGH: usize = 100;

/// The shortest wait before a second request. Shorter ones are the business of the network (a lost packet comes again
/// after some 200 ms at worst, mostly sooner), of a busy processor, and of loopback.
const FLOOR: Duration = Duration::from_millis(50);

/// The wait is never longer than so many times the 95th percentile: with slow answers around 1 % the 99th jumps between
/// the slow ones and the usual ones, and would switch hedging off just where it helps most.
const TIMES_P95: u32 = 3;

/// One request in so many may be sent twice: 2 %.
const ONE_IN: u64 = 50;

/// At most so many second requests in a row, after a time without any: a store that stops answering for a moment
/// gets a handful of them and not hundreds.
const BURST: u64 = 16;

/// Ranges up to these sizes are similar among themselves. Larger ones are never asked for twice: their time is that of
/// the transfer, and a second copy would cost more than the wait.
const SIZES: [u64; 5] = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// What is compared with what: ranges by size; whole objects, whose size nobody knows beforehand, among themselves.
#[derive(Debug, Clone, Copy)]
struct Class(usize);

impl Class {
    const WHOLE: Self = Self(SIZES.len());
    const COUNT: usize = SIZES.len() + 1;

    fn of_range(size: u64) -> Option<Self> {
        SIZES.iter().position(|most| size <= *most).map(Self)
    }
}

/// Asks twice where once takes unusually long.
#[derive(Debug)]
pub struct HedgeStore {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
    sent: AtomicU64,
    won: AtomicU64,
}

#[derive(Debug)]
struct State {
    recent: [Recent; Class::COUNT],
    /// In requests: each adds one, a second one costs [`ONE_IN`].
    budget: u64,
}

impl HedgeStore {
    /// `inner`, hedged.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        let state = State { recent: std::array::from_fn(|_| Recent::new()), budget: 0 };
        Self { inner, state: Mutex::new(state), sent: AtomicU64::new(0), won: AtomicU64::new(0) }
    }

    /// How many second requests were sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many of them answered first.
    pub fn won(&self) -> u64 {
        self.won.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn read<F>(&self, class: Class, request: impl Fn() -> F) -> Result<Bytes, StoreError>
    where
        F: Future<Output = Result<Bytes, StoreError>>,
    {
        let wait = self.state().meet(class);
        let first = self.timed(class, request());
        tokio::pin!(first);
        let early = match wait {
            Some(wait) => timeout(wait, &mut first).await.ok(),
            None => Some(first.as_mut().await),
        };
        if let Some(result) = early {
            return result;
        }
        if !self.state().spend() {
            return first.await;
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        let second = self.timed(class, request());
        tokio::pin!(second);
        // Whoever is not waited for any more is dropped, and with it its connection.
        let (result, by_second) = match select(first, second).await {
            Either::Left((result, other)) if is_no_answer(&result) => (other.await, true),
            Either::Right((result, other)) if is_no_answer(&result) => (other.await, false),
            Either::Left((result, _)) => (result, false),
            Either::Right((result, _)) => (result, true),
        };
        if by_second && !is_no_answer(&result) {
            self.won.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// One request, of which is learnt how long it takes from its own beginning. One that was overtaken leaves no sample:
    /// what is usual is what requests take that are waited for.
    async fn timed(
        &self,
        class: Class,
        request: impl Future<Output = Result<Bytes, StoreError>>,
    ) -> Result<Bytes, StoreError> {
        let began = Instant::now();
        let result = request.await;
        match &result {
            Ok(_) => self.state().recent[class.0].add(began.elapsed()),
            Err(error) if error.kind() == StoreErrorKind::Throttled => self.state().budget = 0,
            Err(_) => {}
        }
        result
    }
}

impl State {
    /// A request of `class` begins: after how long it is unusual, if that is known.
    fn meet(&mut self, class: Class) -> Option<Duration> {
        self.budget = (self.budget + 1).min(BURST * ONE_IN);
        let recent = &self.recent[class.0];
        if recent.len() < ENOUGH {
            return None;
        }
        Some(recent.percentile(99).min(recent.percentile(95) * TIMES_P95).max(FLOOR))
    }

    /// Whether the budget has a second request, which is taken from it.
    fn spend(&mut self) -> bool {
        let left = self.budget.checked_sub(ONE_IN);
        self.budget = left.unwrap_or(self.budget);
        left.is_some()
    }
}

/// A failure after which the other request may still answer.
fn is_no_answer(result: &Result<Bytes, StoreError>) -> bool {
    matches!(result, Err(error) if error.is_transient())
}

#[async_trait]
impl Store for HedgeStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.read(Class::WHOLE, || self.inner.get(key)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        match Class::of_range(range.end.saturating_sub(range.start)) {
            Some(class) => self.read(class, || self.inner.get_range(key, range.clone())).await,
            None => self.inner.get_range(key, range).await,
        }
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.inner.put(key, body).await
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.inner.put_new(key, body).await
    }

    async fn put_new_at_once(&self, key: &Key, bodies: Vec<Bytes>) -> Vec<Result<(), StoreError>> {
        self.inner.put_new_at_once(key, bodies).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.inner.list(request).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

#[cfg(test)]
mod tests;
