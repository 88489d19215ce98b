//! Branches and tags: their heads, their birth, their end, their names.
//!
//! A ref exists while the newest record of its log has a head. It is born in two records: `Birth` (no commit), then
//! the collector's epoch is read, then the first `Move`. So a writer that stalled before creating a ref meets the
//! fence of a collector that began meanwhile: either the fence saw the birth and took the next number, or the epoch
//! was read after it was raised. A log whose newest record is a `Birth` is a creation that stopped half way; the
//! next creation of that name goes on from there.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::format::{Operation, RecordKind, StoredCommit};
use crate::repo::{RepoError, Repository};
use crate::store::{Grouping, ListRequest};
use crate::types::{CommitId, RefKind, RefName};

use super::pause::Races;
use super::{Appended, Draft, Link, Log, Rules};

/// How many logs are read at once when all refs are listed.
const LISTED_AT_ONCE: usize = 16;

/// An existing branch or tag, as it stood when it was read.
#[derive(Debug, Clone)]
pub struct Head {
    /// Branch or tag.
    pub kind: RefKind,
    /// Its name.
    pub name: RefName,
    /// The commit.
    pub id: CommitId,
    /// The commit's body and place, from the record.
    pub stored: StoredCommit,
    /// The newest record of its log.
    pub link: Arc<Link>,
}

/// One ref in a listing. One that cannot be read does not hide the others.
#[derive(Debug)]
pub struct ListedRef {
    /// Its name.
    pub name: RefName,
    /// Its head, or why it cannot be read.
    pub head: Result<Head, RepoError>,
}

/// All refs of a kind.
#[derive(Debug, Default)]
pub struct RefList {
    /// Those that exist, in order of their names as spelt in keys.
    pub refs: Vec<ListedRef>,
    /// Keys (or beginnings of keys) among them that are spelt as no ref's are; reported, never read.
    pub strange: Vec<String>,
}

impl Head {
    /// From the newest record of a ref's log; `None` when the ref does not exist now.
    pub(super) fn of(kind: RefKind, name: &RefName, link: Arc<Link>) -> Option<Self> {
        let (id, stored) = link.record.head.clone()?;
        Some(Self { kind, name: name.clone(), id, stored, link })
    }
}

impl Repository {
    /// The head of a branch or tag.
    ///
    /// # Errors
    /// [`RepoError::NoSuchRef`]; as [`Log::newest`].
    pub async fn head(&self, kind: RefKind, name: &RefName) -> Result<Head, RepoError> {
        self.find_head(kind, name).await?.ok_or_else(|| RepoError::NoSuchRef {
            kind,
            name: name.clone(),
            repository: self.store().describe(),
        })
    }

    /// The head of a branch or tag; `None` when there is none of that name.
    ///
    /// # Errors
    /// As [`Log::newest`].
    pub async fn find_head(&self, kind: RefKind, name: &RefName) -> Result<Option<Head>, RepoError> {
        let newest = Log::of_ref(self, kind, name).newest().await?;
        Ok(newest.link.and_then(|link| Head::of(kind, name, link)))
    }

    /// Creates a branch or tag at a commit, which must exist.
    ///
    /// # Errors
    /// [`RepoError::RefExists`]; as [`Log::append`].
    pub async fn create_ref(
        &self,
        kind: RefKind,
        name: &RefName,
        target: (CommitId, StoredCommit),
        operation: Operation,
    ) -> Result<Head, RepoError> {
        let log = Log::of_ref(self, kind, name);
        let mut races = Races::new(&log);
        loop {
            let newest = log.newest().await?.link;
            if newest.as_ref().is_some_and(|link| link.record.head.is_some()) {
                return Err(RepoError::RefExists {
                    kind,
                    name: name.clone(),
                    repository: self.store().describe(),
                });
            }
            let birth = match newest {
                Some(link) if link.record.kind == RecordKind::Birth => link,
                before => {
                    let draft = self.draft(RecordKind::Birth, None, &operation).await?;
                    match log.append(before.as_deref(), draft).await? {
                        Appended::Won(link) => link,
                        Appended::Lost => {
                            races.lost().await?;
                            continue;
                        }
                    }
                }
            };
            // Only now, behind the birth: see the head of this file.
            let draft = self.draft(RecordKind::Move, Some(target.clone()), &operation).await?;
            match log.append(Some(&birth), draft).await? {
                Appended::Won(link) => {
                    return Ok(Head { kind, name: name.clone(), id: target.0, stored: target.1, link });
                }
                Appended::Lost => races.lost().await?,
            }
        }
    }

    /// Deletes a branch or tag. Its commits stay reachable through its log until the retention window has passed.
    ///
    /// # Errors
    /// [`RepoError::NoSuchRef`]; [`RepoError::RefMoved`] when somebody moved it meanwhile; as [`Log::append`].
    pub async fn delete_ref(
        &self,
        kind: RefKind,
        name: &RefName,
        operation: Operation,
    ) -> Result<Head, RepoError> {
        let log = Log::of_ref(self, kind, name);
        let mut races = Races::new(&log);
        let first = self.head(kind, name).await?;
        let mut head = first.clone();
        loop {
            let draft = self.draft(RecordKind::Delete, None, &operation).await?;
            if let Appended::Won(_) = log.append(Some(&head.link), draft).await? {
                return Ok(first);
            }
            races.lost().await?;
            head = self.head(kind, name).await?;
            if head.id != first.id {
                return Err(RepoError::RefMoved { kind, name: name.clone(), now: head.id });
            }
        }
    }

    /// All branches or tags with their heads. Costs one LIST per 1,000 names and as much as [`Repository::head`] per ref.
    ///
    /// # Errors
    /// Any failure of the listing itself.
    pub async fn list_refs(&self, kind: RefKind) -> Result<RefList, RepoError> {
        let (names, strange) = self.ref_names(kind).await?;
        let refs: Vec<Option<ListedRef>> = stream::iter(names)
            .map(|name| async move {
                let head = self.find_head(kind, &name).await.transpose()?;
                Some(ListedRef { name, head })
            })
            .buffered(LISTED_AT_ONCE)
            .collect()
            .await;
        Ok(RefList { refs: refs.into_iter().flatten().collect(), strange })
    }

    /// The names that have a log (deleted refs too), and keys that are spelt as no ref's are.
    ///
    /// # Errors
    /// Any failure of the store.
    pub async fn ref_names(&self, kind: RefKind) -> Result<(Vec<RefName>, Vec<String>), RepoError> {
        let prefix = crate::repo::layout::refs_prefix(kind);
        let mut request = ListRequest {
            prefix: prefix.to_owned(),
            start_after: None,
            grouping: Grouping::BySlash,
            max_keys: 1000,
        };
        let (mut names, mut strange) = (Vec::new(), Vec::new());
        loop {
            let page = self.store().list(&request).await?;
            strange.extend(page.objects.iter().map(|object| object.key.to_string()));
            for group in page.groups {
                let name = group.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('/'));
                match name.map(RefName::from_key) {
                    Some(Ok(name)) => names.push(name),
                    _ => strange.push(group),
                }
            }
            match page.next {
                Some(next) => request.start_after = Some(next),
                None => break,
            }
        }
        for key in &strange {
            tracing::warn!(object = %key, "ignored: its key is not spelt as a {}'s is", kind.noun());
        }
        Ok((names, strange))
    }

    /// A draft that has read the rules just now.
    pub(in crate::repo) async fn draft(
        &self,
        kind: RecordKind,
        head: Option<(CommitId, StoredCommit)>,
        operation: &Operation,
    ) -> Result<Draft, RepoError> {
        let Rules { gc_epoch, settings_seq } = self.rules().await?;
        Ok(Draft {
            kind,
            head,
            operation: operation.clone(),
            checks: Vec::new(),
            settings: Default::default(),
            settings_seq,
            gc_epoch,
        })
    }
}
