//! What can go wrong in the engine. Each variant names the thing concerned; the command line adds the next command.

use crate::format::FormatError;
use crate::store::{ProbeFailure, StoreError};
use crate::types::{CommitId, PathError, RefKind, RefName, RepoPath};

use super::refs::Attempt;

/// An error of the versioning engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object's bytes are not what they should be.
    #[error("{object} in {store} is damaged: {source}")]
    Damaged {
        /// The object's key, and the blob inside it if it is a pack.
        object: String,
        /// The store.
        store: String,
        /// What is wrong.
        source: FormatError,
    },
    /// An object that must exist does not.
    #[error("{object} is missing from {store}")]
    Missing {
        /// The object's key, and the blob inside it if it is a pack.
        object: String,
        /// The store.
        store: String,
    },
    /// The repository was made by a newer atfs. Nothing of it was read or written.
    #[error("{store} needs a newer atfs: {source}")]
    NewerFormat {
        /// The store.
        store: String,
        /// Which version it has and which this code reads.
        source: FormatError,
    },
    /// There is no `format.json`.
    #[error("{0} is not an atfs repository: it has no format.json")]
    NotARepository(String),
    /// `init` met a repository.
    #[error("{0} already holds an atfs repository")]
    AlreadyInitialised(String),
    /// A branch or tag that does not exist.
    #[error("{} {name} does not exist in {repository}", kind.noun())]
    NoSuchRef {
        /// Branch or tag.
        kind: RefKind,
        /// Its name.
        name: RefName,
        /// The repository.
        repository: String,
    },
    /// A revision that names nothing.
    #[error("{revision} names no branch, tag or commit of {repository}{detail}")]
    UnknownRevision {
        /// As typed.
        revision: String,
        /// The repository.
        repository: String,
        /// Near misses or the step that failed; empty or beginning with `: `.
        detail: String,
    },
    /// A commit prefix with several commits.
    #[error("{prefix} is the beginning of {} commits of {repository}: {}", candidates.len(), list(candidates))]
    AmbiguousPrefix {
        /// As typed.
        prefix: String,
        /// The repository.
        repository: String,
        /// Up to ten of them.
        candidates: Vec<CommitId>,
    },
    /// A branch or tag that exists already.
    #[error("{} {name} already exists in {repository}", kind.noun())]
    RefExists {
        /// Branch or tag.
        kind: RefKind,
        /// Its name.
        name: RefName,
        /// The repository.
        repository: String,
    },
    /// A log ends before a record that this machine has seen: its newest records were removed, or the store shows an
    /// old listing. Nothing is read from it and nothing appended, since that would make the loss final.
    #[error(
        "{log} of {repository} went back: this machine has seen record {seen}, but the newest is now {}",
        found.map_or_else(|| "none".to_owned(), |seq| format!("record {seq}"))
    )]
    WentBack {
        /// Such as `branch main`.
        log: String,
        /// The repository.
        repository: String,
        /// Highest number seen on this machine.
        seen: u64,
        /// Highest number now.
        found: Option<u64>,
    },
    /// A ref that somebody moved while it was to be deleted.
    #[error("{} {name} was moved to {} meanwhile; it was not deleted", kind.noun(), now.short())]
    RefMoved {
        /// Branch or tag.
        kind: RefKind,
        /// Its name.
        name: RefName,
        /// Its head now.
        now: CommitId,
    },
    /// Something that was given breaks a rule of the format, such as a message that is too long.
    #[error("this cannot be stored: {0}")]
    Unstorable(FormatError),
    /// A path that does not exist in a commit.
    #[error("{path} does not exist in {revision}")]
    NoSuchPath {
        /// The path.
        path: RepoPath,
        /// The commit, as people named it.
        revision: String,
    },
    /// A path that cannot be what the operation needs.
    #[error("{path}: {reason}")]
    BadPath {
        /// The path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A path that breaks the rules of names.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The same paths were changed on both sides.
    #[error("{} path(s) were changed on {branch} meanwhile: {}", paths.len(), list(paths))]
    Conflict {
        /// The branch.
        branch: RefName,
        /// The paths (all of them).
        paths: Vec<RepoPath>,
    },
    /// Nothing to commit.
    #[error("nothing has changed: {branch} already holds exactly this")]
    NothingToCommit {
        /// The branch.
        branch: RefName,
    },
    /// A conditional write whose outcome could not be learnt in time. It may have taken effect or may still do;
    /// the attempt stays noted on this machine and the next command settles it.
    #[error("it is unknown whether {attempt}: {source}")]
    OutcomeUnknown {
        /// What was tried.
        attempt: Box<Attempt>,
        /// The last failure.
        source: StoreError,
    },
    /// So many others wrote to the same log that this change was not admitted in time. Nothing was changed.
    #[error("{log} of {repository} is too busy: {races} writers were faster within {seconds} s")]
    Busy {
        /// Such as `branch main`.
        log: String,
        /// The repository.
        repository: String,
        /// Races lost.
        races: u32,
        /// How long it was tried.
        seconds: u64,
    },
    /// The store must not be written to.
    #[error("no repository can be kept here: {0}")]
    UnsafeStore(ProbeFailure),
    /// Local files.
    #[error("{action} {path}: {source}")]
    Local {
        /// What was tried, such as `reading`.
        action: &'static str,
        /// The local path.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(10).map(T::to_string).collect();
    let more = items.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
