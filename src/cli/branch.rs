//! `atfs branch`: branches of a repository.

use std::ffi::OsString;

use crate::types::RefKind;

use super::app::App;
use super::args::FormatArgs;
use super::error::CliError;
use super::refs;

const LIST: &str = "atfs branch <REPOSITORY> list";
const CREATE: &str = "atfs branch <REPOSITORY> create <NAME> [--from <REVISION>]";
const DELETE: &str = "atfs branch <REPOSITORY> delete <NAME>";

/// List, create and delete branches
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "atfs branch <REPOSITORY> [list|create|delete] ...",
    after_help = "\
The repository may also stand behind the action: `atfs branch create <REPOSITORY> <NAME>`.

Examples:
  atfs branch s3://pathology/slides
  atfs branch s3://pathology/slides create ingest/2026-11-23
  atfs branch s3://pathology/slides create fix --from main~2
  atfs branch s3://pathology/slides delete fix"
)]
pub(super) struct Args {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    url: Option<OsString>,
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List branches: name, commit, time, message (also without `list`)
    #[command(override_usage = LIST)]
    List {
        #[arg(hide = true, num_args = 0..)]
        words: Vec<OsString>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Create a branch; costs nothing, whatever the size
    #[command(override_usage = CREATE)]
    Create {
        /// The new branch
        #[arg(value_name = "NAME", num_args = 1..)]
        words: Vec<OsString>,
        /// Where it begins
        #[arg(long, value_name = "REVISION", default_value = "HEAD")]
        from: String,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Delete a branch; its commits stay until they are collected
    #[command(override_usage = DELETE)]
    Delete {
        /// The branch
        #[arg(value_name = "NAME", num_args = 1..)]
        words: Vec<OsString>,
        #[command(flatten)]
        format: FormatArgs,
    },
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let (kind, before) = (RefKind::Branch, args.url.as_ref());
    match &args.action {
        None => {
            let (url, _) = refs::words(before, &[], LIST, 0..=0)?;
            refs::list(app, kind, &url, &args.format).await
        }
        Some(Action::List { words, format }) => {
            let (url, _) = refs::words(before, words, LIST, 0..=0)?;
            refs::list(app, kind, &url, format).await
        }
        Some(Action::Create { words, from, format }) => {
            let (url, words) = refs::words(before, words, CREATE, 1..=1)?;
            let (name, from) = (refs::name(&words[0])?, refs::revision(from)?);
            refs::create(app, kind, &url, &name, &from, format).await
        }
        Some(Action::Delete { words, format }) => {
            let (url, words) = refs::words(before, words, DELETE, 1..=1)?;
            refs::delete(app, kind, &url, &refs::name(&words[0])?, format).await
        }
    }
}
