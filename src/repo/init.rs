//! Making a repository.
//!
//! `format.json` is created first and only once; its uuid tells whose it is when the answer is lost. Then the default
//! branch is born with an empty commit, so that it can be mounted at once. A crash in between leaves a repository
//! without its default branch: `init` again finishes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::{
    BlobKind, ChunkerParameters, Commit, CommitPlace, Compression, Operation, PackBuilder, PackKind,
    RecordKind, RepositoryFormat, StoredBlob, StoredCommit, Totals, TreeNode,
};
use crate::store::Store;
use crate::types::{CommitId, Nonce, PackId, RefKind, RefName, RepoName, RepoUuid};

use super::refs::{CreateError, Creator, Log, Notebook, create};
use super::{RepoError, Repository, Services, layout};

/// What `init` may be told.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The branch that `HEAD` means; born with an empty commit.
    pub default_branch: RefName,
    /// What the repository is called; without a name, as its URL ends.
    pub name: Option<RepoName>,
}

impl Default for InitOptions {
    fn default() -> Self {
        let default_branch = RefName::new("main").unwrap_or_else(|_| unreachable!("`main` is a valid name"));
        Self { default_branch, name: None }
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
        let notebook = services.notebook();
        Self::init_with(store, services, notebook, options).await
    }

    /// As [`Repository::init`]; notes about logs and attempts go to `notebook`.
    ///
    /// # Errors
    /// As [`Repository::init`].
    pub async fn init_with(
        store: Arc<dyn Store>,
        services: Services,
        notebook: Arc<dyn Notebook>,
        options: InitOptions,
    ) -> Result<Self, RepoError> {
        let place = store.describe();
        let name = options.name.clone();
        let (repository, creator) =
            match Self::open_with(Arc::clone(&store), services.clone(), Arc::clone(&notebook)).await {
                Ok(repository) => (repository, Creator::Another),
                Err(RepoError::NotARepository(_)) => {
                    begin(store, services, Arc::clone(&notebook), options).await?
                }
                Err(error) => return Err(error),
            };
        let branch = repository.format().default_branch.clone();
        let newest = Log::of_ref(&repository, RefKind::Branch, &branch).newest().await?.link;
        // A log that goes beyond its birth (even to a deletion) is no half-made repository.
        if newest.is_some_and(|link| link.record.kind != RecordKind::Birth) {
            return match creator {
                // Another `init` found ours half made and finished it.
                Creator::Me => Ok(repository),
                Creator::Another => Err(RepoError::AlreadyInitialised(place)),
            };
        }
        repository.ensure_probed().await?;
        if let Some(name) = &name {
            repository.set_name(name).await?;
        }
        let first = repository.empty_commit().await?;
        let operation = Operation { name: "init".into(), reason: String::new() };
        match repository.create_ref(RefKind::Branch, &branch, first, operation).await {
            Ok(_) => Ok(repository),
            Err(RepoError::RefExists { .. }) if creator == Creator::Me => Ok(repository),
            Err(RepoError::RefExists { .. }) => Err(RepoError::AlreadyInitialised(place)),
            Err(error) => Err(error),
        }
    }

    /// Writes a commit without parents whose tree is empty.
    async fn empty_commit(&self) -> Result<(CommitId, StoredCommit), RepoError> {
        let services = self.services();
        let (tree, blob) = TreeNode::Leaf(Vec::new()).encode();
        let blob = StoredBlob::pack(BlobKind::TreeNode, *tree.as_bytes(), &blob, Compression::IfItPays);
        let mut pack = PackBuilder::new(PackId::from_bytes(services.random.bytes16()), PackKind::Meta);
        let root = pack.push(&blob);
        let pack = pack.finish();
        self.store().put(&layout::pack(pack.kind, pack.id), pack.bytes).await?;
        self.store().put(&layout::index(pack.id), pack.index).await?;

        let commit = Commit {
            tree,
            parents: Vec::new(),
            author: services.who.clone(),
            time: services.clock.now(),
            message: "Begin".into(),
            metadata: BTreeMap::new(),
            totals: Totals::default(),
            nonce: Nonce::from_bytes(services.random.bytes16()),
        };
        let stored = StoredCommit { commit, place: CommitPlace { root, interior: root.span() } };
        let id = self.put_commit(&stored).await?;
        Ok((id, stored))
    }

    /// Writes a commit object. What it refers to must have been written before.
    pub(super) async fn put_commit(&self, stored: &StoredCommit) -> Result<CommitId, RepoError> {
        let id = stored.commit.id();
        self.store().put(&layout::commit(id), stored.encode().into()).await?;
        Ok(id)
    }
}

/// Creates `format.json`, or opens the one that another `init` created meanwhile.
async fn begin(
    store: Arc<dyn Store>,
    services: Services,
    notebook: Arc<dyn Notebook>,
    options: InitOptions,
) -> Result<(Repository, Creator), RepoError> {
    super::probed::probe_now(&*store, &services, &*notebook).await?;
    let mut cut_seed = [0; 32];
    services.random.fill(&mut cut_seed);
    let format = RepositoryFormat {
        uuid: RepoUuid::from_random(services.random.bytes16()),
        created: services.clock.now(),
        default_branch: options.default_branch,
        chunker: ChunkerParameters::DEFAULT,
        cut_seed,
    };
    let is_mine = |bytes: &[u8]| Ok(RepositoryFormat::decode(bytes)?.uuid == format.uuid);
    let bytes = format.encode().into();
    match create(&*store, &*services.random, &layout::format(), bytes, is_mine).await {
        Ok(Creator::Me) => Ok((Repository::from_parts(store, format, services, notebook), Creator::Me)),
        Ok(Creator::Another) => {
            Ok((Repository::open_with(store, services, notebook).await?, Creator::Another))
        }
        // Nothing is lost when it is unknown: `init` again finds out, and goes on from there.
        Err(CreateError::Refused(source) | CreateError::Unknown(source)) => Err(source.into()),
    }
}
