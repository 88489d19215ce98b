//! `atfs add`: commit local files and trees to a branch, without a mount.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::EntryKind;
use crate::repo::change::{Change, NewCommit};
use crate::repo::files::{AddItem, AddSummary, add};
use crate::repo::{RepoError, Snapshot};
use crate::types::{ByteSize, Name, NoProgress, Progress, RepoPath};

use super::app::App;
use super::args::{FormatArgs, MessageArgs, parse_address};
use super::commit;
use super::error::CliError;
use super::hint::Explain;
use super::open::{self, Access};

/// Commit local files and trees to a branch
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where things go is as with `cp -r`: into PATH if it is a directory, ends in `/`, or several things
are added; else PATH is the new name. `DIR/.` means what is in DIR. What is equal to what the
repository holds is not sent again, and when nothing has changed, no commit is made. Devices, pipes
and sockets are skipped and counted. A file that cannot be read, or that keeps changing while it is
read, is an error that names it, and nothing is committed: no version lacks a file in silence.

Examples:
  atfs add s3://pathology/slides@main: ./scans -m 'scans of Monday'       it goes to scans/
  atfs add s3://pathology/slides@main: ./scans/. -m 'scans of Monday'     its files go to the root
  atfs add s3://pathology/slides@main:2026/labels.csv labels.csv
  atfs add s3://pathology/slides@ingest:new/ a.csv b.csv --meta job=4711")]
pub(super) struct Args {
    /// Where to: REPOSITORY[@BRANCH[:PATH]]
    #[arg(value_name = "ADDRESS")]
    address: OsString,

    /// What: files and directories of this machine; links are added as links
    #[arg(value_name = "LOCAL", required = true, value_hint = clap::ValueHint::AnyPath)]
    locals: Vec<PathBuf>,

    #[command(flatten)]
    message: MessageArgs,

    #[command(flatten)]
    format: FormatArgs,
}

#[derive(serde::Serialize)]
struct JsonAdded<'a> {
    #[serde(flatten)]
    commit: Option<commit::JsonDone<'a>>,
    changed: bool,
    files: u64,
    directories: u64,
    symlinks: u64,
    bytes: u64,
    new_bytes: u64,
    skipped: u64,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let address = parse_address(args.address.as_bytes()).map_err(CliError::usage)?;
    let commit::Target { url, branch } = commit::target(&address)?;
    let repository = open::repository(app, &url, Access::Write).await?;
    let branch = commit::branch(&repository, branch);
    let change = Change::begin(&repository, &branch).await.explain(&url)?;
    let to = address.path.clone().unwrap_or(RepoPath::ROOT);
    let into = args.locals.len() > 1
        || args.address.as_bytes().ends_with(b"/")
        || is_directory(&change.snapshot(), &to).await.explain(&url)?;
    let items = args.locals.iter().map(|local| item(local, &to, into)).collect::<Result<Vec<_>, _>>()?;

    let meter = app.meter().map(Arc::new);
    let progress: Arc<dyn Progress> = match &meter {
        Some(meter) => Arc::clone(meter) as _,
        None => Arc::new(NoProgress),
    };
    let added = add(&change.snapshot(), items, progress).await;
    if let Some(meter) = meter {
        meter.finish();
    }
    let added = added.explain(&url)?;

    let new = NewCommit {
        message: args.message.message.clone().unwrap_or_else(|| default_message(&args.locals)),
        metadata: args.message.metadata.iter().cloned().collect(),
        ..NewCommit::new("add", "")
    };
    let done = match change.commit(&added.edits, &added.referenced, &new).await {
        Ok(done) => Some(done),
        // An hourly job that finds nothing new has done its work.
        Err(RepoError::NothingToCommit { .. }) => None,
        Err(error) => return Err(error).explain(&url),
    };
    let summary = &added.summary;
    if args.format.is_json() {
        return app.out.json(&JsonAdded {
            commit: done.as_ref().map(|done| commit::JsonDone::new(&branch, done)),
            changed: done.is_some(),
            files: summary.files,
            directories: summary.directories,
            symlinks: summary.symlinks,
            bytes: summary.bytes,
            new_bytes: summary.new_bytes,
            skipped: skipped(summary),
        });
    }
    match &done {
        Some(done) => commit::report(app, &url, &branch, done, &args.format)?,
        None => app.out.note(format!("nothing has changed: {branch} holds exactly this already")),
    }
    app.out.note(describe(summary));
    if skipped(summary) > 0 {
        app.out.warn(format!("skipped {}: a repository holds files, directories and links", kinds(summary)));
    }
    Ok(())
}

async fn is_directory(snapshot: &Snapshot, path: &RepoPath) -> Result<bool, RepoError> {
    if path.is_root() {
        return Ok(true);
    }
    let found = snapshot.get(path).await?;
    Ok(found.is_some_and(|found| found.item.entry.kind() == EntryKind::Directory))
}

/// Where one local path goes.
fn item(local: &Path, to: &RepoPath, into: bool) -> Result<AddItem, CliError> {
    let bytes = local.as_os_str().as_bytes();
    let contents = bytes == b"." || bytes.ends_with(b"/.");
    let from = local.to_path_buf();
    if contents || !into {
        return Ok(AddItem { from, to: to.clone() });
    }
    let name = local.file_name().map(OsStr::as_bytes).ok_or_else(|| {
        CliError::usage(format!("{} has no name of its own", local.display()))
            .hint(format!("`{}/.` means what is in it", local.display()))
    })?;
    let usage = |error: crate::types::PathError| CliError::usage(error.to_string());
    let to = to.join(Name::new(name).map_err(usage)?).map_err(usage)?;
    Ok(AddItem { from, to })
}

fn default_message(locals: &[PathBuf]) -> String {
    match locals {
        [one] => format!("Add {}", one.display()),
        many => format!("Add {} and {} more", many[0].display(), many.len() - 1),
    }
}

fn skipped(summary: &AddSummary) -> u64 {
    summary.skipped_devices + summary.skipped_fifos + summary.skipped_sockets
}

/// `1 pipe, 2 sockets`.
fn kinds(summary: &AddSummary) -> String {
    let AddSummary { skipped_devices, skipped_fifos, skipped_sockets, .. } = *summary;
    let of = [
        (skipped_devices, "device", "devices"),
        (skipped_fifos, "pipe", "pipes"),
        (skipped_sockets, "socket", "sockets"),
    ];
    let said: Vec<String> =
        of.into_iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| plural(n, one, many)).collect();
    said.join(", ")
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `3 files, 1 directory; 4.3 MiB looked at, 4.1 MiB sent`.
fn describe(summary: &AddSummary) -> String {
    let mut parts = vec![plural(summary.files, "file", "files")];
    if summary.directories > 0 {
        parts.push(plural(summary.directories, "directory", "directories"));
    }
    if summary.symlinks > 0 {
        parts.push(plural(summary.symlinks, "link", "links"));
    }
    let (bytes, new) = (ByteSize(summary.bytes), ByteSize(summary.new_bytes));
    format!("{}; {bytes} looked at, {new} sent", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_go_where_cp_would_put_them() {
        let to = |local: &str, path: &str, into| {
            item(Path::new(local), &RepoPath::new(path).unwrap(), into).map(|item| item.to.to_string())
        };
        assert_eq!(to("a/b.csv", "", true).unwrap(), "b.csv");
        assert_eq!(to("a/b.csv", "x", true).unwrap(), "x/b.csv");
        assert_eq!(to("a/b.csv", "x", false).unwrap(), "x");
        assert_eq!(to("a/.", "x", true).unwrap(), "x");
        assert_eq!(to(".", "", true).unwrap(), "");
        assert_eq!(to("a/", "", true).unwrap(), "a");
        assert!(to("..", "", true).unwrap_err().render(false).contains("`../.` means what is in it"));
    }
}
