//! `atfs rm`: remove paths from a branch in one commit, without a mount.

use crate::repo::change::{Change, Directories, NewCommit, Referenced, remove};
use crate::types::{Address, RepoPath};

use super::app::App;
use super::args::{FormatArgs, MessageArgs, address_parser};
use super::commit::{self, Target};
use super::error::CliError;
use super::hint::Explain;
use super::open::{self, Access};

/// Remove paths from a branch, as one commit
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The bytes stay in the repository's history; older commits read as before.

Examples:
  atfs rm s3://pathology/slides@main:2026/bad.svs -m 'unreadable'
  atfs rm -r s3://pathology/slides@main:tmp s3://pathology/slides@main:old -m 'clean up'")]
pub(super) struct Args {
    /// What to remove: REPOSITORY[@BRANCH]:PATH; all of one repository and branch
    #[arg(value_name = "ADDRESS", required = true, value_parser = address_parser())]
    addresses: Vec<Address>,

    /// Directories too, with everything in them
    #[arg(short, long)]
    recursive: bool,

    #[command(flatten)]
    message: MessageArgs,

    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let Target { url, branch } = commit::one_target(&args.addresses)?;
    let paths = args.addresses.iter().map(commit::path).collect::<Result<Vec<RepoPath>, _>>()?;
    let repository = open::repository(app, &url, Access::Write).await?;
    let branch = commit::branch(&repository, branch);
    let change = Change::begin(&repository, &branch).await.explain(&url)?;
    let directories = if args.recursive { Directories::Recurse } else { Directories::Refuse };
    let edits = remove(&change.snapshot(), &paths, directories).await.explain(&url).map_err(|error| {
        if args.recursive { error } else { error.hint("`-r` removes directories with everything in them") }
    })?;
    let default = match &paths[..] {
        [path] => format!("Remove {path}"),
        _ => format!("Remove {} paths", paths.len()),
    };
    let new = NewCommit {
        message: args.message.message.clone().unwrap_or(default),
        metadata: args.message.metadata.iter().cloned().collect(),
        ..NewCommit::new("rm", "")
    };
    let done = change.commit(&edits, &Referenced::default(), &new).await.explain(&url)?;
    commit::report(app, &url, &branch, &done, &args.format)
}
