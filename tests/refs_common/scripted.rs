//! A store whose next answers are written down beforehand; afterwards it is the store behind it. It counts calls.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atfs::store::{Key, ListPage, ListRequest, Store, StoreError, StoreErrorKind};
use bytes::Bytes;

/// What becomes of one `put_new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing special.
    Pass,
    /// It never arrives, and the store answers so.
    Refused(StoreErrorKind),
    /// It is carried out, but the answer is another.
    Done(StoreErrorKind),
    /// No answer ever comes, and it is not carried out.
    Silence,
    /// It is carried out, but no answer ever comes.
    DoneInSilence,
}

/// Calls in the order in which they began: a letter (Get, Range, Put, New, List, Delete) and the key or prefix.
#[derive(Debug)]
pub struct Scripted {
    inner: Arc<dyn Store>,
    fates: Mutex<VecDeque<Fate>>,
    /// How many of the next reads of records say "not found".
    blind_reads: Mutex<usize>,
    calls: Mutex<Vec<(char, String)>>,
}

/// What a probe writes is not part of the script.
fn is_part_of_the_repository(key: &Key) -> bool {
    ["format.json", "refs/", "settings/"].iter().any(|begin| key.as_str().starts_with(begin))
}

impl Scripted {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let (fates, blind_reads, calls) = Default::default();
        Arc::new(Self { inner, fates, blind_reads, calls })
    }

    pub fn script(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().unwrap().extend(fates);
    }

    pub fn blind_reads(&self, count: usize) {
        *self.blind_reads.lock().unwrap() = count;
    }

    pub fn take_calls(&self) -> Vec<(char, String)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// The letters of the calls so far.
    pub fn take_letters(&self) -> String {
        self.take_calls().into_iter().map(|(letter, _)| letter).collect()
    }

    fn call(&self, letter: char, key: &str) {
        self.calls.lock().unwrap().push((letter, key.to_owned()));
    }

    fn error(&self, kind: StoreErrorKind, key: &Key) -> StoreError {
        StoreError::new(kind, "scripted", key, "the script", format!("{kind:?}"))
    }
}

#[async_trait]
impl Store for Scripted {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.call('G', key.as_str());
        let blind = {
            let mut left = self.blind_reads.lock().unwrap();
            let blind = *left > 0 && key.as_str().starts_with("refs/");
            *left -= usize::from(blind);
            blind
        };
        if blind { Err(self.error(StoreErrorKind::NotFound, key)) } else { self.inner.get(key).await }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.call('R', key.as_str());
        self.inner.get_range(key, range).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.call('P', key.as_str());
        self.inner.put(key, body).await
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.call('N', key.as_str());
        let scripted = is_part_of_the_repository(key).then(|| self.fates.lock().unwrap().pop_front());
        let fate = scripted.flatten().unwrap_or(Fate::Pass);
        match fate {
            Fate::Pass => self.inner.put_new(key, body).await,
            Fate::Refused(kind) => Err(self.error(kind, key)),
            Fate::Done(kind) => {
                self.inner.put_new(key, body).await?;
                Err(self.error(kind, key))
            }
            Fate::Silence => std::future::pending().await,
            Fate::DoneInSilence => {
                self.inner.put_new(key, body).await?;
                std::future::pending().await
            }
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.call('L', &request.prefix);
        self.inner.list(request).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call('D', key.as_str());
        self.inner.delete(key).await
    }
}
