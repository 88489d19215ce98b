//! An opened repository: the store, what it says of itself, and what the engine needs around it.
//!
//! Opening reads `format.json` and nothing else, and judges its version before anything else in it: a repository
//! of a newer atfs is never half understood.

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::Cache;
use crate::format::{FormatError, RepositoryFormat, StoredCommit};
use crate::meta::Index;
use crate::store::{Key, ListRequest, Store};
use crate::types::{Clock, CommitId, Random, RefKind};

use super::blobs::Blobs;
use super::refs::{IndexNotebook, LogMemory, MemoryNotebook, Notebook, Resolved};
use super::{RepoError, Snapshot, layout};

/// What the engine needs besides the store.
#[derive(Debug, Clone)]
pub struct Services {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The node's index; `None` works, only slower, and attempts in flight are then not known to the next command.
    pub index: Option<Index>,
    /// Who acts: `Name <mail>`, for authors and records.
    pub who: String,
}

impl Services {
    /// Where notes go: beside the index; without one there is nowhere to keep them beyond this process.
    pub(super) fn notebook(&self) -> Arc<dyn Notebook> {
        match &self.index {
            Some(index) => Arc::new(IndexNotebook::new(index.clone())),
            None => Arc::new(MemoryNotebook::default()),
        }
    }
}

/// An opened repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    format: RepositoryFormat,
    services: Services,
    notebook: Arc<dyn Notebook>,
    memory: LogMemory,
    blobs: Blobs,
}

impl Repository {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    /// [`RepoError::NotARepository`], [`RepoError::Missing`] when there are branches but no `format.json`,
    /// [`RepoError::NewerFormat`], [`RepoError::Damaged`], any failure of the store.
    pub async fn open(store: Arc<dyn Store>, services: Services) -> Result<Self, RepoError> {
        let notebook = services.notebook();
        Self::open_with(store, services, notebook).await
    }

    /// Opens the repository in `store`; notes about logs and attempts go to `notebook`.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub async fn open_with(
        store: Arc<dyn Store>,
        services: Services,
        notebook: Arc<dyn Notebook>,
    ) -> Result<Self, RepoError> {
        let bytes = match store.get(&layout::format()).await {
            Err(error) if error.is_not_found() => return Err(without_format(&*store).await),
            other => other?,
        };
        let format = RepositoryFormat::decode(&bytes).map_err(|source| match source {
            FormatError::Newer { .. } => RepoError::NewerFormat { store: store.describe(), source },
            _ => RepoError::Damaged { object: layout::format().to_string(), store: store.describe(), source },
        })?;
        Ok(Self::from_parts(store, format, services, notebook))
    }

    pub(super) fn from_parts(
        store: Arc<dyn Store>,
        format: RepositoryFormat,
        services: Services,
        notebook: Arc<dyn Notebook>,
    ) -> Self {
        let blobs = Blobs::new(store.clone(), format.uuid, services.index.clone());
        let inner = Inner { store, format, services, notebook, memory: LogMemory::default(), blobs };
        Self { inner: Arc::new(inner) }
    }

    /// What the repository says of itself.
    pub fn format(&self) -> &RepositoryFormat {
        &self.inner.format
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Clock, randomness, index, identity.
    pub fn services(&self) -> &Services {
        &self.inner.services
    }

    /// What this machine notes about the repository's logs.
    pub fn notebook(&self) -> &Arc<dyn Notebook> {
        &self.inner.notebook
    }

    /// From now on small contents that are read are kept in `cache`. The first call counts.
    pub fn keep_small_in(&self, cache: Arc<Cache>) {
        self.inner.blobs.keep_small_in(cache);
    }

    /// Its stored blobs.
    pub(super) fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// What this process knows of the logs.
    pub(super) fn log_memory(&self) -> &LogMemory {
        &self.inner.memory
    }

    /// The commit `id` from its object.
    ///
    /// # Errors
    /// [`RepoError::Missing`], [`RepoError::Damaged`], any failure of the store.
    pub async fn commit(&self, id: CommitId) -> Result<StoredCommit, RepoError> {
        let key = layout::commit(id);
        let bytes = self.get(&key).await?;
        StoredCommit::decode(id, &bytes).map_err(|source| self.damaged(&key, source))
    }

    /// The tree of a resolved commit, to be read. No request is made until something is read.
    pub fn snapshot(&self, resolved: &Resolved) -> Snapshot {
        Snapshot::new(self.clone(), resolved.id, resolved.stored.clone())
    }

    /// A whole object that must exist.
    pub(super) async fn get(&self, key: &Key) -> Result<Bytes, RepoError> {
        self.store().get(key).await.map_err(|error| match error.is_not_found() {
            true => self.missing(key),
            false => error.into(),
        })
    }

    /// The error for bytes that break a rule.
    pub(super) fn damaged(&self, object: impl ToString, source: FormatError) -> RepoError {
        RepoError::Damaged { object: object.to_string(), store: self.store().describe(), source }
    }

    /// The error for an object that must exist and does not.
    pub(super) fn missing(&self, object: impl ToString) -> RepoError {
        RepoError::Missing { object: object.to_string(), store: self.store().describe() }
    }
}

/// Without `format.json` there is no repository, unless there are branches: `init` writes it first, so somebody removed it,
/// and another one made in its place would disown everything that is there.
async fn without_format(store: &dyn Store) -> RepoError {
    let branches = store.list(&ListRequest::first(layout::refs_prefix(RefKind::Branch))).await;
    match branches {
        Ok(page) if !page.objects.is_empty() => {
            RepoError::Missing { object: layout::format().to_string(), store: store.describe() }
        }
        _ => RepoError::NotARepository(store.describe()),
    }
}
