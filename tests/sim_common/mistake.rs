//! Programming errors of the kind that the simulator must catch, put between the engine and its store: what the engine
//! then does is what an engine with that error would do.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atfs::format::Record;
use atfs::store::{Key, ListPage, ListRequest, Store, StoreError, StoreErrorKind};
use atfs::types::Nonce;
use bytes::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A time-out or a 5xx after a conditional write is taken for a failure.
    NoAnswerMeansFailure,
    /// After a lost answer the key is read, and "not found" is taken for a failure.
    NotFoundMeansFailure,
    /// "It exists" is taken for a lost race without looking whose it is.
    ExistsMeansLost,
    /// A conditional write overwrites: a store whose condition does not hold.
    ConditionIgnored,
}

#[derive(Debug)]
pub struct Mistaken {
    inner: Arc<dyn Store>,
    mistake: Mistake,
    /// Keys that "existed".
    existed: Mutex<BTreeSet<Key>>,
}

impl Mistaken {
    pub fn new(inner: Arc<dyn Store>, mistake: Mistake) -> Self {
        Self { inner, mistake, existed: Mutex::default() }
    }

    fn failure(&self, key: &Key) -> StoreError {
        StoreError::new(StoreErrorKind::Denied, "put", key, self.describe(), "a mistaken failure")
    }
}

#[async_trait]
impl Store for Mistaken {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let bytes = self.inner.get(key).await?;
        if !self.existed.lock().unwrap().remove(key) {
            return Ok(bytes);
        }
        match Record::decode(&bytes) {
            Ok(mut record) => {
                record.nonce = Nonce::from_bytes([0; 16]);
                Ok(record.encode().into())
            }
            Err(_) => Ok(bytes),
        }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.inner.put(key, body).await
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        if self.mistake == Mistake::ConditionIgnored {
            return self.inner.put(key, body).await;
        }
        let answer = self.inner.put_new(key, body).await;
        let Err(error) = answer else { return Ok(()) };
        match self.mistake {
            Mistake::NoAnswerMeansFailure if error.is_ambiguous() => Err(self.failure(key)),
            Mistake::NotFoundMeansFailure if error.is_ambiguous() => match self.inner.get(key).await {
                Err(read) if read.is_not_found() => Err(self.failure(key)),
                _ => Err(error),
            },
            Mistake::ExistsMeansLost if error.is_already_exists() => {
                self.existed.lock().unwrap().insert(key.clone());
                Err(error)
            }
            _ => Err(error),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.inner.list(request).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}
