//! What `atfs branch` and `atfs tag` share: listing, creating and deleting refs.
//!
//! Both accept the repository before the action (`atfs branch REPO create NAME`, as the address reads) and behind it
//! (`atfs branch create REPO NAME`, as git's and lakectl's users type).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::format::Operation;
use crate::repo::refs::ListedRef;
use crate::types::{RefKind, RefName, RepoUrl, Revision};

use super::app::App;
use super::args::{FormatArgs, parse_url};
use super::error::{CliError, Exit};
use super::hint::{Explain, quoted};
use super::open::{self, Access};
use super::output::Paint;
use super::text::{JsonCommit, minute, pad, subject};

/// The words of a command: the repository, unless it stood before the action, and what follows it.
///
/// # Errors
/// Too few or too many words, or a bad repository.
pub(super) fn words(
    before: Option<&OsString>,
    behind: &[OsString],
    usage: &str,
    rest: std::ops::RangeInclusive<usize>,
) -> Result<(RepoUrl, Vec<String>), CliError> {
    let mut words = before.into_iter().chain(behind);
    let missing = |what: &str| CliError::usage(format!("{what} is missing")).hint(format!("usage: {usage}"));
    let url = words.next().ok_or_else(|| missing("the repository"))?;
    let url = parse_url(url.as_bytes())
        .map_err(|reason| CliError::usage(reason).hint(format!("usage: {usage}")))?;
    let others: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    if others.len() < *rest.start() {
        return Err(missing("the name"));
    }
    if let Some(extra) = others.get(*rest.end()) {
        return Err(
            CliError::usage(format!("{extra:?} is one word too many")).hint(format!("usage: {usage}"))
        );
    }
    Ok((url, others))
}

/// A name as typed.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn name(text: &str) -> Result<RefName, CliError> {
    RefName::new(text).map_err(|error| CliError::usage(error.to_string()))
}

/// A revision as typed.
///
/// # Errors
/// Where it is wrong.
pub(super) fn revision(text: &str) -> Result<Revision, CliError> {
    text.parse().map_err(|error: crate::types::RevisionError| CliError::usage(error.to_string()))
}

#[derive(serde::Serialize)]
struct JsonRef<'a> {
    name: &'a RefName,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<JsonCommit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Lists the branches or tags of a repository.
pub(super) async fn list(
    app: &App,
    kind: RefKind,
    url: &RepoUrl,
    format: &FormatArgs,
) -> Result<(), CliError> {
    let repository = open::repository(app, url, Access::Read).await?;
    let found = repository.list_refs(kind).await.explain(url)?;
    let unreadable = found.refs.iter().filter(|listed| listed.head.is_err()).count();
    if format.is_json() {
        let mut array = app.out.json_array();
        for ListedRef { name, head } in &found.refs {
            array.push(&match head {
                Ok(head) => JsonRef {
                    name,
                    seq: Some(head.link.record.seq),
                    commit: Some(JsonCommit::new(head.id, &head.stored.commit)),
                    error: None,
                },
                Err(error) => JsonRef { name, seq: None, commit: None, error: Some(error.to_string()) },
            })?;
        }
        array.end()?;
    } else {
        let width = found.refs.iter().map(|listed| listed.name.as_str().chars().count()).max().unwrap_or(0);
        for ListedRef { name, head } in &found.refs {
            let shown = app.out.paint(Paint::Ref, pad(name.as_str(), width));
            app.out.line(match head {
                Ok(head) => format!(
                    "{shown}  {}  {}  {}",
                    app.out.paint(Paint::Id, head.id.short()),
                    minute(head.stored.commit.time),
                    subject(&head.stored.commit.message)
                )
                .trim_end()
                .to_owned(),
                Err(error) => format!("{shown}  {} {error}", app.out.paint(Paint::Bad, "unreadable:")),
            })?;
        }
        if found.refs.is_empty() {
            let noun = kind.noun();
            app.out.note(format!("no {noun}{} in {url}", if noun == "branch" { "es" } else { "s" }));
        }
    }
    match unreadable {
        0 => Ok(()),
        n => Err(CliError::new(Exit::Failed, format!("{n} of {} could not be read", found.refs.len()))
            .hint("docs/operating.md, \"Damage\"")),
    }
}

/// Creates a branch or tag.
pub(super) async fn create(
    app: &App,
    kind: RefKind,
    url: &RepoUrl,
    name: &RefName,
    from: &Revision,
    format: &FormatArgs,
) -> Result<(), CliError> {
    let repository = open::repository(app, url, Access::Write).await?;
    repository.ensure_probed().await.explain(url)?;
    let target = repository.resolve(from).await.explain(url)?;
    let operation = Operation { name: format!("{} create", kind.noun()), reason: format!("from {from}") };
    let head = repository.create_ref(kind, name, (target.id, target.stored), operation).await.explain(url)?;
    if format.is_json() {
        let commit = Some(JsonCommit::new(head.id, &head.stored.commit));
        return app.out.json(&JsonRef { name, seq: Some(head.link.record.seq), commit, error: None });
    }
    app.out.note(format!("{} {name} created at {} ({from})", kind.noun(), head.id.short()));
    Ok(())
}

/// Deletes a branch or tag.
pub(super) async fn delete(
    app: &App,
    kind: RefKind,
    url: &RepoUrl,
    name: &RefName,
    format: &FormatArgs,
) -> Result<(), CliError> {
    let repository = open::repository(app, url, Access::Write).await?;
    repository.ensure_probed().await.explain(url)?;
    let operation = Operation { name: format!("{} delete", kind.noun()), reason: String::new() };
    let last = repository.delete_ref(kind, name, operation).await.explain(url)?;
    if format.is_json() {
        let commit = Some(JsonCommit::new(last.id, &last.stored.commit));
        return app.out.json(&JsonRef { name, seq: None, commit, error: None });
    }
    let noun = kind.noun();
    app.out.note(format!("{noun} {name} deleted; it was at {}", last.id.short()));
    let back = match kind {
        RefKind::Branch => format!("create {name} --from {}", last.id.short()),
        RefKind::Tag => format!("create {name} {}", last.id.short()),
    };
    app.out.hint(format!("`atfs {noun} {} {back}` brings it back", quoted(&url.to_string())));
    Ok(())
}
