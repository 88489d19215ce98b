//! Every request ends: transient failures are tried again, with jitter, until a deadline.
//!
//! # Why repeating is right
//! `get`, `get_range` and `list` change nothing. `put` and `delete` of this engine are repeatable: a key is put only with
//! the one content that its name stands for, so a first try that arrives late changes nothing. `put_new` is never
//! repeated here, because a repetition that meets its own first try reads as a lost race; its caller, who knows its
//! nonce, settles that. It gets the time limit all the same.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{Key, ListPage, ListRequest, Operation, Store, StoreError, StoreErrorKind};
use crate::types::Random;

/// When to try again and when to give up. All times are wall time of one call.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// After this long no further attempt begins. A larger body gets more (`min_rate`).
    pub deadline: Duration,
    /// One attempt ends after this long; likewise more for a larger body.
    pub attempt: Duration,
    /// Bytes per second that a body may count on: a body of n bytes adds n / `min_rate` to both limits above.
    pub min_rate: u64,
    /// The longest wait before the second attempt; it doubles with each one.
    pub first_wait: Duration,
    /// The longest wait between two attempts.
    pub longest_wait: Duration,
    /// Replaces the deadline for a store that cannot be reached and has never answered: a wrong endpoint should be
    /// reported while the user is still looking, an outage in the middle of a run should be waited for.
    pub first_contact: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            // Longer than a failover of the stores known to us, shorter than the two minutes after which the kernel
            // reports a reader as hung.
            deadline: Duration::from_secs(60),
            attempt: Duration::from_secs(30),
            min_rate: 256 << 10,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(5),
            first_contact: Duration::from_secs(5),
        }
    }
}

/// What an attempt grants a body whose size nobody knows beforehand: the target of a pack. A backend that learns the
/// size from the answer holds it to a tighter limit (see `s3/body.rs`).
const UNKNOWN: u64 = 64 << 20;

/// The longest wait that a store may ask for (`Retry-After`): a third of the deadline. A proxy in front of a store that
/// restarts likes to say "in two minutes", and the store is back in ten seconds.
const LONGEST_ASKED: Duration = Duration::from_secs(20);

/// The body that a request moves.
#[derive(Debug, Clone, Copy)]
enum Body {
    /// So many bytes.
    Known(u64),
    /// As many as the object has.
    Unknown,
}

/// Tries again.
#[derive(Debug)]
pub struct RetryStore {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
    random: Arc<dyn Random>,
    answered: AtomicBool,
    retries: AtomicU64,
}

impl RetryStore {
    /// `inner` with `policy`; waits are drawn from `random`.
    pub fn new(inner: Arc<dyn Store>, policy: RetryPolicy, random: Arc<dyn Random>) -> Self {
        let (answered, retries) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { inner, policy, random, answered, retries }
    }

    /// How many attempts there were after the first ones.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// One attempt within `limit`.
    async fn attempt<T>(
        &self,
        operation: Operation,
        key: &str,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let result = timeout(limit, work).await.unwrap_or_else(|_| {
            let detail = format!("no complete answer within {:.1} s", limit.as_secs_f64());
            Err(StoreError::new(
                StoreErrorKind::Timeout,
                operation.as_str(),
                key,
                self.inner.describe(),
                detail,
            ))
        });
        let reached = !matches!(&result, Err(e) if e.kind() == StoreErrorKind::Unreachable || e.kind() == StoreErrorKind::Timeout);
        if reached {
            self.answered.store(true, Ordering::Relaxed);
        }
        result
    }

    async fn repeat<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        operation: Operation,
        key: &str,
        body: Body,
        mut work: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        let (attempt_limit, deadline) = self.limits(body);
        let began = Instant::now();
        let mut longest = self.policy.first_wait;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let limit = attempt_limit.min((deadline + attempt_limit).saturating_sub(began.elapsed()));
            let error = match self.attempt(operation, key, limit, work()).await {
                Err(error) if error.is_transient() => error,
                done => return done,
            };
            let never = error.kind() == StoreErrorKind::Unreachable && !self.answered.load(Ordering::Relaxed);
            let deadline = if never { self.policy.first_contact.min(deadline) } else { deadline };
            // Full jitter: many clients that failed at the same time do not come back at the same time.
            // That holds for the wait that a store asks for, too: it tells all of them the same.
            let asked = error.retry_after().unwrap_or_default().min(LONGEST_ASKED);
            let wait = asked + longest.mul_f64(self.random.unit());
            longest = (longest * 2).min(self.policy.longest_wait);
            if began.elapsed() + wait >= deadline {
                let spent = began.elapsed().as_secs_f64();
                let plural = if attempts == 1 { "" } else { "s" };
                let note = format!("given up after {attempts} attempt{plural} in {spent:.1} s");
                return Err(error.with_note(note));
            }
            tracing::debug!(%operation, key, attempts, ?wait, %error, "will try again");
            sleep(wait).await;
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The limit of one attempt, and the time after which no further one begins.
    fn limits(&self, body: Body) -> (Duration, Duration) {
        let allowance = |size: u64| Duration::from_secs_f64(size as f64 / self.policy.min_rate.max(1) as f64);
        match body {
            Body::Known(size) => {
                (self.policy.attempt + allowance(size), self.policy.deadline + allowance(size))
            }
            Body::Unknown => (self.policy.attempt + allowance(UNKNOWN), self.policy.deadline),
        }
    }
}

#[async_trait]
impl Store for RetryStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.repeat(Operation::Get, key.as_str(), Body::Unknown, || self.inner.get(key)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let size = Body::Known(range.end.saturating_sub(range.start));
        let work = || self.inner.get_range(key, range.clone());
        self.repeat(Operation::GetRange, key.as_str(), size, work).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let size = Body::Known(body.len() as u64);
        self.repeat(Operation::Put, key.as_str(), size, || self.inner.put(key, body.clone())).await
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let (limit, _) = self.limits(Body::Known(body.len() as u64));
        self.attempt(Operation::PutNew, key.as_str(), limit, self.inner.put_new(key, body)).await
    }

    async fn put_new_at_once(&self, key: &Key, bodies: Vec<Bytes>) -> Vec<Result<(), StoreError>> {
        let (count, size) = (bodies.len(), bodies.iter().map(Bytes::len).sum::<usize>());
        let (limit, _) = self.limits(Body::Known(size as u64));
        let all = async { Ok(self.inner.put_new_at_once(key, bodies).await) };
        match self.attempt(Operation::PutNew, key.as_str(), limit, all).await {
            Ok(answers) => answers,
            Err(error) => (0..count).map(|_| Err(error.repeated())).collect(),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.repeat(Operation::List, &request.prefix, Body::Known(0), || self.inner.list(request)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.repeat(Operation::Delete, key.as_str(), Body::Known(0), || self.inner.delete(key)).await
    }
}

#[cfg(test)]
mod tests;
