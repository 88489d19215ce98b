//! `atfs tag`: tags of a repository.

use std::ffi::OsString;

use crate::types::RefKind;

use super::app::App;
use super::args::FormatArgs;
use super::error::CliError;
use super::refs;

const LIST: &str = "atfs tag <REPOSITORY> list";
const CREATE: &str = "atfs tag <REPOSITORY> create <NAME> [REVISION]";
const DELETE: &str = "atfs tag <REPOSITORY> delete <NAME>";

/// List, create and delete tags
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "atfs tag <REPOSITORY> [list|create|delete] ...",
    after_help = "\
The repository may also stand behind the action: `atfs tag create <REPOSITORY> <NAME>`.

Examples:
  atfs tag s3://pathology/slides
  atfs tag s3://pathology/slides create release/1
  atfs tag s3://pathology/slides create before-cleanup main~1
  atfs tag s3://pathology/slides delete before-cleanup"
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
    /// List tags: name, commit, time, message (also without `list`)
    #[command(override_usage = LIST)]
    List {
        #[arg(hide = true, num_args = 0..)]
        words: Vec<OsString>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Create a tag: a name for one commit, which does not move
    #[command(override_usage = CREATE)]
    Create {
        /// The new tag, and the commit it names (HEAD when left out)
        #[arg(value_names = ["NAME", "REVISION"], num_args = 1..)]
        words: Vec<OsString>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Delete a tag
    #[command(override_usage = DELETE)]
    Delete {
        /// The tag
        #[arg(value_name = "NAME", num_args = 1..)]
        words: Vec<OsString>,
        #[command(flatten)]
        format: FormatArgs,
    },
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let (kind, before) = (RefKind::Tag, args.url.as_ref());
    match &args.action {
        None => {
            let (url, _) = refs::words(before, &[], LIST, 0..=0)?;
            refs::list(app, kind, &url, &args.format).await
        }
        Some(Action::List { words, format }) => {
            let (url, _) = refs::words(before, words, LIST, 0..=0)?;
            refs::list(app, kind, &url, format).await
        }
        Some(Action::Create { words, format }) => {
            let (url, words) = refs::words(before, words, CREATE, 1..=2)?;
            let at = refs::revision(words.get(1).map_or("HEAD", String::as_str))?;
            refs::create(app, kind, &url, &refs::name(&words[0])?, &at, format).await
        }
        Some(Action::Delete { words, format }) => {
            let (url, words) = refs::words(before, words, DELETE, 1..=1)?;
            refs::delete(app, kind, &url, &refs::name(&words[0])?, format).await
        }
    }
}
