//! An opened repository: the store, what it says of itself, and what the engine needs around it.

use std::sync::Arc;

use crate::format::RepositoryFormat;
use crate::meta::Index;
use crate::store::Store;
use crate::types::{Clock, Random};

use super::RepoError;

/// What the engine needs besides the store.
#[derive(Debug, Clone)]
pub struct Services {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The node's index; `None` works, only slower.
    pub index: Option<Index>,
    /// Who acts: `Name <mail>`, for authors and records.
    pub who: String,
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
}

impl Repository {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    /// [`RepoError::NotARepository`], a newer format, any failure of the store.
    pub async fn open(_store: Arc<dyn Store>, _services: Services) -> Result<Self, RepoError> {
        unimplemented!()
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
}
