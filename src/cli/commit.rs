//! What the commands that commit share: which branch of which repository, and how a commit is reported.

use crate::repo::Repository;
use crate::repo::change::Committed;
use crate::types::{Address, RefName, RepoPath, RepoUrl, RevisionBase};

use super::app::App;
use super::args::FormatArgs;
use super::error::CliError;
use super::hint::quoted;
use super::text::{JsonCommit, subject};

/// A branch of a repository; `None` is the default branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: RepoUrl,
    pub(super) branch: Option<RefName>,
}

/// The one branch that all `addresses` name.
///
/// # Errors
/// Different ones, or a commit or an expression, to which nothing can be committed.
pub(super) fn one_target(addresses: &[Address]) -> Result<Target, CliError> {
    let mut targets = addresses.iter().map(target);
    let first = targets.next().unwrap_or_else(|| Err(CliError::usage("no address")))?;
    for (other, address) in targets.zip(&addresses[1..]) {
        if other? != first {
            let message = format!("{address} is not on the branch of {}", addresses[0]);
            return Err(CliError::usage(message).hint("one commit changes one branch of one repository"));
        }
    }
    Ok(first)
}

/// The branch that an address names.
///
/// # Errors
/// As [`one_target`].
pub(super) fn target(address: &Address) -> Result<Target, CliError> {
    let url = address.url.clone();
    let Some(revision) = &address.revision else { return Ok(Target { url, branch: None }) };
    match (&revision.base, &revision.steps[..]) {
        (RevisionBase::Head, []) => Ok(Target { url, branch: None }),
        (RevisionBase::Name(name), []) => Ok(Target { url, branch: Some(name.clone()) }),
        _ => {
            let at = quoted(&url.to_string()).into_owned();
            Err(CliError::usage(format!("{revision} is not a branch: only a branch can be committed to"))
                .hint(format!("`atfs branch {at} create NAME --from {revision}` makes one")))
        }
    }
}

/// The branch's name.
pub(super) fn branch(repository: &Repository, named: Option<RefName>) -> RefName {
    named.unwrap_or_else(|| repository.format().default_branch.clone())
}

/// The path of an address, which must name one.
///
/// # Errors
/// It names none.
pub(super) fn path(address: &Address) -> Result<RepoPath, CliError> {
    match &address.path {
        Some(path) if !path.is_root() => Ok(path.clone()),
        _ => {
            let branch = address.revision.as_ref().map_or_else(|| "main".to_owned(), ToString::to_string);
            let example = format!("{}@{branch}:PATH", address.url);
            Err(CliError::usage(format!("{address} names no path"))
                .hint(format!("write {}", quoted(&example))))
        }
    }
}

/// A commit that was made, in JSON.
#[derive(Debug, serde::Serialize)]
pub(super) struct JsonDone<'a> {
    branch: &'a RefName,
    seq: u64,
    commit: JsonCommit<'a>,
}

impl<'a> JsonDone<'a> {
    /// The commit that was made on `branch`.
    pub(super) fn new(branch: &'a RefName, done: &'a Committed) -> Self {
        Self { branch, seq: done.seq, commit: JsonCommit::new(done.id, &done.stored.commit) }
    }
}

/// Says which commit was made.
///
/// # Errors
/// Stdout cannot be written.
pub(super) fn report(
    app: &App,
    url: &RepoUrl,
    branch: &RefName,
    done: &Committed,
    format: &FormatArgs,
) -> Result<(), CliError> {
    if format.is_json() {
        return app.out.json(&JsonDone::new(branch, done));
    }
    let (id, subject) = (done.id.short(), subject(&done.stored.commit.message));
    app.out.note(format!("[{branch} {id}] {subject}"));
    if done.races > 0 {
        app.out.note(format!("merged with what others had committed to {branch} meanwhile"));
    }
    app.out.detail(format!("hint: `atfs show {}`", quoted(&format!("{url}@{id}"))));
    Ok(())
}
