//! What crosses the network, counted: every attempt and every second request, just above the backend.
//!
//! It is also what tells the [`Pace`] how the store takes it: only here is a refusal seen when it comes, and not when
//! the retries have given up.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use super::pace::{Pace, Round};
use super::{Key, ListPage, ListRequest, Operation, Store, StoreError, StoreErrorKind};
use crate::types::{Clock, Timestamp};

/// Passes every request on, counts it, and tells the pace.
#[derive(Debug)]
pub struct MeterStore {
    inner: Arc<dyn Store>,
    pace: Arc<Pace>,
    clock: Arc<dyn Clock>,
    requests: [AtomicU64; Operation::ALL.len()],
    received: AtomicU64,
    sent: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    answer: Option<Timestamp>,
    trouble: Option<Trouble>,
}

/// A request that failed because of the store, the way to it, or the rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// When.
    pub when: Timestamp,
    /// What kind.
    pub kind: StoreErrorKind,
    /// The error's text: operation, object, store, what came back.
    pub text: String,
}

/// What a [`MeterStore`] has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) requests: [(Operation, u64); Operation::ALL.len()],
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) last_answer: Option<Timestamp>,
    pub(super) last_trouble: Option<Trouble>,
}

impl MeterStore {
    /// Counts the requests to `inner`, tells `pace` of them, dates them by `clock`.
    pub fn new(inner: Arc<dyn Store>, pace: Arc<Pace>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            pace,
            clock,
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    pub(super) fn counted(&self) -> Counted {
        let last = self.last();
        Counted {
            requests: Operation::ALL
                .map(|operation| (operation, self.requests[operation as usize].load(Ordering::Relaxed))),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            last_answer: last.answer,
            last_trouble: last.trouble.clone(),
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A request whose body has `sent` bytes goes out.
    fn begin(&self, operation: Operation, sent: usize) -> Round {
        self.requests[operation as usize].fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.pace.round()
    }

    /// Its answer, or what came instead.
    fn end<T>(&self, round: Round, result: &Result<T, StoreError>) {
        use StoreErrorKind::*;
        let trouble = match result {
            Ok(_) => None,
            // The store has answered; that the caller hoped for something else is no trouble of the store.
            Err(e) if matches!(e.kind(), NotFound | AlreadyExists | OutOfRange | Conflict) => None,
            Err(e) => Some(e),
        };
        match trouble {
            None => self.pace.succeeded(round),
            Some(e) if e.kind() == Throttled => self.pace.refused(round),
            Some(_) => {}
        }
        let when = self.clock.now();
        match trouble {
            None => self.last().answer = Some(when),
            Some(e) => {
                self.last().trouble = Some(Trouble { when, kind: e.kind(), text: e.to_string() });
            }
        }
    }

    fn got(&self, round: Round, result: Result<Bytes, StoreError>) -> Result<Bytes, StoreError> {
        let bytes = result.as_ref().map_or(0, Bytes::len);
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.end(round, &result);
        result
    }
}

#[async_trait]
impl Store for MeterStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let round = self.begin(Operation::Get, 0);
        self.got(round, self.inner.get(key).await)
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let round = self.begin(Operation::GetRange, 0);
        self.got(round, self.inner.get_range(key, range).await)
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let round = self.begin(Operation::Put, body.len());
        let result = self.inner.put(key, body).await;
        self.end(round, &result);
        result
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let round = self.begin(Operation::PutNew, body.len());
        let result = self.inner.put_new(key, body).await;
        self.end(round, &result);
        result
    }

    async fn put_new_at_once(&self, key: &Key, bodies: Vec<Bytes>) -> Vec<Result<(), StoreError>> {
        let rounds: Vec<_> = bodies.iter().map(|body| self.begin(Operation::PutNew, body.len())).collect();
        let results = self.inner.put_new_at_once(key, bodies).await;
        rounds.into_iter().zip(&results).for_each(|(round, result)| self.end(round, result));
        results
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let round = self.begin(Operation::List, 0);
        let result = self.inner.list(request).await;
        self.end(round, &result);
        result
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let round = self.begin(Operation::Delete, 0);
        let result = self.inner.delete(key).await;
        self.end(round, &result);
        result
    }
}
