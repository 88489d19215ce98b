//! `atfs mv`: rename a path of a branch in one commit, without a mount.

use crate::repo::change::{Change, NewCommit, Referenced, rename};
use crate::types::{Address, RepoPath};

use super::app::App;
use super::args::{FormatArgs, MessageArgs, address_parser};
use super::commit::{self, Target};
use super::error::CliError;
use super::hint::Explain;
use super::open::{self, Access};

/// Rename a path of a branch, as one commit
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is copied: a name points to the same bytes. The new path must not exist; its directory must.

Examples:
  atfs mv s3://pathology/slides@main:a.csv b.csv
  atfs mv s3://pathology/slides@main:incoming 2026/11 -m 'incoming of November'")]
pub(super) struct Args {
    /// What to rename: REPOSITORY[@BRANCH]:PATH
    #[arg(value_name = "ADDRESS", value_parser = address_parser())]
    address: Address,

    /// Its new path in the repository
    #[arg(value_name = "NEW_PATH")]
    to: std::ffi::OsString,

    #[command(flatten)]
    message: MessageArgs,

    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let Target { url, branch } = commit::one_target(std::slice::from_ref(&args.address))?;
    let from = commit::path(&args.address)?;
    let to = RepoPath::from_user(args.to.as_encoded_bytes()).map_err(|e| CliError::usage(e.to_string()))?;
    let repository = open::repository(app, &url, Access::Write).await?;
    let branch = commit::branch(&repository, branch);
    let change = Change::begin(&repository, &branch).await.explain(&url)?;
    let edits = rename(&change.snapshot(), &from, &to).await.explain(&url)?;
    let new = NewCommit {
        message: args.message.message.clone().unwrap_or_else(|| format!("Rename {from} to {to}")),
        metadata: args.message.metadata.iter().cloned().collect(),
        ..NewCommit::new("mv", "")
    };
    let done = change.commit(&edits, &Referenced::default(), &new).await.explain(&url)?;
    commit::report(app, &url, &branch, &done, &args.format)
}
