//! `atfs log`: the commits of a branch, a tag or a commit, newest first.

use crate::types::Address;

use super::app::App;
use super::args::{FormatArgs, address_parser, revision_or_main};
use super::error::CliError;
use super::hint::Explain;
use super::open::{self, Access};
use super::output::Paint;
use super::text::{JsonCommit, subject};

/// Show the history of a branch, a tag or a commit
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atfs log s3://pathology/slides
  atfs log s3://pathology/slides@release/1 --oneline -n 10
  atfs log s3://pathology/slides@main --json | jq -r '.[].id'")]
pub(super) struct Args {
    /// Where to begin: REPOSITORY[@REVISION]
    #[arg(value_parser = address_parser())]
    address: Address,

    /// One line per commit
    #[arg(long)]
    oneline: bool,

    /// At most this many commits
    #[arg(short = 'n', long, value_name = "N")]
    max_count: Option<u64>,

    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let Address { url, path, .. } = &args.address;
    if let Some(path) = path.as_ref().filter(|path| !path.is_root()) {
        return Err(CliError::usage(format!("the log of one path ({path}) is not possible yet"))
            .hint(format!("`atfs log {}`", super::hint::quoted(&without_path(&args.address)))));
    }
    let repository = open::repository(app, url, Access::Read).await?;
    let start = repository.resolve(&revision_or_main(&args.address)).await.explain(url)?;
    let mut commits = repository.first_parents(&start);
    let mut array = args.format.is_json().then(|| app.out.json_array());
    let mut left = args.max_count.unwrap_or(u64::MAX);
    let mut first = true;
    while left > 0
        && let Some((id, stored)) = commits.next().await.explain(url)?
    {
        left -= 1;
        let commit = &stored.commit;
        if let Some(array) = &mut array {
            array.push(&JsonCommit::new(id, commit))?;
        } else if args.oneline {
            let id = app.out.paint(Paint::Id, id.short());
            app.out.line(format!("{id} {}", subject(&commit.message)).trim_end())?;
        } else {
            if !std::mem::take(&mut first) {
                app.out.line("")?;
            }
            super::show::header(app, id, commit)?;
        }
    }
    array.map_or(Ok(()), super::output::JsonArray::end)
}

fn without_path(address: &Address) -> String {
    Address { path: None, ..address.clone() }.to_string()
}
