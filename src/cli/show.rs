//! `atfs show`: one commit, and what it changed.

use crate::format::Commit;
use crate::types::{Address, ByteSize, CommitId, RepoPath};

use super::app::App;
use super::args::{FormatArgs, address_parser};
use super::diff::{self, Lines};
use super::error::CliError;
use super::hint::Explain;
use super::names::escape;
use super::open;
use super::output::Paint;
use super::text::{JsonCommit, time};

/// Show a commit, and what it changed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atfs show s3://pathology/slides
  atfs show s3://pathology/slides@3fa9c1d2e4b5 --stat
  atfs show s3://pathology/slides@main --json | jq .metadata")]
pub(super) struct Args {
    /// Which: REPOSITORY[@REVISION]
    #[arg(value_parser = address_parser())]
    address: Address,

    /// Only how much was added, removed, changed
    #[arg(long)]
    stat: bool,

    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let (snapshot, _) = open::snapshot(app, &args.address).await?;
    let (url, out, commit) = (&args.address.url, &app.out, snapshot.commit());
    if args.format.is_json() {
        return out.json(&JsonCommit::new(snapshot.id(), commit));
    }
    header(app, snapshot.id(), commit)?;
    out.line(format!("\n{}", totals(commit)))?;
    let Some(parent) = commit.parents.first() else { return Ok(()) };
    let repository = snapshot.repository();
    let stored = repository.commit(*parent).await.explain(url)?;
    let before = crate::repo::Snapshot::new(repository.clone(), *parent, stored);
    out.line("")?;
    let lines = if args.stat { Lines::None } else { Lines::All };
    let summary = diff::print(app, url, &before, &snapshot, &RepoPath::ROOT, lines, false).await?;
    if args.stat { out.line(summary.to_string()) } else { Ok(()) }
}

/// The head of a commit, as git prints it.
pub(super) fn header(app: &App, id: CommitId, commit: &Commit) -> Result<(), CliError> {
    let out = &app.out;
    out.line(out.paint(Paint::Id, format!("commit {}", id.short())))?;
    if commit.parents.len() > 1 {
        let parents: Vec<String> = commit.parents.iter().map(CommitId::short).collect();
        out.line(format!("Merge:  {}", parents.join(" ")))?;
    }
    out.line(format!("Author: {}", escape(commit.author.as_bytes())))?;
    out.line(format!("Date:   {}", time(commit.time)))?;
    for (key, value) in &commit.metadata {
        out.line(format!("Meta:   {}={}", escape(key.as_bytes()), escape(value.as_bytes())))?;
    }
    if !commit.message.trim().is_empty() {
        out.line("")?;
        for line in commit.message.trim_end().lines() {
            out.line(format!("    {}", escape(line.as_bytes())).trim_end())?;
        }
    }
    Ok(())
}

/// `3 entries, 2 files, 1.2 GiB`.
pub(super) fn totals(commit: &Commit) -> String {
    let totals = commit.totals;
    let plural = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    format!(
        "{}, {}, {}",
        plural(totals.entries, "entry", "entries"),
        plural(totals.files, "file", "files"),
        ByteSize(totals.bytes)
    )
}
