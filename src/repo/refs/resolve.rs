//! From what people write (`main~2`, `v1`, `3fa9c1`, `main@{yesterday's time}`) to one commit.
//!
//! A name is a branch, else a tag, else the beginning of a commit id, in that order: a branch can shadow an id,
//! never the other way round, so a script that names a branch cannot be diverted by the content of a commit.

use std::sync::Arc;

use futures_util::future::{join, try_join};

use crate::format::StoredCommit;
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Grouping, ListRequest};
use crate::types::{CommitId, RefKind, RefName, Revision, RevisionBase, RevisionStep};

use super::suggest::nearest;
use super::{Head, Link, Log};

/// How many candidates of an ambiguous prefix are named.
const CANDIDATES: usize = 10;

/// The ref that a revision began with, as it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// Branch or tag.
    pub kind: RefKind,
    /// Its name.
    pub name: RefName,
    /// The record that named the commit from which the steps were taken.
    pub seq: u64,
}

/// A revision that was found.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The commit.
    pub id: CommitId,
    /// Its body and place.
    pub stored: StoredCommit,
    /// The ref that the revision began with; none for a commit id.
    pub via: Option<Via>,
}

impl From<Head> for Resolved {
    fn from(head: Head) -> Self {
        let via = Via { kind: head.kind, name: head.name, seq: head.link.record.seq };
        Self { id: head.id, stored: head.stored, via: Some(via) }
    }
}

impl Repository {
    /// Finds the commit that a revision names now.
    ///
    /// # Errors
    /// [`RepoError::UnknownRevision`], [`RepoError::AmbiguousPrefix`], any failure of the store.
    pub async fn resolve(&self, revision: &Revision) -> Result<Resolved, RepoError> {
        let mut steps = revision.steps.iter().peekable();
        let base = self.base(revision).await?;
        let mut at = match (base, steps.peek()) {
            (Base::Ref(head), Some(RevisionStep::MovesAgo(_) | RevisionStep::At(_))) => {
                let step = steps.next().copied();
                self.in_log(revision, head, step).await?
            }
            (Base::Ref(head), _) => head.into(),
            (Base::Commit(_), Some(RevisionStep::MovesAgo(_) | RevisionStep::At(_))) => {
                return Err(self.unknown(revision, ": `@{...}` needs a branch or a tag before it".into()));
            }
            (Base::Commit(resolved), _) => resolved,
        };
        for step in steps {
            let (parent, times) = match *step {
                RevisionStep::Ancestor(times) => (1, times),
                RevisionStep::Parent(parent) => (parent, 1),
                RevisionStep::MovesAgo(_) | RevisionStep::At(_) => {
                    return Err(self.unknown(revision, ": `@{...}` can only follow the name of a ref".into()));
                }
            };
            // `^0` is the commit itself.
            let Some(index) = parent.checked_sub(1) else { continue };
            for _ in 0..times {
                let parents = &at.stored.commit.parents;
                let Some(id) = parents.get(index as usize).copied() else {
                    let which = at.id.short();
                    let detail = match parents.len() {
                        0 => format!(": {which} is the first commit"),
                        n => format!(": {which} has {n} parent(s)"),
                    };
                    return Err(self.unknown(revision, detail));
                };
                at.stored = self.commit(id).await?;
                at.id = id;
            }
        }
        Ok(at)
    }

    async fn base(&self, revision: &Revision) -> Result<Base, RepoError> {
        let name = match &revision.base {
            RevisionBase::Head => &self.format().default_branch,
            RevisionBase::Name(name) => name,
        };
        let branch = self.find_head(RefKind::Branch, name);
        let others = join(self.find_head(RefKind::Tag, name), self.by_prefix(revision));
        // The default branch is nearly always there, and then nothing else is asked. For another name all three are looked
        // for at once: one after the other, a mount of a tag or an id would wait for the store once more.
        let (branch, (tag, commit)) = match *name == self.format().default_branch {
            false => join(branch, others).await,
            true => match branch.await? {
                Some(head) => return Ok(Base::Ref(head)),
                None => (Ok(None), others.await),
            },
        };
        // In their order: trouble with what is not needed is no trouble.
        if let Some(head) = branch? {
            return Ok(Base::Ref(head));
        }
        if let Some(head) = tag? {
            return Ok(Base::Ref(head));
        }
        match commit? {
            Some(resolved) => Ok(Base::Commit(resolved)),
            None => Err(self.unknown(revision, self.near_misses(name).await)),
        }
    }

    /// The commit whose id begins as the revision does; `None` when the revision cannot be an id or no commit fits.
    async fn by_prefix(&self, revision: &Revision) -> Result<Option<Resolved>, RepoError> {
        let Some(prefix) = revision.id_prefix() else { return Ok(None) };
        let mut request = ListRequest {
            prefix: layout::commit_prefix(prefix),
            start_after: None,
            grouping: Grouping::Flat,
            max_keys: CANDIDATES + 1,
        };
        let mut found: Vec<CommitId> = Vec::new();
        loop {
            let page = self.store().list(&request).await?;
            found.extend(page.objects.iter().filter_map(|object| {
                let (_, file) = object.key.as_str().rsplit_once('/')?;
                file.strip_suffix(".json")?.parse::<CommitId>().ok()
            }));
            match page.next {
                Some(next) if found.len() <= CANDIDATES => request.start_after = Some(next),
                _ => break,
            }
        }
        match found[..] {
            [] => Ok(None),
            [id] => Ok(Some(Resolved { id, stored: self.commit(id).await?, via: None })),
            _ => {
                found.truncate(CANDIDATES);
                Err(RepoError::AmbiguousPrefix {
                    prefix: prefix.to_owned(),
                    repository: self.store().describe(),
                    candidates: found,
                })
            }
        }
    }

    /// Where a ref stood some moves or some time ago.
    async fn in_log(
        &self,
        revision: &Revision,
        head: Head,
        step: Option<RevisionStep>,
    ) -> Result<Resolved, RepoError> {
        let log = Log::of_ref(self, head.kind, &head.name);
        let (link, detail): (Option<Arc<Link>>, String) = match step {
            Some(RevisionStep::MovesAgo(back)) => {
                let moves = head.link.record.moves;
                (
                    log.moves_ago(&head.link, back).await?,
                    format!(": {} has moved {moves} time(s)", log.label()),
                )
            }
            Some(RevisionStep::At(at)) => {
                (log.at(&head.link, at).await?, format!(": {} did not exist at {at}", log.label()))
            }
            _ => (Some(Arc::clone(&head.link)), String::new()),
        };
        match link.and_then(|link| Head::of(head.kind, &head.name, link)) {
            Some(then) => Ok(then.into()),
            None => Err(self.unknown(revision, detail)),
        }
    }

    fn unknown(&self, revision: &Revision, detail: String) -> RepoError {
        let repository = self.store().describe();
        RepoError::UnknownRevision { revision: revision.to_string(), repository, detail }
    }

    /// Names like this one, for the error message; a failure here must not hide the error itself.
    async fn near_misses(&self, name: &RefName) -> String {
        let names = try_join(self.ref_names(RefKind::Branch), self.ref_names(RefKind::Tag)).await;
        let Ok(((branches, _), (tags, _))) = names else { return String::new() };
        let near = nearest(name.as_str(), branches.iter().chain(&tags).map(RefName::as_str));
        if near.is_empty() { String::new() } else { format!(": did you mean {}?", near.join(" or ")) }
    }

    /// A commit and its first parents, newest first.
    pub fn first_parents(&self, start: &Resolved) -> FirstParents {
        let next = Some((start.id, Some(start.stored.clone())));
        FirstParents { repository: self.clone(), next }
    }
}

enum Base {
    Ref(Head),
    Commit(Resolved),
}

/// Commits from one to the first of its line.
#[derive(Debug)]
pub struct FirstParents {
    repository: Repository,
    next: Option<(CommitId, Option<StoredCommit>)>,
}

impl FirstParents {
    /// The next older commit; `None` behind the first.
    ///
    /// # Errors
    /// As [`Repository::commit`].
    pub async fn next(&mut self) -> Result<Option<(CommitId, StoredCommit)>, RepoError> {
        let Some((id, at_hand)) = self.next.clone() else { return Ok(None) };
        let stored = match at_hand {
            Some(stored) => stored,
            None => self.repository.commit(id).await?,
        };
        self.next = stored.commit.parents.first().map(|parent| (*parent, None));
        Ok(Some((id, stored)))
    }
}
