//! Everything that goes wrong with stores, on purpose and repeatably.
//!
//! A [`FaultStore`] asks its rules, in order, what happens to each request. All chance comes from its seed and all
//! waiting goes through `tokio::time`, so on a current-thread runtime a run is determined by seed, rules and requests, and
//! with paused time it takes none.
//!
//! Faults of timing add up: every matching one applies. Of the others the first that matches applies.

mod rule;

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use self::rule::{Fault, FaultRule, When};
use super::{Key, ListPage, ListRequest, Operation, Store, StoreError, StoreErrorKind};
use crate::types::{Random, SeededRandom};

/// A store that fails by plan.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    random: SeededRandom,
    rules: Mutex<Vec<(FaultRule, u64)>>,
    injected: Mutex<Vec<(Operation, String, Fault)>>,
    travelling: Mutex<JoinSet<()>>,
    running: AtomicUsize,
}

/// What the rules say about one request.
#[derive(Debug, Default)]
struct Verdict<'a> {
    before: Duration,
    after: Duration,
    fault: Option<Fault>,
    running: Option<Running<'a>>,
}

/// A request under way that no fault struck.
#[derive(Debug)]
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FaultStore {
    /// `inner` with faults drawn from `seed`; none until [`FaultStore::set_rules`].
    pub fn new(inner: Arc<dyn Store>, seed: u64) -> Self {
        Self {
            inner,
            random: SeededRandom::new(seed),
            rules: Mutex::default(),
            injected: Mutex::default(),
            travelling: Mutex::default(),
            running: AtomicUsize::new(0),
        }
    }

    /// Replaces the rules; their counts begin at zero. An empty list makes an honest store.
    pub fn set_rules(&self, rules: impl IntoIterator<Item = FaultRule>) {
        *lock(&self.rules) = rules.into_iter().map(|rule| (rule, 0)).collect();
    }

    /// The faults injected so far.
    pub fn injected(&self) -> Vec<(Operation, String, Fault)> {
        lock(&self.injected).clone()
    }

    /// Waits until every request believed lost has arrived.
    pub async fn settle(&self) {
        loop {
            let mut travelling = std::mem::take(&mut *lock(&self.travelling));
            if travelling.is_empty() {
                return;
            }
            while travelling.join_next().await.is_some() {}
        }
    }

    fn judge(&self, operation: Operation, key: &str) -> Verdict<'_> {
        let mut verdict = Verdict::default();
        let mut rules = lock(&self.rules);
        let running = self.running.load(Ordering::SeqCst);
        for (rule, met) in rules.iter_mut() {
            if !rule.applies(operation, key) {
                continue;
            }
            *met += 1;
            if !rule.when.strikes(*met, running, || self.random.unit()) {
                continue;
            }
            match &rule.fault {
                Fault::SlowFirstByte(time) => verdict.before += *time,
                Fault::SlowBody(time) => verdict.after += *time,
                Fault::Jitter(most) => {
                    verdict.before += most.mul_f64(self.random.unit());
                    verdict.after += most.mul_f64(self.random.unit());
                }
                fault if verdict.fault.is_none() => verdict.fault = Some(fault.clone()),
                _ => continue,
            }
            lock(&self.injected).push((operation, key.to_owned(), rule.fault.clone()));
        }
        verdict.running = verdict.fault.is_none().then(|| Running::begin(&self.running));
        verdict
    }

    fn error(&self, kind: StoreErrorKind, operation: Operation, key: &str, detail: &str) -> StoreError {
        StoreError::new(kind, operation.as_str(), key, self.describe(), format!("injected: {detail}"))
    }

    /// Sends a request on its way without anybody waiting for its answer.
    fn arrive_later<F>(&self, within: Duration, request: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let after = within.mul_f64(self.random.unit());
        let mut travelling = lock(&self.travelling);
        // Those that have arrived meanwhile.
        while travelling.try_join_next().is_some() {}
        travelling.spawn(async move {
            sleep(after).await;
            request.await;
        });
    }

    /// The faults that strike every kind of request alike: `None` when it is to go on.
    fn refused(&self, fault: Option<&Fault>, operation: Operation, key: &str) -> Option<StoreError> {
        let (kind, detail) = match fault? {
            Fault::Server => (StoreErrorKind::Server, "500"),
            Fault::Throttled | Fault::ThrottledFor(_) => (StoreErrorKind::Throttled, "503"),
            Fault::Unreachable => (StoreErrorKind::Unreachable, "no connection"),
            Fault::Conflict => (StoreErrorKind::Conflict, "409"),
            // A cut upload is refused by its checksum.
            Fault::CutBody => (StoreErrorKind::CutBody, "cut body"),
            Fault::Denied => (StoreErrorKind::Denied, "403"),
            _ => return None,
        };
        let wait = match fault? {
            Fault::ThrottledFor(wait) => Some(*wait),
            _ => None,
        };
        Some(self.error(kind, operation, key, detail).with_retry_after(wait))
    }

    /// A request that changes nothing.
    async fn read<T>(
        &self,
        operation: Operation,
        key: &str,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<(T, Option<Fault>), StoreError> {
        let Verdict { before, after, fault, running: _running } = self.judge(operation, key);
        pause(before).await;
        let answer = match self.refused(fault.as_ref(), operation, key) {
            Some(error) => Err(error),
            None if matches!(fault, Some(Fault::LostAnswer | Fault::LateArrival(_))) => {
                Err(self.error(StoreErrorKind::Timeout, operation, key, "lost answer"))
            }
            None => request.await.map(|value| (value, fault)),
        };
        pause(after).await;
        answer
    }

    /// A request that changes something, made by `request` (now or later).
    async fn write<F>(
        &self,
        operation: Operation,
        key: &Key,
        request: impl FnOnce(Arc<dyn Store>, Option<Fault>) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let Verdict { before, after, fault, running: _running } = self.judge(operation, key.as_str());
        pause(before).await;
        let lost = |detail| Err(self.error(StoreErrorKind::Timeout, operation, key.as_str(), detail));
        let answer = match self.refused(fault.as_ref(), operation, key.as_str()) {
            Some(error) => Err(error),
            None => match fault {
                Some(Fault::LateArrival(within)) => {
                    let request = request(self.inner.clone(), None);
                    self.arrive_later(within, async move {
                        // Nobody hears the answer.
                        let _ = request.await;
                    });
                    lost("late arrival")
                }
                Some(Fault::LostAnswer) => {
                    let _ = request(self.inner.clone(), None).await;
                    lost("lost answer")
                }
                Some(Fault::ServerAfterSuccess) => {
                    let _ = request(self.inner.clone(), None).await;
                    Err(self.error(StoreErrorKind::Server, operation, key.as_str(), "500 after success"))
                }
                Some(Fault::ExistsAfterSuccess) if operation == Operation::PutNew => {
                    let _ = request(self.inner.clone(), None).await;
                    let kind = StoreErrorKind::AlreadyExists;
                    Err(self.error(kind, operation, key.as_str(), "412 after success"))
                }
                other => request(self.inner.clone(), other).await,
            },
        };
        pause(after).await;
        answer
    }

    /// The body as it comes off the wire.
    fn damaged(&self, body: Bytes, fault: Option<Fault>) -> Bytes {
        if body.is_empty() || !matches!(fault, Some(Fault::FlippedBit)) {
            return body;
        }
        let mut bytes = body.to_vec();
        let bit = (self.random.unit() * (bytes.len() * 8) as f64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes.into()
    }
}

#[async_trait]
impl Store for FaultStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let (body, fault) = self.read(Operation::Get, key.as_str(), self.inner.get(key)).await?;
        Ok(self.damaged(body, fault))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let request = self.inner.get_range(key, range);
        let (body, fault) = self.read(Operation::GetRange, key.as_str(), request).await?;
        Ok(self.damaged(body, fault))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let target = key.clone();
        let put = |inner: Arc<dyn Store>, _| async move { inner.put(&target, body).await };
        self.write(Operation::Put, key, put).await
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let target = key.clone();
        let put = |inner: Arc<dyn Store>, fault| async move {
            match fault {
                Some(Fault::IgnoredCondition) => inner.put(&target, body).await,
                Some(Fault::RacyCondition(window)) => {
                    // Looks first and writes later, as a store without a lock does.
                    match inner.get(&target).await {
                        Ok(_) => inner.put_new(&target, body).await,
                        Err(e) if e.is_not_found() => {
                            sleep(window).await;
                            inner.put(&target, body).await
                        }
                        Err(e) => Err(e),
                    }
                }
                _ => inner.put_new(&target, body).await,
            }
        };
        self.write(Operation::PutNew, key, put).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let (page, _) = self.read(Operation::List, &request.prefix, self.inner.list(request)).await?;
        Ok(page)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let target = key.clone();
        let delete = |inner: Arc<dyn Store>, _| async move { inner.delete(&target).await };
        self.write(Operation::Delete, key, delete).await
    }
}

/// A wait of nothing is none: not even a turn of the scheduler.
async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests;
