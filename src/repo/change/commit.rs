//! From edits to a commit on a branch that others move too.
//!
//! Written in this order: data packs (by whoever made the edits), meta packs, the commit, the record. A reader goes the
//! other way, so a crash leaves only objects that nothing refers to.
//!
//! When the branch has moved, what the others did since the base is compared with the edits path by path (`judge`). If
//! nothing contradicts, the edits are made anew on top of the new head and the race begins again; data packs are not
//! uploaded twice. Every lost race means that somebody else's commit was admitted, so writers get through.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join;
use tokio::time::Instant;

use crate::format::{Commit, Operation, RecordKind, StoredCommit, Totals};
use crate::repo::refs::{Appended, Draft, Head, Log, Races, Resolved, Rules};
use crate::repo::{Edits, Placed, RepoError, Repository, Snapshot};
use crate::types::{CommitId, Nonce, RefKind, RefName};

use super::Referenced;
use super::align::align;
use super::judge::Judge;
use super::on_tree::build;
use super::whole;

/// A head that was read longer ago is read again before a tree is built on it.
const STILL_FRESH: Duration = Duration::from_secs(1);

/// Whether a commit that changes nothing is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmptyCommit {
    /// It is an error.
    #[default]
    Refuse,
    /// It is made.
    Allow,
}

/// What a new commit says besides its tree.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// Why.
    pub message: String,
    /// Free pairs.
    pub metadata: BTreeMap<String, String>,
    /// For the log of the branch.
    pub operation: Operation,
    /// Whether it may change nothing.
    pub empty: EmptyCommit,
}

/// A commit that is on its branch.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its id.
    pub id: CommitId,
    /// Its body and place.
    pub stored: StoredCommit,
    /// Number of the record that made it the head.
    pub seq: u64,
    /// How many races were lost before; above 0 the edits were merged with those of others.
    pub races: u32,
}

/// A change to a branch that is being prepared.
#[derive(Debug, Clone)]
pub struct Change {
    repository: Repository,
    base: Head,
    rules: Rules,
    read_at: Instant,
}

impl NewCommit {
    /// A commit with a message, made by the operation of this name.
    pub fn new(operation: &str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            metadata: BTreeMap::new(),
            operation: Operation { name: operation.into(), reason: String::new() },
            empty: EmptyCommit::Refuse,
        }
    }
}

impl Change {
    /// Begins a change to a branch: probes the store if need be, reads the head and the rules. Anything that the commit
    /// will refer to is looked up or uploaded only after this.
    ///
    /// # Errors
    /// [`RepoError::NoSuchRef`], [`RepoError::UnsafeStore`]; as [`Repository::head`].
    pub async fn begin(repository: &Repository, branch: &RefName) -> Result<Self, RepoError> {
        repository.ensure_probed().await?;
        let read_at = Instant::now();
        let (base, rules) = try_join(repository.head(RefKind::Branch, branch), repository.rules()).await?;
        Ok(Self { repository: repository.clone(), base, rules, read_at })
    }

    /// The branch.
    pub fn branch(&self) -> &RefName {
        &self.base.name
    }

    /// The head that the edits are made on.
    pub fn base(&self) -> &Head {
        &self.base
    }

    /// The tree that the edits are made on.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_of(&self.base)
    }

    /// Commits edits made on [`Change::snapshot`]. `referenced` are the packs that their content needs, beyond those that
    /// their hints name.
    ///
    /// # Errors
    /// [`RepoError::NothingToCommit`]; [`RepoError::Conflict`] with all paths when others changed the same;
    /// [`RepoError::OutcomeUnknown`]; [`RepoError::Busy`]; [`RepoError::NoSuchRef`] when the branch was deleted meanwhile;
    /// [`RepoError::Unstorable`]; [`RepoError::BadPath`] when something would lie in no directory; any failure of the store. Except after `OutcomeUnknown` the branch is as it was.
    pub async fn commit(
        self,
        edits: &Edits,
        referenced: &Referenced,
        new: &NewCommit,
    ) -> Result<Committed, RepoError> {
        let log = Log::of_ref(&self.repository, RefKind::Branch, self.branch());
        let mut races = Races::new(&log);
        let mut rules = self.rules;
        let mut head = self.base.clone();
        if self.read_at.elapsed() > STILL_FRESH {
            head = self.repository.head(RefKind::Branch, self.branch()).await?;
        }
        loop {
            let edits = self.rebase(edits, &head).await?;
            let snapshot = self.snapshot_of(&head);
            whole::check(&snapshot, &edits).await?;
            let built = build(&snapshot, &edits).await?;
            if built.tree == head.stored.commit.tree && new.empty == EmptyCommit::Refuse {
                return Err(RepoError::NothingToCommit { branch: self.branch().clone() });
            }
            let commit = self.body(&head, built.tree, built.totals, new);
            commit.check().map_err(RepoError::Unstorable)?;
            let stored = StoredCommit { commit, place: built.place };
            let (id, now) = try_join(self.repository.put_commit(&stored), self.repository.rules()).await?;
            if now.gc_epoch != rules.gc_epoch {
                let mut packs = referenced.clone();
                packs.add_hints(&edits);
                packs.meta.extend(&built.packs);
                self.repository.recheck(&packs).await?;
            }
            rules = now;
            let draft = Draft {
                kind: RecordKind::Move,
                head: Some((id, stored.clone())),
                operation: new.operation.clone(),
                checks: Vec::new(),
                settings: BTreeMap::new(),
                settings_seq: rules.settings_seq,
                gc_epoch: rules.gc_epoch,
            };
            match log.append(Some(&head.link), draft).await? {
                Appended::Won(link) => {
                    return Ok(Committed { id, stored, seq: link.record.seq, races: races.count() });
                }
                Appended::Lost => races.lost().await?,
            }
            head = self.repository.head(RefKind::Branch, self.branch()).await?;
        }
    }

    /// The edits that are left to be made on `head`.
    async fn rebase(&self, edits: &Edits, head: &Head) -> Result<Edits, RepoError> {
        if head.id == self.base.id {
            return Ok(edits.clone());
        }
        let mut judge = Judge::new(edits);
        let mut differences = self.snapshot().differences(&self.snapshot_of(head)).await?;
        while let Some(difference) = differences.next().await? {
            let key = difference.key().clone();
            let mut before = difference.before.map(Placed::from);
            let mut after = difference.after.map(Placed::from);
            if let Some(ours) = judge.contradicted(&key, before.as_ref(), after.as_ref()) {
                align(&self.repository, &key, &mut before, ours, &mut after).await?;
            }
            judge.theirs(&key, before.as_ref(), after.as_ref())?;
        }
        let judged = judge.finish();
        if judged.conflicts.is_empty() {
            return Ok(judged.edits);
        }
        let paths = judged.conflicts.into_iter().collect();
        Err(RepoError::Conflict { branch: self.branch().clone(), paths })
    }

    fn body(&self, head: &Head, tree: crate::types::NodeId, totals: Totals, new: &NewCommit) -> Commit {
        let services = self.repository.services();
        Commit {
            tree,
            parents: vec![head.id],
            author: services.who.clone(),
            time: services.clock.now(),
            message: new.message.clone(),
            metadata: new.metadata.clone(),
            totals,
            // A commit made again has an id of its own: an id that a collector condemned never comes back.
            nonce: Nonce::from_bytes(services.random.bytes16()),
        }
    }

    fn snapshot_of(&self, head: &Head) -> Snapshot {
        self.repository.snapshot(&Resolved::from(head.clone()))
    }
}
