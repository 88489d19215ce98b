//! Making a repository.
//!
//! `format.json` is created first and only once; its uuid tells whose it is when the answer is lost. Then the default
//! branch is born with an empty commit, so that it can be mounted at once. A crash in between leaves a repository
//! without its default branch: `init` again finishes it.

use std::sync::Arc;

use crate::store::Store;
use crate::types::RefName;

use super::refs::{MemoryNotebook, Notebook};
use super::{RepoError, Repository, Services};

/// What `init` may be told.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The branch that `HEAD` means; born with an empty commit.
    pub default_branch: RefName,
}

impl Default for InitOptions {
    fn default() -> Self {
        let default_branch = RefName::new("main").unwrap_or_else(|_| unreachable!("`main` is a valid name"));
        Self { default_branch }
    }
}

impl Repository {
    /// Makes a repository in `store`, or finishes one whose making stopped half way, and opens it.
    ///
    /// # Errors
    /// [`RepoError::UnsafeStore`] when the store fails the probe, [`RepoError::AlreadyInitialised`], any failure of the store.
    pub async fn init(
        store: Arc<dyn Store>,
        services: Services,
        options: InitOptions,
    ) -> Result<Self, RepoError> {
        let notebook = Arc::new(MemoryNotebook::default());
        Self::init_with(store, services, notebook, options).await
    }

    /// As [`Repository::init`]; notes about logs and attempts go to `notebook`.
    ///
    /// # Errors
    /// As [`Repository::init`].
    pub async fn init_with(
        _store: Arc<dyn Store>,
        _services: Services,
        _notebook: Arc<dyn Notebook>,
        _options: InitOptions,
    ) -> Result<Self, RepoError> {
        unimplemented!()
    }
}
