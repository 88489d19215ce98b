//! `atfs diff`: what differs between two versions. Marks as lakeFS prints them: `+` added, `-` removed, `~` changed.

use crate::format::{EntryBody, LeafItem};
use crate::repo::{Difference, Snapshot};
use crate::types::{Address, ByteSize, RepoPath, RepoUrl};

use super::app::App;
use super::args::{FormatArgs, address_parser, revision_or_main};
use super::entry::{self, JsonEntry};
use super::error::CliError;
use super::hint::Explain;
use super::open::{self, Access};
use super::output::Paint;

/// Show what differs between two versions
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The cost follows the difference, not the size of the versions.

Examples:
  atfs diff s3://pathology/slides@v1 s3://pathology/slides@main
  atfs diff s3://pathology/slides@v1 main
  atfs diff s3://pathology/slides@main~1:2026 main --stat")]
pub(super) struct Args {
    /// The older version: REPOSITORY[@REVISION[:PATH]]; with a path, only what lies there
    #[arg(value_name = "BEFORE", value_parser = address_parser())]
    before: Address,

    /// The newer version: an address of the same repository, or just a revision
    #[arg(value_name = "AFTER")]
    after: String,

    /// Only how much was added, removed, changed
    #[arg(long)]
    stat: bool,

    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let url = &args.before.url;
    let after = match args.after.parse::<Address>() {
        Ok(address) if address.revision.is_some() || address.url == *url => {
            if address.url != *url {
                return Err(CliError::usage(format!("{} is another repository than {url}", address.url))
                    .hint("two versions of one repository can be compared"));
            }
            revision_or_main(&address)
        }
        _ => super::refs::revision(&args.after)?,
    };
    let repository = open::repository(app, url, Access::Read).await?;
    let before = repository.resolve(&revision_or_main(&args.before)).await.explain(url)?;
    let after = repository.resolve(&after).await.explain(url)?;
    let base = args.before.path.clone().unwrap_or(RepoPath::ROOT);
    let (before, after) = (repository.snapshot(&before), repository.snapshot(&after));
    let how = if args.stat { Lines::None } else { Lines::All };
    let summary = print(app, url, &before, &after, &base, how, args.format.is_json()).await?;
    if !args.format.is_json() && args.stat {
        app.out.line(summary.to_string())?;
    } else if summary == Summary::default() {
        app.out.note(format!(
            "no difference{}",
            if base.is_root() { String::new() } else { format!(" in {base}") }
        ));
    }
    Ok(())
}

/// Whether each difference is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// Every one.
    All,
    /// Only the sums are wanted.
    None,
}

/// How much differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    added: u64,
    removed: u64,
    changed: u64,
    /// Bytes of files added or changed, and of files removed or changed.
    bytes: (u64, u64),
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { added, removed, changed, bytes: (more, less) } = self;
        write!(f, "{added} added, {removed} removed, {changed} changed")?;
        write!(f, "; {} of new content, {} of old", ByteSize(*more), ByteSize(*less))
    }
}

#[derive(serde::Serialize)]
struct JsonDifference {
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<JsonEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<JsonEntry>,
}

/// Prints the differences at and below `base`, and counts them.
///
/// # Errors
/// As every read; stdout cannot be written.
pub(super) async fn print(
    app: &App,
    url: &RepoUrl,
    before: &Snapshot,
    after: &Snapshot,
    base: &RepoPath,
    lines: Lines,
    json: bool,
) -> Result<Summary, CliError> {
    let mut differences = before.differences(after).await.explain(url)?;
    let mut array = (json && lines == Lines::All).then(|| app.out.json_array());
    let mut summary = Summary::default();
    while let Some(difference) = differences.next().await.explain(url)? {
        let Some(item) = difference.after.as_ref().or(difference.before.as_ref()) else { continue };
        let path = entry::path_of(item, url)?;
        if !path.starts_with(base) {
            continue;
        }
        summary.count(&difference);
        match &mut array {
            Some(array) => array.push(&to_json(&path, &difference))?,
            None if lines == Lines::All => line(app, &path, &difference)?,
            None => {}
        }
    }
    array.map_or(Ok(()), super::output::JsonArray::end)?;
    Ok(summary)
}

impl Summary {
    fn count(&mut self, difference: &Difference) {
        let size = |item: &Option<LeafItem>| match item.as_ref().map(|item| &item.entry.body) {
            Some(EntryBody::File { size, .. }) => *size,
            _ => 0,
        };
        match (&difference.before, &difference.after) {
            (None, _) => self.added += 1,
            (_, None) => self.removed += 1,
            _ => self.changed += 1,
        }
        let same = matches!((&difference.before, &difference.after),
            (Some(old), Some(new)) if old.entry.body == new.entry.body);
        if !same {
            self.bytes.0 += size(&difference.after);
            self.bytes.1 += size(&difference.before);
        }
    }
}

fn to_json(path: &RepoPath, difference: &Difference) -> JsonDifference {
    let entry = |item: &Option<LeafItem>| item.as_ref().map(|item| JsonEntry::new(path, item));
    JsonDifference {
        change: word(difference),
        before: entry(&difference.before),
        after: entry(&difference.after),
    }
}

fn word(difference: &Difference) -> &'static str {
    match (&difference.before, &difference.after) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    }
}

/// `+ path`, `- path`, `~ path (what)`; a directory ends in `/`.
fn line(app: &App, path: &RepoPath, difference: &Difference) -> Result<(), CliError> {
    let out = &app.out;
    let (mark, paint) = match word(difference) {
        "added" => ("+", Paint::Good),
        "removed" => ("-", Paint::Bad),
        _ => ("~", Paint::Warn),
    };
    let mut line = format!("{} ", out.paint(paint, mark)).into_bytes();
    line.extend(&*out.names.show(path.as_bytes()));
    let item = difference.after.as_ref().or(difference.before.as_ref());
    if item.is_some_and(|item| item.entry.body == EntryBody::Directory) {
        line.push(b'/');
    }
    if let (Some(old), Some(new)) = (&difference.before, &difference.after) {
        line.extend(out.paint(Paint::Faint, format!(" ({})", what(old, new))).into_bytes());
    }
    out.line(line)
}

/// What changed of an entry: `content 1.2 MiB → 1.3 MiB`, `mode 0644 → 0755`, `time`, ...
fn what(old: &LeafItem, new: &LeafItem) -> String {
    let (old, new) = (&old.entry, &new.entry);
    let mut parts = Vec::new();
    if old.kind() != new.kind() {
        parts.push(format!("{} → {}", entry::kind(old.kind()), entry::kind(new.kind())));
    } else if old.body != new.body {
        parts.push(match (&old.body, &new.body) {
            (EntryBody::Symlink { .. }, _) => "target".to_owned(),
            _ if old.size() == new.size() => "content".to_owned(),
            _ => format!("content {} → {}", ByteSize(old.size()), ByteSize(new.size())),
        });
    }
    if old.mode != new.mode {
        parts.push(format!("mode {:04o} → {:04o}", old.mode, new.mode));
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        parts.push(format!("owner {}:{} → {}:{}", old.uid, old.gid, new.uid, new.gid));
    }
    if old.xattrs != new.xattrs {
        parts.push("attributes".to_owned());
    }
    if parts.is_empty() && old.mtime != new.mtime {
        parts.push("time".to_owned());
    }
    parts.join(", ")
}
