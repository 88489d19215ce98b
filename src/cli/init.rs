//! `atfs init`: make a repository.

use std::path::Path;

use crate::repo::{InitOptions, Repository};
use crate::store::create_local_root;
use crate::types::{RefName, RepoName, RepoUrl};

use super::app::App;
use super::args::{FormatArgs, url_parser};
use super::error::CliError;
use super::hint::{Explain, quoted};
use super::open::{self, Access};

/// Make a repository in a bucket or in a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The store is probed first: one that does not keep conditional writes would lose commits, so it is
refused. Nothing that exists is overwritten.

Examples:
  atfs init s3://pathology/slides
  atfs init s3://pathology/slides --endpoint-url http://127.0.0.1:9000
  atfs init s3://hospital-7f3a-prod --name slides
  atfs init /srv/repos/slides -b trunk")]
pub(super) struct Args {
    /// Where: s3://bucket/prefix (the bucket must exist) or a folder (made if it does not exist)
    #[arg(value_name = "REPOSITORY", value_parser = url_parser())]
    url: RepoUrl,

    /// What it is called, when that is not the last part of its address: NAME@main and so on are the
    /// directories of a mount of the whole repository
    #[arg(long, value_name = "NAME")]
    name: Option<RepoName>,

    /// Name of the default branch
    #[arg(short, long, value_name = "BRANCH", default_value = "main")]
    branch: RefName,

    #[command(flatten)]
    format: FormatArgs,
}

#[derive(serde::Serialize)]
struct JsonInit<'a> {
    url: String,
    uuid: String,
    name: String,
    default_branch: &'a RefName,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let url = &args.url;
    if let RepoUrl::Local(folder) = url {
        must_be_ours(folder)?;
        create_local_root(folder).explain(url)?;
    }
    let config = app.config()?;
    let services = open::services(app, &config, Access::Write)?;
    let store = open::store(url, &config).await?;
    let options = InitOptions { default_branch: args.branch.clone(), name: args.name.clone() };
    let repository = Repository::init(store, services, options).await.explain(url)?;
    let format = repository.format();
    if args.format.is_json() {
        let (uuid, default_branch) = (format.uuid.to_string(), &format.default_branch);
        let name = args.name.as_ref().map_or_else(|| url.name(), ToString::to_string);
        return app.out.json(&JsonInit { url: url.to_string(), uuid, name, default_branch });
    }
    let branch = &format.default_branch;
    let called = args.name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    app.out.note(format!("repository{called} made in {url}, with the empty branch {branch}"));
    let address = format!("{url}@{branch}:");
    app.out.hint(format!("`atfs add {} FILE... -m MESSAGE` commits files to it", quoted(&address)));
    Ok(())
}

/// Refuses a folder with somebody's files in it: `atfs init` is not `git init`, the folder becomes the store, and its
/// files would lie among the repository's objects without being in the repository.
fn must_be_ours(folder: &Path) -> Result<(), CliError> {
    // What a repository has at its top, and where writes are prepared.
    const OURS: [&str; 11] = [
        "format.json",
        "refs",
        "settings",
        "commits",
        "meta",
        "data",
        "index",
        "moved",
        "gc",
        "probe",
        ".atfs-tmp",
    ];
    let Ok(entries) = std::fs::read_dir(folder) else {
        // Missing, a file, or not readable: what comes next says so, better.
        return Ok(());
    };
    let foreign = entries.flatten().map(|entry| entry.file_name()).find(|name| {
        !OURS.iter().any(|ours| name == *ours) && !name.as_encoded_bytes().starts_with(b".atfs")
    });
    let Some(name) = foreign else { return Ok(()) };
    let (shown, name) = (folder.display(), name.to_string_lossy());
    Err(CliError::failed(format!(
        "{shown} is not empty (it holds {name}): a repository needs a folder of its own"
    ))
    .hint(format!("`atfs init {}`", quoted(&folder.join("atfs").to_string_lossy()))))
}
