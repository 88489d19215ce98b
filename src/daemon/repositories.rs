//! Opened repositories, shared by the mounts of one daemon.
//!
//! Mounts share a repository when they name it alike and reach it with the same credentials: knowing a URL never lends a
//! mount another's rights. One that no mount uses any more is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use crate::cache::Cache;
use crate::meta::Index;
use crate::repo::{RepoError, Repository, Services};
use crate::store::{self, OpenStore, StoreErrorKind, StoreMonitor, StoreOptions};
use crate::types::{OsRandom, RepoUrl, SystemClock};

use super::protocol::{Failure, FailureKind, StoreAccess};

/// What a repository is shared by.
type Key = (String, StoreAccess);

/// An opened repository.
#[derive(Debug)]
pub(super) struct Opened {
    /// The repository.
    pub(super) repository: Repository,
    /// Its URL.
    pub(super) url: RepoUrl,
    /// How its store is doing.
    pub(super) monitor: StoreMonitor,
}

/// Every opened repository that a mount uses.
#[derive(Debug)]
pub(super) struct Repositories {
    index: Option<Index>,
    cache: Option<Arc<Cache>>,
    open: Mutex<HashMap<Key, Weak<Opened>>>,
}

impl Repositories {
    /// None; all that will be opened share `index` and `cache`.
    pub(super) fn new(index: Option<Index>, cache: Option<Arc<Cache>>) -> Self {
        Self { index, cache, open: Mutex::default() }
    }

    /// The repository at `url`.
    ///
    /// # Errors
    /// [`Failure`] that says why it cannot be opened.
    pub(super) async fn open(&self, url: &str, access: &StoreAccess) -> Result<Arc<Opened>, Failure> {
        let key = (url.to_owned(), access.clone());
        if let Some(opened) = self.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(opened);
        }
        let url: RepoUrl = url.parse().map_err(|e| Failure::new(FailureKind::BadRequest, e))?;
        let services = Services {
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            index: self.index.clone(),
            // A read-only mount records nothing.
            who: "atfs daemon <>".into(),
        };
        let options = StoreOptions { s3: access.s3_options(), ..StoreOptions::default() };
        let OpenStore { store, monitor } =
            store::open(&url, &options).await.map_err(|e| failure(&e.into()))?;
        let repository = Repository::open(store, services).await.map_err(|e| failure(&e))?;
        if let Some(cache) = &self.cache {
            repository.keep_small_in(cache.clone());
        }
        let opened = Arc::new(Opened { repository, url, monitor });
        let mut open = self.lock();
        open.retain(|_, weak| weak.strong_count() > 0);
        // Of two who opened at once the first stays.
        if let Some(first) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(first);
        }
        open.insert(key, Arc::downgrade(&opened));
        Ok(opened)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Weak<Opened>>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What a client hears of an error of the repository.
pub(super) fn failure(error: &RepoError) -> Failure {
    let kind = match error {
        RepoError::NotARepository(_) => FailureKind::NotARepository,
        RepoError::UnknownRevision { .. } | RepoError::NoSuchRef { .. } => FailureKind::UnknownRevision,
        RepoError::AmbiguousPrefix { .. } => FailureKind::AmbiguousPrefix,
        RepoError::Store(store) => match store.kind() {
            StoreErrorKind::Denied => FailureKind::Denied,
            StoreErrorKind::Credentials => FailureKind::Credentials,
            StoreErrorKind::NoBucket => FailureKind::NoBucket,
            StoreErrorKind::Unreachable | StoreErrorKind::Timeout => FailureKind::Unreachable,
            StoreErrorKind::BadAnswer | StoreErrorKind::Unsupported => FailureKind::NotS3,
            _ => FailureKind::Other,
        },
        RepoError::Damaged { .. } | RepoError::Missing { .. } => FailureKind::Damaged,
        RepoError::NewerFormat { .. } => FailureKind::NewerFormat,
        RepoError::WentBack { .. } => FailureKind::WentBack,
        _ => FailureKind::Other,
    };
    Failure::new(kind, error)
}
