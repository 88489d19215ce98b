//! A store in memory, for tests and the simulator.
//!
//! One mutex is held across check and commit, so `put_new` is atomic by construction; nothing here waits, so a run on a
//! current-thread runtime is as deterministic as its callers.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use super::page::{PageBuilder, info};
use super::{Key, ListPage, ListRequest, Operation, Store, StoreError, StoreErrorKind};
use crate::types::{Clock, SystemClock};

/// Objects in a map.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    objects: Mutex<BTreeMap<String, Object>>,
}

#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    modified_seconds: i64,
}

impl MemoryStore {
    /// An empty store that dates its objects by the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store that dates its objects by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, objects: Mutex::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        // No code panics while it holds the lock, and the map is whole at every step.
        self.objects.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn object(&self, body: Bytes) -> Object {
        Object { body, modified_seconds: self.clock.now().as_micros().div_euclid(1_000_000) }
    }

    fn error(
        &self,
        kind: StoreErrorKind,
        operation: Operation,
        key: &Key,
        detail: impl std::fmt::Display,
    ) -> StoreError {
        StoreError::new(kind, operation.as_str(), key, self.describe(), detail)
    }

    fn body(&self, operation: Operation, key: &Key) -> Result<Bytes, StoreError> {
        match self.objects().get(key.as_str()) {
            Some(object) => Ok(object.body.clone()),
            None => Err(self.error(StoreErrorKind::NotFound, operation, key, "no such object")),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".into()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.body(Operation::Get, key)
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let body = self.body(Operation::GetRange, key)?;
        if range.start < range.end && range.end <= body.len() as u64 {
            return Ok(body.slice(range.start as usize..range.end as usize));
        }
        let detail = format!("the object has {} bytes, asked for {range:?}", body.len());
        Err(self.error(StoreErrorKind::OutOfRange, Operation::GetRange, key, detail))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let object = self.object(body);
        self.objects().insert(key.as_str().to_owned(), object);
        Ok(())
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let object = self.object(body);
        let mut objects = self.objects();
        if objects.contains_key(key.as_str()) {
            return Err(self.error(
                StoreErrorKind::AlreadyExists,
                Operation::PutNew,
                key,
                "it exists already",
            ));
        }
        objects.insert(key.as_str().to_owned(), object);
        Ok(())
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let objects = self.objects();
        let mut page = PageBuilder::new(request);
        let mut from = Bound::Included(request.prefix.clone());
        if let Some(after) = request.start_after.as_ref().filter(|after| **after >= request.prefix) {
            from = Bound::Excluded(after.clone());
        }
        for (key, object) in objects.range::<String, _>((from, Bound::Unbounded)) {
            let info = || Some(info(key, object.body.len() as u64, object.modified_seconds));
            if !key.starts_with(&request.prefix) || page.offer(key, info).is_break() {
                break;
            }
        }
        Ok(page.finish())
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.objects().remove(key.as_str());
        Ok(())
    }
}
